"""Claims of a config file and of a checkpoint's family, from the file to the table, the page and the JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from scripted_tiers import Answering, line
from tierwise.bench import claims as found_claims
from tierwise.bench.claims import claims_for
from tierwise.catalog.architecture import Architecture
from tierwise.catalog.families import families
from tierwise.cli import app
from tierwise.plan import parse
from tierwise.policies import Single
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import ConfigErrors
from tierwise.workloads.files import load

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}/v1", model: fast}}
tiers:
  fast: {{deployment: far, policy: single}}
claims:
  far:
    - {{suite: made, score: 95, mode: average, source: a card, date: 2026-09-14, doubts: [made for a test]}}
    - {{suite: other, score: 1, mode: average, source: a card}}
"""

LOCAL = """
checkpoints:
  all: {{source: "file:model.gguf"}}
deployments:
  all: {{engine: llama.cpp, checkpoint: all}}
tiers:
  fast: {{deployment: all, policy: single, sampling: {sampling}}}
  max: {{deployment: all, policy: {{majority: {{n: 5}}}}, sampling: {{thinking: true}}}}
routes:
  auto: {{cascade: [fast, max]}}
"""


@pytest.fixture
def tasks(write_tasks):
    path = write_tasks(*(line(f"t{number:02}", f"{number}+1?", number + 1) for number in range(40)))
    path.write_text('{"workload": {"suite": {"name": "made"}}}\n' + path.read_text())
    return path


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "80"})


def test_a_claim_of_the_config_file_stands_beside_the_run_everywhere(endpoint, tasks, tmp_path):
    path = tmp_path / "far.yaml"
    engine = Answering({f"{n}+1?": f"{n + 1}" for n in range(16)})
    path.write_text(CONFIG.format(url=endpoint(engine, fast=Single())))
    out = tmp_path / "run"
    done = run("bench", path, tasks, "--out", out)
    assert done.exit_code == 0, done.output
    assert "95.0 %" in done.output
    assert "below" in done.output
    assert "a card; far.yaml; 2026-09-14; made for a test; harness unknown" in " ".join(done.output.split())
    directory = RunDirectory(out)
    assert directory.read_manifest().suite.name == "made"
    page = directory.report_path.read_text()
    assert "Claimed and reproduced" in page
    assert "the interval of the difference is below 0" in page
    again = run("replay", out)
    assert "identical" in again.output
    done = run("bench", path, tasks, "--out", tmp_path / "json", "--json")
    (claim,) = json.loads(done.stdout)["claims"]
    assert (claim["verdict"], claim["claimed"], claim["reproduced"]["n"]) == ("below", 0.95, 40)


def test_a_claim_about_no_deployment_names_those_that_there_are(tmp_path):
    text = CONFIG.format(url="http://localhost:1").replace("claims:\n  far:", "claims:\n  fair:")
    with pytest.raises(ConfigErrors, match="fair"):
        parse(text, tmp_path / "far.yaml")


def local(tmp_path, monkeypatch, variant, sampling="{}"):
    """The claims about GPQA-Diamond of a checkpoint of a family, by its architecture."""
    family, _, name = variant.partition(" ")
    found = families()[family]
    size = found.variant(name)
    architecture = Architecture(
        model_type=found.model_types[0],
        layers=size.layers,
        hidden=size.hidden,
        experts=size.experts.routed if size.experts else None,
        has_tokenizer=True,
        has_chat_template=True,
        format="safetensors",
        bytes=1,
    )
    monkeypatch.setattr(found_claims, "_architecture", lambda *_: architecture)
    plan = parse(LOCAL.format(sampling=sampling), tmp_path / "local.yaml")
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"workload": {"suite": {"name": "gpqa-diamond"}}}\n' + json.dumps(line("a", "1+1?", 2)) + "\n")
    return claims_for(plan, load(path), ["fast", "max", "auto"])


def test_the_claims_of_a_checkpoints_family_and_variant_are_found(tmp_path, monkeypatch):
    (one,) = local(tmp_path, monkeypatch, "gemma-4 31b")
    assert (one.claim.score, one.claim.mode, one.stands_in) == (84.3, "think", "family gemma-4")
    assert one.claim.source.startswith("Gemma 4 model card")
    assert [(tier.tier, tier.thinks) for tier in one.tiers] == [("fast", False), ("max", True)], "routes ask others"


def test_a_familys_claim_that_the_user_makes_too_is_shown_once(tmp_path, monkeypatch):
    said = "{{suite: gpqa-diamond, score: 84.3, mode: think, samples: 4, source: the card}}"
    monkeypatch.setattr(f"{__name__}.LOCAL", f"{LOCAL}claims:\n  all: [{said}]\n")
    (one,) = local(tmp_path, monkeypatch, "gemma-4 31b")
    assert (one.stands_in, one.claim.samples) == ("local.yaml", 4)


@pytest.mark.parametrize(
    ("sampling", "thinks", "effort"),
    [
        ("{}", False, ""),
        ("{thinking: true}", True, "high"),
        ("{chat_template_kwargs: {thinking: true, reasoning_effort: max}}", True, "max"),
        ("{chat_template_kwargs: {thinking: false}}", False, ""),
        ("{reasoning_effort: max}", True, "max"),
    ],
)
def test_whether_a_tier_thinks_follows_from_its_sampling_and_the_family(
    tmp_path, monkeypatch, sampling, thinks, effort
):
    found = local(tmp_path, monkeypatch, "deepseek-v4-pro", sampling)
    assert [one.claim.score for one in found] == [72.9, 89.1, 90.1]
    assert (found[0].tiers[0].thinks, found[0].tiers[0].effort) == (thinks, effort)


@pytest.mark.parametrize(
    ("sampling", "options", "greedy"),
    [
        ("{temperature: 0}", {}, True),
        ("{top_k: 1}", {}, True),
        ("{}", {"temperature": 0}, True),
        ("{}", {}, False),
        ("{temperature: 0.2}", {}, False),
        ("{temperature: 0}", {"temperature": 0.7}, False),
    ],
)
def test_a_tier_is_greedy_if_it_is_on_every_task(tmp_path, sampling, options, greedy):
    path = tmp_path / "tasks.jsonl"
    tasks = [line("a", "1+1?", 2, options={"temperature": 0}), line("b", "1+2?", 3, options=options)]
    header = {"workload": {"suite": {"name": "made"}}}
    path.write_text("".join(json.dumps(one) + "\n" for one in (header, *tasks)))
    text = CONFIG.format(url="http://localhost:1").replace("policy: single}", f"policy: single, sampling: {sampling}}}")
    (one,) = claims_for(parse(text, tmp_path / "far.yaml"), load(path), ["fast"])
    assert one.tiers[0].greedy is greedy


def test_a_workload_of_no_suite_is_known_by_its_name(tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text(json.dumps(line("a", "1+1?", 2)) + "\n")
    plan = parse(CONFIG.format(url="http://localhost:1"), tmp_path / "far.yaml")
    assert [one.claim.suite for one in claims_for(plan, load(path), ["fast"])] == ["made"]
    assert claims_for(plan, replace(load(path), path=tmp_path / "none.jsonl"), ["fast"]) == []
