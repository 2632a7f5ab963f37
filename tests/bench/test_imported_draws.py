"""Imported runs become a pool: a log of Inspect with epochs, up to a certified route; and what a log may lack."""

from __future__ import annotations

import json
import random
import zipfile

import pytest
from msgspec import structs
from typer.testing import CliRunner

from made_tunings import CONFIG
from tierwise.cli import app
from tierwise.pools.reading import read_pool
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import ConfigErrors, SpecError

TASKS = 300
EPOCHS = 4
WRONG = {"fast": 0.3, "best": 0.05}


def answered(tier, number, epoch):
    """A cheap answer to a hard task differs from draw to draw, and is wrong."""
    hard = random.Random(f"{number}").random()
    right = hard >= WRONG[tier]
    if right:
        return "4", True
    return str(random.Random(f"{tier}/{number}/{epoch}").randint(5, 5000)), False


def sample(tier, number, epoch):
    text, right = answered(tier, number, epoch)
    return {
        "id": f"t{number}",
        "epoch": epoch,
        "input": f"{number}+?",
        "target": "4",
        "messages": [],
        "output": {"model": tier, "choices": [{"message": {}, "stop_reason": "stop"}], "completion": text},
        "scores": {"match": {"value": "C" if right else "I", "answer": text}},
        "metadata": {},
        "model_usage": {tier: {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25}},
        "started_at": "2026-11-30T09:36:15.777465+00:00",
        "working_time": 0.22,
    }


def log(path, tier, *, tasks=TASKS, epochs=EPOCHS, change=lambda _: None):
    """A log in Inspect's form (`tests/runs/fixtures/inspect` has real ones)."""
    header = {
        "version": 2,
        "status": "success",
        "eval": {
            "task": "sums",
            "model": tier,
            "dataset": {"sample_ids": [f"t{number}" for number in range(tasks)]},
            "config": {"epochs": epochs},
        },
    }
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("header.json", json.dumps(header))
        for number in range(tasks):
            for epoch in range(1, epochs + 1):
                one = sample(tier, number, epoch)
                change(one)
                file.writestr(f"samples/t{number}_epoch_{epoch}.json", json.dumps(one))
    return path


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(*arguments):
    done = run(*arguments)
    assert isinstance(done.exception, SpecError | ConfigErrors), done.output
    return str(done.exception)


def written(folder, *, tasks=TASKS, config=CONFIG):
    """A config file and the tasks of the logs."""
    file, workload = folder / "tierwise.yaml", folder / "tasks.jsonl"
    file.write_text(config)
    lines = [
        {"id": f"t{n}", "messages": [{"role": "user", "content": f"{n}+?"}], "check": {"number": {"equals": 4}}}
        for n in range(tasks)
    ]
    workload.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file, workload


def imported(folder, **more):
    """Both logs as runs."""
    for tier in WRONG:
        log(folder / f"{tier}.eval", tier, **more)
    done = run("import", folder / "fast.eval", folder / "best.eval", "--out", folder / "runs")
    assert done.exit_code == 0, done.output
    return [f"--run={tier}={folder / 'runs' / tier}" for tier in WRONG]


def test_epochs_of_a_log_become_draws_and_a_route_is_certified_on_them(tmp_path):
    file, workload = written(tmp_path)
    runs = imported(tmp_path)
    done = run("pool", "from-runs", file, workload, *runs, "--out", tmp_path / "pool")
    assert done.exit_code == 0, done.output
    assert "4 draws of 300 tasks for fast, best" in done.output
    pool = read_pool(RunDirectory(tmp_path / "pool"))
    draws = pool.tasks[7].draws[pool.sources[0].key]
    assert [one.completion.text for one in draws] == [answered("fast", 7, epoch)[0] for epoch in range(1, 5)]
    assert {(one.usage.prompt, one.usage.completion, one.seconds) for one in draws} == {(20, 5, 0.22)}
    assert "which weights and engine made them is not known here" in pool.notes[0]
    replayed = run("pool", "replay", tmp_path / "pool", "--json")
    assert replayed.exit_code == 0, replayed.output
    tuned = run(
        "tune",
        file,
        workload,
        "--pool",
        tmp_path / "pool",
        "--loss",
        "0.05",
        "--orders",
        "1",
        "--out",
        tmp_path / "out",
    )
    assert tuned.exit_code == 0, tuned.output
    assert "Serve the route `auto`" in tuned.output
    assert (tmp_path / "out" / "certificate.json").exists()


