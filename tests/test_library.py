"""Tierwise in a program: what it exports, and the blocks of docs/python.md."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tierwise
from tierwise.testing.server import FakeServer
from written_runs import outcomes, run

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}", model: m}}
tiers:
  fast: {{deployment: far, policy: single}}
  max: {{deployment: far, policy: {{majority: {{n: 3}}}}}}
routes:
  auto: {{cascade: [fast, max]}}
prices:
  far: {{completion: 1000.0}}
"""


def ran(test, *replies: str, ledger: Path | None = None, folder: Path) -> None:
    """Run `test` with a config file at work on a fake server."""

    async def main():
        async with FakeServer(*replies) as server:
            (folder / "tierwise.yaml").write_text(CONFIG.format(url=server.url))
            async with tierwise.start(folder / "tierwise.yaml", ledger=ledger) as running:
                await test(running)

    asyncio.run(main())


def test_every_public_name_is_there_and_is_listed_once():
    assert sorted(set(tierwise.__all__)) == sorted(tierwise.__all__)
    for name in tierwise.__all__:
        assert getattr(tierwise, name) is not None
        assert name in dir(tierwise)


def test_what_the_page_lists_is_what_is_exported():
    table = PAGE.read_text(encoding="utf-8").partition("## Ask a tier")[0]
    named = {name for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", cell)}
    assert set(tierwise.__all__) - {"__version__"} <= named | {"Running", "Result"}
    assert named - {"tierwise"} <= set(tierwise.__all__)


def test_a_name_that_is_not_exported_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tierwise' has no attribute 'secret'"):
        _ = tierwise.secret


def test_importing_it_imports_nothing_else():
    program = "import sys, tierwise; print([name for name in sys.modules if name.startswith('tierwise.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_tier_is_asked_with_a_question_or_a_conversation(tmp_path):
    async def test(running):
        assert running.models == ["fast", "max", "auto"]
        result = await running.ask("fast", "2 + 2?", seed=1)
        assert (result.text, result.tier, len(result.trace.passes)) == ("it is four", "fast", 1)
        assert result.dollars == pytest.approx(0.003)
        talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
        assert (await running.ask("max", talk, n=2)).answers[1].agreement == 1.0

    ran(test, "it is four", folder=tmp_path)


def test_what_a_user_sees_comes_as_it_is_said(tmp_path):
    pieces = []

    async def keep(choice, chunk):
        pieces.append((choice, chunk.delta.get("content")))

    async def test(running):
        await running.ask("fast", "2 + 2?", on_chunk=keep)

    ran(test, "it is four", folder=tmp_path)
    assert "".join(text for _, text in pieces if text) == "it is four"
    assert {choice for choice, _ in pieces} == {0}


def test_every_action_is_in_the_ledger_that_was_named(tmp_path):
    async def test(running):
        await running.ask("auto", "2 + 2?", tierwise={"verifier": {"number": {"equals": 4}}, "action": "mine"})
        with pytest.raises(tierwise.SpecError, match="no model 'slow'"):
            await running.ask("slow", "2 + 2?")

    ran(test, "it is 4", ledger=tmp_path / "ledger.db", folder=tmp_path)
    with tierwise.open_ledger(tmp_path / "ledger.db") as ledger:
        (summary,) = ledger.recent()
        assert (summary.action.model, summary.action.tier, summary.action.caller) == ("auto", "fast", "mine")


def test_a_wrong_file_names_all_that_is_wrong(tmp_path):
    (tmp_path / "tierwise.yaml").write_text(CONFIG.replace("fast: ", "fast: 3 #").format(url="http://127.0.0.1:9/v1"))
    with pytest.raises(tierwise.SpecError, match=r"tiers\.fast"):
        tierwise.load(tmp_path / "tierwise.yaml")


def test_two_runs_are_compared(tmp_path):
    run(tmp_path / "main", outcomes("++++----" * 5))
    run(tmp_path / "candidate", outcomes("++++++--" * 5))
    (base,), (other,) = tierwise.read_run(tmp_path / "main"), tierwise.read_run(str(tmp_path / "candidate"))
    found = tierwise.compare(base, other)
    assert (found.verdict, found.quality.shown.value) == ("better", pytest.approx(0.25))


@pytest.mark.parametrize("block", [block for block in BLOCKS if "tierwise_longest" not in block])
def test_the_python_of_the_page_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "runs" / "main", outcomes("++--"))
    run(tmp_path / "runs" / "candidate", outcomes("+++-"))
    served = "asyncio.run" in block

    async def keep_an_action(running):
        await running.ask("fast", "2 + 2?")

    ran(keep_an_action, "4", ledger=tmp_path / "ledger.db", folder=tmp_path)
    if not served:
        exec(compile(block, PAGE.name, "exec"), {})
        return

    async def main():
        async with FakeServer("it is 4") as server:
            (tmp_path / "tierwise.yaml").write_text(CONFIG.format(url=server.url))
            await asyncio.to_thread(exec, compile(block, PAGE.name, "exec"), {})

    asyncio.run(main())
    assert "it is 4 fast" in capsys.readouterr().out


def test_a_process_that_ends_collects_nothing():
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); import tierwise"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
