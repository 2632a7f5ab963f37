"""The blocks of README and docs: YAML is read as a config file or a gate, JSON as a request, and commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tierwise.analysis import gate
from tierwise.gateway import wire
from tierwise.plan import load as load_plan
from tierwise.plan import parse
from tierwise.pools.grid import read_grid
from tierwise.workloads.files import load

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
GUIDES = sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "README.md"})
BLOCK = re.compile(r"^```(\w+(?: title=\S+)?)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[pytest.param]:
    """Every block of one language, named by its page and its place in it; a title counts as part of the language."""
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (kind, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
        if kind == language
    ]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_a_config_file(text):
    assert parse(text, ROOT / "examples" / "block.yaml").processes


@pytest.mark.parametrize("text", blocks("yaml title=gate.yaml"))
def test_a_gate_can_be_read(text, tmp_path):
    (tmp_path / "gate.yaml").write_text(text)
    assert gate.load(tmp_path / "gate.yaml").quality


@pytest.mark.parametrize("text", blocks("yaml title=grid.yaml"))
def test_a_grid_can_be_read_for_the_quickstart(text, tmp_path):
    (tmp_path / "grid.yaml").write_text(text)
    assert read_grid(tmp_path / "grid.yaml", load_plan(ROOT / "examples" / "quickstart.yaml")).settings


@pytest.mark.parametrize("text", blocks("json"))
def test_json_is_a_request_that_the_endpoint_reads(text):
    assert wire.read(text.encode()).model


@pytest.mark.parametrize("text", blocks("jsonl"))
def test_jsonl_is_a_workload(text, tmp_path):
    (tmp_path / "tasks.jsonl").write_text(text)
    assert load(tmp_path / "tasks.jsonl").tasks


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_exist_with_the_options_that_are_shown(text):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] not in ("make", "tierwise", "python"):
            continue
        if words[0] == "make":
            assert set(words[1:]) <= set(targets), line
        elif words[0] == "python":
            assert (ROOT / words[1]).exists(), line
        else:
            verbs = [word for word in words[1:3] if re.fullmatch(r"[a-z]+(-[a-z]+)*", word)]
            shown = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert shown <= set(re.findall(r"--[a-z-]+", help_of(*verbs))), line


def help_of(*verbs: str) -> str:
    command = [sys.executable, "-m", "tierwise", *verbs[:1], "--help"]
    if verbs[:1] in (("ledger",), ("workload",), ("moe",), ("pool",), ("keys",)):
        command = [sys.executable, "-m", "tierwise", *verbs, "--help"]
    wide = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=wide).stdout


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_index_lists_every_page_and_each_opens_with_what_one_can_do_after_it(page):
    assert f"]({page.name})" in (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").split("\n\n")[1].startswith("After reading this page you can ")


LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page):
    for path, heading in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if heading:
            assert heading in anchors(target), f"{path}#{heading}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
