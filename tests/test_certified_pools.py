"""Routes are certified on the committed pools of a real model, and save what the guide says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tierwise.certificate import read_certificate

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import certified as program


@pytest.mark.parametrize("name", list(program.CASES))
def test_a_route_is_certified_on_a_recorded_pool(name, tmp_path):
    config, pool = program.unpacked(name, tmp_path)
    report = program.tuned(name, tmp_path, config, pool)
    assert report["is_certified"], report["why"]
    assert report["saving"]["interval"]["low"] > 0.25
    certificate = read_certificate(tmp_path / "tuned" / "certificate.json")
    assert certificate.evidence.bound <= program.LOSS
    assert certificate.reference == "max"
    assert (tmp_path / "tuned" / "report.html").exists()
