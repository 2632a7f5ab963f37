"""What a pilot run tells, and what `tierwise power` makes of it."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from fake_runs import manifest, record
from tierwise.analysis.pilot import read, steadiness
from tierwise.cli.power import power
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import SpecError


@pytest.fixture
def run(tmp_path):
    """Twenty tasks in both modes of a tier, of which max mode alone solved four."""
    tasks = [str(number) for number in range(20)]
    folder = RunDirectory.create(tmp_path / "run")
    folder.write_manifest(manifest(tasks, ("max", "average", 4), ("max", "max", 4)))
    with folder.recorder() as recorder:
        for number, task in enumerate(tasks):
            recorder.write(record(task, "correct" if number < 10 else "incorrect", tier="max", mode="average"))
            recorder.write(record(task, "correct" if number < 14 else "incorrect", tier="max", mode="max", seconds=3.0))
    return folder.path


def told(*arguments):
    app = typer.Typer()
    app.command()(power)
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_a_pilot_knows_disagreement_dollars_and_seconds(run):
    (pilot,) = read(run)
    assert (pilot.discordance.value, pilot.tasks, pilot.steady) == (0.2, 20, None)
    assert (pilot.seconds, pilot.dollars) == (4.0, pytest.approx(0.002))


def test_power_prices_a_wanted_difference_from_a_pilot(run):
    (answer,) = json.loads(told("--run", run, "--difference", "0.05", "--concurrency", "1", "--json"))
    once = answer["needs"][0]
    assert (answer["discordance"], answer["tasks"], once["repeats"]) == (0.2, 20, 1)
    assert once["dollars"] == pytest.approx(0.002 * once["tasks"])
    assert once["minutes"] == pytest.approx(4 * once["tasks"] / 60)


def test_power_needs_nothing_but_a_number_of_tasks():
    assert "differences of 8.4 points or more" in told("--tasks", 164)
    assert "no difference can be detected" in told("--tasks", 30, "--discordant", 0.05)


def test_power_with_clusters_says_how_many_more_are_needed():
    assert "clusters" in told("--tasks", 500, "--clusters", 10, "--icc", 0.1, "--difference", 0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the number of tasks is missing"),
        (("--tasks", 5, "--clusters", 9), "cannot come from 9 clusters"),
        (("--tasks", 50, "--discordant", 0.1, "--difference", 0.2), "at most the share"),
    ],
)
def test_power_refuses_what_cannot_be(arguments, message):
    with pytest.raises(SpecError, match=message):
        told(*arguments)


def test_repeats_that_always_agree_are_steady_and_noise_is_not():
    assert steadiness([[1, 1], [0, 0], [-1, -1], [0, 0]]) == 1
    assert steadiness([[1, 0], [0, 1], [1, 0], [0, 1]]) == 0
    assert steadiness([[1], [0]]) is None
    assert steadiness([[0, 0], [0, 0]]) is None
