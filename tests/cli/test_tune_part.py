"""`tierwise tune` with a file that names a part of what a pool has draws of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from made_tunings import CONFIG, LADDER, LADDER_TIERS, recording, said
from tierwise.certificate import read_certificate
from tierwise.cli import app
from tierwise.runs.directory import RunDirectory
from tierwise.tuning.record import read_record


def tierwise(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_what_the_file_does_not_name_is_not_used(tmp_path):
    whole = said()

    def lacking(task: int, tier: str, number: int) -> Any:
        return None if tier == "middle" and task % 5 == 0 else whole(task, tier, number)

    pool = tmp_path / "pool"
    recording(pool, 300, config=LADDER, tiers=LADDER_TIERS, says=lacking)
    records = len(RunDirectory(pool).read_records())
    file, prices = tmp_path / "tierwise.yaml", tmp_path / "prices.yaml"
    file.write_text(CONFIG)
    prices.write_text("small: {prompt: 2, completion: 2}\n")
    given = (file, pool / "workload.jsonl", "--loss", "0.05", "--orders", "1")
    out = tmp_path / "out"
    done = tierwise("tune", *given, "--pool", pool, "--out", out)
    assert done.exit_code == 0, (done.output, done.exception)
    certificate = read_certificate(out / "certificate.json")
    assert certificate.tiers == ["fast", "best"]
    assert set(certificate.figures) == {"auto", "fast", "best"}
    assert certificate.split.tuning + certificate.split.calibration + certificate.split.test == 300
    done = tierwise("whatif", out, "--prices", prices, "--out", tmp_path / "repriced")
    assert done.exit_code == 0, (done.output, done.exception)
    done = tierwise("tune", *given, "--from", out, "--loss", "0.06", "--out", tmp_path / "again")
    assert done.exit_code == 0, (done.output, done.exception)
    assert not (tmp_path / "again" / "pool").exists()  # no draw is missing
    assert len(read_record(tmp_path / "again").looks) == 2
    assert len(RunDirectory(pool).read_records()) == records


def test_what_it_names_must_be_recorded(tmp_path: Path):
    pool = tmp_path / "pool"
    recording(pool, 30, config=CONFIG)
    (tmp_path / "tierwise.yaml").write_text(LADDER)
    done = tierwise("tune", tmp_path / "tierwise.yaml", pool / "workload.jsonl", "--pool", pool)
    assert "tier 'middle' samples from 'medium', which was not recorded" in str(done.exception)
