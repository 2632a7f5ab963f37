"""The Python of README and of the tutorial runs unchanged, except for the address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from endpoints import Endpoint
from tierwise.policies import BestOfN
from tierwise.testing import ScriptedEngine, tier

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.sandbox
@pytest.mark.usefixtures("only")
@pytest.mark.parametrize("block", blocks("README.md"))
def test_the_python_of_readme_runs(serve, capsys, block):
    engine = ScriptedEngine("def double(x): return x", "```python\ndef double(x):\n    return 2 * x\n```")
    endpoint = serve(tier(BestOfN(n=2), engine, name="max"))
    run(block, endpoint)
    assert "return 2 * x" in capsys.readouterr().out


@pytest.mark.sandbox
@pytest.mark.usefixtures("only")
@pytest.mark.parametrize("block", blocks("docs/tutorial.md"))
def test_the_python_of_the_tutorial_runs(serve, capsys, block):
    wrong, double = "def double(x): return x", "def double(x): return 2 * x"
    engine = ScriptedEngine(wrong, double, "def square(x): return x * x")
    run(block, serve(tier(BestOfN(n=2), engine, name="auto")))
    printed = capsys.readouterr().out
    assert "return 2 * x" in printed
    assert "return x * x" in printed


def run(block: str, endpoint: Endpoint) -> None:
    exec(compile(block.replace("http://127.0.0.1:8400", endpoint.url), "page.md", "exec"), {})
