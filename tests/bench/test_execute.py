"""A whole run against an endpoint, without the command line."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from scripted_tiers import Answering, line
from tierwise.analysis.summary import summarise
from tierwise.bench.bench_job import BenchJob
from tierwise.bench.execute import execute
from tierwise.engines.engine import Health
from tierwise.policies import BestOfN, Single
from tierwise.runs.directory import RunDirectory, RunSettings
from tierwise.spec.errors import Broken, SpecError, TierwiseError
from tierwise.testing import Reply
from tierwise.workloads.files import load


class Watching:
    """Records its calls, and cancels a task after a number of records."""

    def __init__(self, after=0, stop=()):
        self.records = []
        self.notes = []
        self._after, self._stop = after, stop

    def planned(self, manifest, kept):
        self.kept = kept

    def note(self, sentence):
        self.notes.append(sentence)

    def ended(self, record, spent):
        self.spent = spent
        self.records.append(record)
        if len(self.records) == self._after:
            for task in self._stop:
                task.cancel()


@pytest.fixture
def job(tmp_path, write_tasks):
    config = tmp_path / "tierwise.yaml"
    config.write_text("tiers: {}\n")
    tasks = write_tasks(*(line(f"t{number}", f"{number}+1?", number + 1) for number in range(10)))

    def make(url, *tiers, mode="both", **settings):
        values = {"seed": 0, "concurrency": 4, "timeout": 10.0, **settings}
        return BenchJob(
            config=config,
            workload=load(tasks),
            tiers=tiers or ("fast", "max"),
            mode=mode,
            settings=RunSettings(**values),
            directory=RunDirectory.create(tmp_path / "run"),
            ledger=tmp_path / "ledger.db",
            url=url,
        )

    return make


def counting(wrong=()):
    """Answers sums; some answers are correct only from the third draw on."""
    return Answering({f"{n}+1?": (["0", "0", f"{n + 1}"] if n in wrong else f"{n + 1}") for n in range(10)})


def test_every_task_is_measured_in_every_row(job, endpoint):
    one = job(endpoint(counting(wrong=(3, 4)), fast=Single(), max=BestOfN(n=3)))
    watching = Watching()
    summary = asyncio.run(execute(one, watching))
    records, manifest = one.directory.read_records(), one.directory.read_manifest()
    assert summary == summarise(manifest, records, one.workload.tasks)
    assert [(row.tier, row.mode, row.counts.correct, row.counts.incorrect) for row in summary.rows][:2] == [
        ("fast", "both", 8, 2),
        ("max", "average", 8, 2),
    ]
    assert not summary.is_partial
    assert records == watching.records
    assert manifest.ended is not None
    assert manifest.tasks == [f"t{number}" for number in range(10)]
    assert {record.action.split("/")[0] for record in records} == {manifest.run}


def test_a_route_is_one_row_with_the_passes_of_all_its_tiers(job, endpoint):
    url = endpoint(counting(wrong=(3, 4)), fast=Single(), max=BestOfN(n=3), routes={"auto": ("fast", "max")})
    one = job(url, "fast", "auto")
    asyncio.run(execute(one, Watching()))
    records, manifest = one.directory.read_records(), one.directory.read_manifest()
    assert [(row.tier, row.mode, row.most_passes) for row in manifest.variants] == [
        ("fast", "both", 1),
        ("auto", "max", 5),
    ]
    assert len([record for record in records if record.tier == "auto" and record.is_graded]) == 10
    assert summarise(manifest, records).rows[1].tier == "auto"


def test_concurrency_is_limited(job, endpoint):
    class Crowd(Answering):
        most = 0

        def reply_to(self, number, call):
            self.most = max(self.most, self.running + 1)
            return Reply(text="1", step=0.02)

    engine = Crowd({})
    asyncio.run(execute(job(endpoint(engine, fast=Single()), "fast", concurrency=3), Watching()))
    assert engine.most == 3


def test_a_cancelled_run_keeps_its_records_and_is_marked_partial(job, endpoint):
    one = job(endpoint(Answering({}, otherwise=Reply(text="1", step=0.02)), fast=Single()), "fast", concurrency=2)

    runs = []
    watching = Watching(after=3, stop=runs)

    async def main():
        runs.append(asyncio.create_task(execute(one, watching)))
        await asyncio.wait(runs)
        assert runs[0].cancelled()

    asyncio.run(main())
    summary = summarise(one.directory.read_manifest(), one.directory.read_records())
    assert summary.is_partial
    assert summary.rows[0].counts.measured == len(watching.records) < 6
    assert summary.rows[0].counts.not_run == 10 - len(watching.records)
    assert one.directory.read_manifest().ended is not None


def test_a_resumed_run_repeats_no_trial(job, endpoint):
    engine = counting()
    url = endpoint(engine, fast=Single())
    first = replace(job(url, "fast", repeats=3), dollars=0.0125)
    asyncio.run(execute(first, Watching()))
    (session,) = first.directory.read_manifest().sessions
    assert "would exceed $0.0125" in session.stopped
    begun = first.directory.read_records()
    assert len(begun) == 12
    assert sum(record.spent for record in begun) == pytest.approx(session.dollars)
    watching = Watching()
    asyncio.run(execute(replace(first, dollars=None), watching))
    records, manifest = first.directory.read_records(), first.directory.read_manifest()
    assert watching.kept == begun == records[:12]
    assert watching.spent == pytest.approx(0.030)
    assert len({record.key for record in records}) == len(records) == len(engine.calls) == 30
    assert {record.key for record in records} == manifest.keys()
    assert [session.stopped for session in manifest.sessions][1:] == [""]
    summary = summarise(manifest, records)
    assert (summary.rows[0].counts.measured, summary.rows[0].counts.not_run) == (30, 0)


def test_infrastructure_errors_are_run_again_and_their_cost_is_kept(job, endpoint):
    flaky = Answering(
        {f"{n}+1?": Reply(error=Broken("gone", engine="fake")) if n < 2 else f"{n + 1}" for n in range(10)}
    )
    one = job(endpoint(flaky, fast=Single()), "fast")
    asyncio.run(execute(one, Watching()))
    assert len(one.directory.errors()) == 2
    before = one.directory.read_manifest().sessions[0].dollars
    watching = Watching()
    again = replace(one, url=endpoint(counting(), fast=Single()), directory=RunDirectory.resume(one.directory.path))
    asyncio.run(execute(again, watching))
    records = one.directory.read_records()
    assert ({record.task for record in watching.records}, len(watching.kept)) == ({"t0", "t1"}, 8)
    assert [record.outcome for record in records] == ["correct"] * 10
    assert len({record.key for record in records}) == 10
    assert watching.spent > before
    with pytest.raises(SpecError, match="is complete: every action was graded"):
        RunDirectory.resume(one.directory.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "--seed was 0, now 1"),
        ({"repeats": 2}, "--repeats was 1, now 2"),
        ({"arrival": "poisson:3"}, "--arrival was closed, now poisson:3"),
        ({"mode": "max"}, r"the rows were .*average.*now max · max"),
    ],
)
def test_a_different_run_is_not_mixed_into_an_unfinished_one(job, endpoint, change, message):
    url = endpoint(counting(), fast=Single(), max=BestOfN(n=2))
    asyncio.run(execute(replace(job(url, "max"), minutes=0.0), Watching()))
    with pytest.raises(SpecError, match=message):
        asyncio.run(execute(job(url, "max", **change), Watching()))


def test_a_changed_workload_or_config_is_named(job, endpoint, write_tasks):
    url = endpoint(counting(), fast=Single())
    begun = replace(job(url, "fast"), minutes=0.0)
    asyncio.run(execute(begun, Watching()))
    begun.config.write_text("tiers: {other: {}}\n")
    other = load(write_tasks(line("t0", "0+1?", 1)))
    with pytest.raises(SpecError, match=r"the config .* has changed .*; the workload .* has changed"):
        asyncio.run(execute(replace(begun, workload=other), Watching()))


def test_a_time_limit_ends_a_run_cleanly(job, endpoint):
    engine = Answering({}, otherwise=Reply(text="1", step=0.05))
    one = replace(job(endpoint(engine, fast=Single()), "fast", concurrency=1), minutes=0.2 / 60)
    asyncio.run(execute(one, Watching()))
    manifest, records = one.directory.read_manifest(), one.directory.read_records()
    assert 1 <= len(records) < 10
    assert all(record.outcome != "error" for record in records)
    assert "minutes is reached" in manifest.sessions[0].stopped
    assert engine.running == 0


def test_warm_up_actions_count_as_spend_and_leave_no_record(job, endpoint):
    engine = counting()
    watching = Watching()
    one = job(endpoint(engine, fast=Single()), "fast", warm_up=4)
    asyncio.run(execute(one, watching))
    assert (len(one.directory.read_records()), len(engine.calls)) == (10, 14)
    assert watching.spent == pytest.approx(0.014)


def test_an_open_loop_measures_a_stall_fully(job, endpoint):
    """Coordinated omission: a closed loop sends nothing during a stall, and sees only one slow action."""

    class Stalling(Answering):
        def reply_to(self, number, call):
            time.sleep(0.6 if number == 3 else 0.0)
            return Reply(text="1")

    waits = {}
    for arrival in ("closed", "constant:20"):
        url = endpoint(Stalling({}), fast=Single())
        one = job(url, "fast", arrival=arrival, concurrency=1)
        one = replace(one, directory=RunDirectory.create(one.directory.path.with_name(arrival[:4])))
        asyncio.run(execute(one, Watching()))
        waits[arrival] = sorted(record.seconds for record in one.directory.read_records())
    assert sum(wait > 0.3 for wait in waits["closed"]) == 1
    assert sum(wait > 0.2 for wait in waits["constant:20"]) >= 5


def test_a_late_runner_reports_its_lag_and_the_users_wait_counts(job, endpoint):
    class Blocking(Watching):
        def ended(self, record, spent):
            super().ended(record, spent)
            if len(self.records) == 2:
                time.sleep(0.5)

    one = job(endpoint(counting(), fast=Single()), "fast", arrival="constant:20")
    asyncio.run(execute(one, Blocking()))
    late = [record for record in one.directory.read_records() if record.late > 0.2]
    assert len(late) >= 3
    assert all(record.seconds >= record.first_output >= record.first_byte >= record.late for record in late)
    runner = one.directory.read_manifest().sessions[0].runner
    assert runner.lag.longest > 0.2
    assert runner.calibration.count > 0


class Growing(Answering):
    """Uses more memory with every pass."""

    def health(self):
        return Health(state="ready", resident_bytes=100 + len(self.calls), facts={"version": "7"})


def test_deployments_are_recorded_at_the_start_and_their_memory_at_the_end(job, endpoint):
    class Early(Watching):
        def planned(self, manifest, kept):
            self.found = one.directory.read_manifest()

    watching = Early()
    one = job(endpoint(Growing({}), fast=Single()), "fast")
    asyncio.run(execute(one, watching))
    ((before,), (after,)) = watching.found.deployments, one.directory.read_manifest().deployments
    assert (before.tiers, before.facts, before.resident_bytes) == (["fast"], {"version": "7"}, 100)
    assert (after.facts, after.resident_bytes) == ({"version": "7"}, 110)


def test_deployments_of_the_start_are_kept_if_the_end_reports_none(job, endpoint):
    class Shy(Growing):
        def health(self):
            if self.calls:
                raise LookupError
            return super().health()

    one = job(endpoint(Shy({}), fast=Single()), "fast")
    asyncio.run(execute(one, Watching()))
    (told,) = one.directory.read_manifest().deployments
    assert (told.facts, told.resident_bytes) == ({"version": "7"}, 100)


def test_a_tier_that_the_endpoint_does_not_serve_is_named(job, endpoint):
    url = endpoint(counting(), fast=Single())
    with pytest.raises(SpecError, match="serves no tier or route 'max'; it has fast"):
        asyncio.run(execute(job(url), Watching()))


def test_an_unreachable_endpoint_is_named(job):
    with pytest.raises(TierwiseError, match=r"the endpoint http://127\S+ is not ready"):
        asyncio.run(execute(job("http://127.0.0.1:9"), Watching()))
