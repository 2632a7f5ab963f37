"""The table of engines: every row answers for its engine, and settings belong to one row."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from tierwise.catalog.families.family import EngineName
from tierwise.engines import ENGINES, RECIPES, DeploymentSettings, row_of, with_lever
from tierwise.engines.engine import Deployment
from tierwise.engines.probe.findings import Finding, Probed, Switch, remember
from tierwise.engines.settings import LaunchContext
from tierwise.spec.capabilities import Capabilities

HERE = LaunchContext(base=Path("/nowhere"), logs=Path("/nowhere"))
SMALLEST = {
    "vllm": {"checkpoint": "m", "python": "python"},
    "sglang": {"checkpoint": "m", "python": "python"},
    "llama.cpp": {"checkpoint": "m"},
    "transformers": {"checkpoint": "m"},
    "http": {"url": "http://127.0.0.1:1/v1"},
    "replay": {"recording": "pool.jsonl"},
}


def settings(engine: str, **more):
    return msgspec.convert({"engine": engine, **SMALLEST[engine], **more}, DeploymentSettings)


def test_the_config_file_reads_the_settings_of_every_row_and_no_others():
    assert {row.settings for row in ENGINES.values()} == set(get_args(DeploymentSettings))
    assert set(SMALLEST) == set(ENGINES)


@pytest.mark.parametrize("engine", ENGINES)
def test_settings_find_the_row_of_their_engine(engine):
    assert row_of(settings(engine)) is ENGINES[engine]
    assert ENGINES[engine].name == engine


@pytest.mark.parametrize("engine", ENGINES)
def test_every_row_shows_what_would_run_without_starting_it(engine):
    one = settings(engine)
    assert list(one.validate(["m"])) == []
    assert ENGINES[engine].command(one, HERE)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_launch_lever_that_is_no_property_of_the_checkpoint_is_a_setting(engine):
    row = ENGINES[engine]
    launch = {lever.name for lever in row.levers if lever.scope == "launch"}
    assert launch - set(row.settings.__struct_fields__) <= {"quantization"}  # llama.cpp's is the file's


def test_engines_are_found_by_a_lever():
    assert with_lever("experts_sampled") == ["vllm", "sglang", "transformers"]
    assert with_lever("nothing") == []


def test_families_may_name_the_engines_that_there_are_recipes_for():
    assert {recipe.engine for recipe in RECIPES} == set(get_args(EngineName))


@pytest.mark.parametrize(
    ("engine", "more", "expected"),
    [
        ("transformers", {}, Capabilities(logprobs_with_tools=False, n=False, thinking_end=True, seed=True)),
        ("replay", {}, Capabilities()),
        ("http", {}, Capabilities(thinking_end=False)),
        (
            "llama.cpp",
            {},
            Capabilities(
                logprobs_with_tools=False, n=False, thinking_end=True, thinking_control=True, continues=True, seed=True
            ),
        ),
        ("vllm", {}, Capabilities(logprobs_with_tools=False, n=True, thinking_end=False, continues=True, seed=True)),
        (
            "vllm",
            {"tool_parser": "hermes"},
            Capabilities(logprobs_with_tools=True, n=True, thinking_end=False, continues=True, seed=True),
        ),
        ("sglang", {}, Capabilities(thinking_end=False, continues=True)),
    ],
)
def test_what_a_request_can_ask_for_is_known_of_engines_that_were_run(engine, more, expected):
    one = settings(engine, **more)
    assert row_of(one).capabilities(one) == expected


def test_thinking_can_be_ended_on_vllm_where_its_parser_is_set():
    for parser, expected in ((None, False), ("qwen3", True)):
        one = settings("vllm", reasoning_parser=parser)
        assert row_of(one).capabilities(one).thinking_end is expected


def test_what_a_probe_saw_of_a_server_wins_over_what_is_known_of_its_kind(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path))
    findings = {"seed": Finding(verdict="no"), "tools": Finding(verdict="no"), "n": Finding(verdict="unseen")}
    url = "http://127.0.0.1:1/v1"
    remember(Probed(url=url, model="m", server="", version="", date="2026-01-01", findings=findings))
    far = settings("http", url=url, model="m")
    assert row_of(far).capabilities(far) == Capabilities(logprobs_with_tools=False, thinking_end=False, seed=False)
    served = msgspec.convert({"engine": "vllm", "url": url, "model": "m"}, DeploymentSettings)
    seen = row_of(served).capabilities(served)
    assert (seen.seed, seen.logprobs_with_tools) == (False, False)
    assert seen.n is row_of(settings("vllm")).capabilities(settings("vllm")).n
    findings |= {"tools": Finding(verdict="yes"), "logprobs_with_tools": Finding(verdict="yes")}
    remember(Probed(url=url, model="m", server="", version="", date="2026-01-01", findings=findings))
    assert row_of(far).capabilities(far).logprobs_with_tools is True


def test_the_thinking_switch_of_a_server_is_the_one_that_a_probe_found(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path))
    url = "http://127.0.0.1:1/v1"
    servers = [settings("http", url=url, model="m"), settings("vllm", url=url, model="m", checkpoint=None, python=None)]

    def found():
        built = [row_of(one).build(one, "d", HERE) for one in servers]
        return [Deployment(name="d", engine=one).thinking_off for one in built]

    assert found() == [None, None]
    off = {"reasoning_effort": "none"}
    switch = Switch(on={"reasoning_effort": "high"}, off=off)
    remember(Probed(url=url, model="m", server="", version="", date="2026-01-01", findings={}, switch=switch))
    assert found() == [off, off]
