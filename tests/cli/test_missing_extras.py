"""Without an extra, every verb names it; nothing ends in a traceback, and no terminal swallows the name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main
from rich.text import Text

from tierwise.cli import app
from tierwise.cli.extras import EXTRAS, missing_extra

WITHOUT = "import sys; sys.modules.update(dict.fromkeys({absent!r})); sys.argv[1:] = {arguments!r}; {main}"
MAIN = "from tierwise.cli import main; main()"


def without(absent, *arguments):
    """Run a verb as if these modules were not installed."""
    code = WITHOUT.format(absent=list(absent), arguments=list(arguments), main=MAIN)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "run"),
        ("compare", "a", "b"),
        ("compare", "a", "a", "--deployments"),
        ("gate", "a", "--against", "b", "--policy", "gate.yaml"),
        ("power", "--tasks", "100"),
        ("power", "--run", "a"),
        ("import", ".", "--table"),
        ("bench", "a.yaml", "tasks.jsonl"),
        ("tune", "a.yaml", "tasks.jsonl"),
        ("moe", "report", "a"),
        ("moe", "whatif", "a.yaml", "tasks.jsonl"),
    ],
    ids=" ".join,
)
def test_a_verb_that_needs_the_extra_bench_names_it(arguments):
    done = without(EXTRAS["bench"], *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tierwise: ")
    assert done.stderr.endswith(": pip install 'tierwise[bench]'\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("absent", ["scipy", "numpy", "altair", "jinja2", "vl_convert"])
def test_one_missing_package_of_an_extra_is_enough(absent, tmp_path):
    done = without([absent], "replay", str(tmp_path))
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_a_missing_package_that_belongs_to_no_extra_stays_a_programming_error():
    assert missing_extra(ModuleNotFoundError("No module named 'x'", name="numpyx")) is None
    assert missing_extra(ModuleNotFoundError("No module named 'x'")) is None
    found = missing_extra(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert "torch: pip install 'tierwise[transformers]'" in str(found)


def test_doctor_prints_the_command_for_each_missing_extra_whole():
    done = without([], "doctor", "--quick")
    assert "hf::" not in done.stdout
    code = (
        "import tierwise.cli.doctor as doctor; doctor._version = lambda package: None; "
        "import rich.console; from tierwise.cli import main; main()"
    )
    command = [sys.executable, "-c", f"import sys; sys.argv[1:] = ['doctor', '--quick']; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={"COLUMNS": "80"})
    words = "".join(line[54:].strip() for line in done.stdout.splitlines())
    for extra in ("bench", "hf", "parquet", "transformers", "workloads"):
        assert f"tierwise[{extra}]'" in words, extra
    assert "…" not in words


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"), list(commands(typer.main.get_command(app))), ids=lambda one: str(one)[:40]
)
def test_help_shows_every_extra_that_its_source_names(path, command):
    texts = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
    for text in texts:
        if "tierwise[" in text.replace("\\[", "["):
            assert "tierwise[" in Text.from_markup(text).plain, path
