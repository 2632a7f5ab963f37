"""README's Python runs as it stands, but for the address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tierwise.policies import BestOfN
from tierwise.testing import ScriptedEngine, tier

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.sandbox
@pytest.mark.parametrize("block", BLOCKS)
def test_the_python_of_readme_runs(serve, capsys, block):
    engine = ScriptedEngine("def double(x): return x", "```python\ndef double(x):\n    return 2 * x\n```")
    endpoint = serve(tier(BestOfN(n=2), engine, name="max"))
    exec(compile(block.replace("http://127.0.0.1:8400", endpoint.url), "README.md", "exec"), {})
    assert "return 2 * x" in capsys.readouterr().out
