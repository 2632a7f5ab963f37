"""`tierwise moe` as a user meets it, on a tiny random mixture of experts in our Transformers worker."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

from families.tiny import TINIES, build
from tierwise.cli import app
from tierwise.moe.perplexity import TextLoss
from tierwise.spec.errors import SpecError

CONFIG = """\
checkpoints: {tiny: {source: "file:tiny"}}
deployments: {moe: {engine: transformers, checkpoint: tiny, context: 512, slots: 4, threads: 1}}
tiers:
  fast: {deployment: moe, policy: single, sampling: {temperature: 0, active_experts: 1}}
  whole: {deployment: moe, policy: single, sampling: {temperature: 0}}
"""
TINY = TINIES["kimi-k2.6"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the checkpoint, a config file and a workload of two kinds of tasks."""
    for package in ("torch", "transformers"):
        pytest.importorskip(package, reason="pip install 'tierwise[transformers]' to test the Transformers worker")
    folder = tmp_path_factory.mktemp("moe")
    build(TINY.family, folder / "tiny")
    (folder / "tierwise.yaml").write_text(CONFIG)
    tasks = [
        {
            "id": f"{kind}{number}",
            "messages": [{"role": "user", "content": f"{kind} {number}"}],
            "check": {"number": {"equals": number}},
            "tags": [kind],
            "max_tokens": 6,
        }
        for number in range(6)
        for kind in ("sum", "word")
    ]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return folder


def moe(*arguments):
    return CliRunner().invoke(app, ["moe", *map(str, arguments)], catch_exceptions=False)


def test_a_recording_tells_where_tokens_went_and_its_report_shows_it(place):
    done = moe("record", place / "tierwise.yaml", place / "tasks.jsonl", "--out", place / "recording")
    assert (done.exit_code, done.output.splitlines()[-1][:25]) == (0, "12 passes of 12 tasks in ")
    told = json.loads(moe("report", place / "recording", "--json").stdout)
    layers = TINY.layers - 1  # the first one is dense
    assert [layer["experts"] for layer in told["layers"]] == [TINY.experts] * layers
    assert {one["name"] for one in told["strata"]} == {"sum", "word"}
    assert all(0 < layer["router_entropy"] < 2.08 for layer in told["layers"])
    passes = [json.loads(line) for line in (place / "recording" / "passes.jsonl").read_text().splitlines()]
    for one in passes:  # the last token that it says is not read any more
        assert one["routing"]["tokens"] == one["prompt_tokens"] + one["completion_tokens"] - 1
        assert [sum(counts) for counts in one["routing"]["counts"]] == [one["routing"]["tokens"]] * layers
    assert "sum" in moe("report", place / "recording").stdout
    assert (place / "recording" / "moe.html").stat().st_size > 5000


def test_other_numbers_of_experts_are_held_against_the_trained_one(place):
    words = ("--tier", "whole", "--active", "1", "--active", "4", "--out", place / "whatif", "--limit", "4")
    done = moe("whatif", place / "tierwise.yaml", place / "tasks.jsonl", *words)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    (title,) = (number for number, line in enumerate(lines) if "perplexity" in line and "solved" in line)
    assert [line.split()[0] for line in lines[title + 1 : title + 4]] == ["k2", "k1", "k4"]
    seen = msgspec.json.Decoder(TextLoss).decode_lines((place / "whatif" / "perplexity.jsonl").read_bytes())
    assert len(seen) == 3 * 4
    assert len({one.nats for one in seen if one.text == "sum0"}) == 3


def test_what_cannot_be_varied_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "tierwise.yaml").write_text(CONFIG)
    with pytest.raises(SpecError, match="there is no tier 'max'; tiers: fast, whole"):
        moe("whatif", tmp_path / "tierwise.yaml", tmp_path / "tasks.jsonl", "--tier", "max", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
