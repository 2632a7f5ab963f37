"""Where the logs are that real tools wrote here (`benchmarks/harness_logs.py`), and copies of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.runs import importers
from tierwise.spec.errors import SpecError

DATA = Path(__file__).parents[1] / "fixtures"


def inspect_log(tier):
    return DATA / "inspect" / f"{tier}.eval"


def nemo_bundle(tier):
    (found,) = (DATA / "nemo" / tier).rglob("eval-*.json")
    return found


def lm_eval_samples(tier):
    (found,) = (DATA / "lm_eval" / tier).glob("samples_*.jsonl")
    return found


PROMPTFOO = DATA / "promptfoo" / "results.json"


def copied(log, into):
    """A copy of a log's folder that a test may damage. Returns the log in it."""
    return Path(shutil.copytree(log.parent, into / "copy")) / log.name


def outcomes(run):
    return {(one.task, one.repeat): one.outcome.value for one in run.results}


def refused(log, match, given=None):
    """A log is refused, and its import, or that of the folder that is given, leaves nothing."""
    with pytest.raises(SpecError, match=match):
        importers.read(log)
    out = log.parent / "runs"
    done = CliRunner().invoke(app, ["import", str(given or log), "--out", str(out)])
    assert isinstance(done.exception, SpecError)
    assert not out.exists()