@pytest.fixture
def small(tmp_path):
    """Config, tasks and imported runs of four tasks, with what the logs have changed."""

    def make(config=CONFIG, tasks=4, **more):
        file, workload = written(tmp_path, tasks=tasks, config=config)
        return [file, workload, *imported(tmp_path, **{"tasks": 4, "epochs": 2, **more}), "--out", tmp_path / "pool"]

    return make


def without(*names):
    def change(one):
        for name in names:
            del one[name]

    return change


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"change": without("model_usage")}, "8 of 8 results have no tokens (t0, t1, t2, …)"),
        ({"change": without("working_time")}, "8 of 8 results have no times"),
        ({"epochs": 1}, "has one draw of each task"),
        ({"config": CONFIG.replace("  small: {prompt: 1, completion: 1}\n", "")}, "has no price of 'small'"),
    ],
)
def test_what_a_log_lacks_is_refused_by_name_and_nothing_is_written(small, tmp_path, more, why):
    assert why in refused("pool", "from-runs", *small(**more))
    assert not (tmp_path / "pool").exists()
    assert not list(tmp_path.glob(".importing-*"))


def test_tasks_under_other_ids_are_refused(small, tmp_path):
    arguments = small()
    (tmp_path / "tasks.jsonl").write_text((tmp_path / "tasks.jsonl").read_text().replace('"t3"', '"u3"'))
    said = refused("pool", "from-runs", *arguments)
    assert "1 ids are not tasks of" in said
    assert "1 ids are tasks without a result" in said


def test_answers_that_a_log_does_not_keep_are_refused(small):
    def empty(one):
        one["output"]["completion"] = ""

    assert "results have no answers" in refused("pool", "from-runs", *small(change=empty))


def test_greedy_draws_are_needed_once(small):
    config = CONFIG.replace("temperature: 0.7", "temperature: 0")
    done = run("pool", "from-runs", *small(config=config, epochs=1))
    assert done.exit_code == 0, done.output


def test_an_infrastructure_error_of_the_log_is_a_draw_that_is_missing(small, tmp_path):
    def broken(one):
        if (one["id"], one["epoch"]) == ("t1", 2):
            one["error"] = {"message": "connection lost"}

    done = run("pool", "from-runs", *small(change=broken))
    assert done.exit_code == 0, done.output
    pool = read_pool(RunDirectory(tmp_path / "pool"))
    assert [len(task.draws[pool.sources[0].key]) for task in pool.tasks] == [2, 1, 2, 2]
    assert any("1 of 4 tasks have fewer than the 2 planned draws" in note for note in pool.notes)


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        (["--run=fast={runs}/fast"], "no run has the draws of best; add --run best=DIR"),
        (["--run=fist={runs}/fast"], "did you mean 'fast'"),
        (["--run=auto={runs}/fast"], "auto"),
        (["--run=fast"], "'fast' is not TIER=DIR"),
        (["--run=fast={runs}/fast", "--run=fast={runs}/best"], "tier 'fast' is given twice"),
        (["--run=fast={runs}/none"], "none"),
    ],
)
def test_runs_that_are_named_wrongly_are_refused(small, tmp_path, runs, why):
    file, workload, *_, out = small()
    given = [one.format(runs=tmp_path / "runs") for one in runs]
    assert why in refused("pool", "from-runs", file, workload, *given, "--out", out)


def test_a_run_that_was_measured_here_is_recorded_and_not_imported(small, tmp_path):
    arguments = small()
    directory = RunDirectory(tmp_path / "runs" / "fast")
    made = directory.read_manifest()
    directory.write_manifest(structs.replace(made, settings=structs.replace(made.settings, arrival="closed")))
    assert "is no imported run" in refused("pool", "from-runs", *arguments)
