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
    """Remembers what it was told, and cancels tasks after so many records."""

    def __init__(self, after=0, stop=()):
        self.records = []
        self._after, self._stop = after, stop

    def planned(self, manifest, kept):
        self.kept = kept

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
    """Answers every sum, and the wrong ones only from the third draw on."""
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


def test_a_route_is_measured_as_one_row_with_all_that_its_tiers_may_spend(job, endpoint):
    url = endpoint(counting(wrong=(3, 4)), fast=Single(), max=BestOfN(n=3), routes={"auto": ("fast", "max")})
    one = job(url, "fast", "auto")
    asyncio.run(execute(one, Watching()))
    records, manifest = one.directory.read_records(), one.directory.read_manifest()
    assert [(row.tier, row.mode, row.most_passes) for row in manifest.variants] == [
        ("fast", "both", 1),
        ("auto", "max", 4),
    ]
    assert len([record for record in records if record.tier == "auto" and record.is_graded]) == 10
    assert summarise(manifest, records).rows[1].tier == "auto"


def test_no_more_actions_run_at_once_than_were_asked_for(job, endpoint):
    class Crowd(Answering):
        most = 0

        def reply_to(self, number, call):
            self.most = max(self.most, self.running + 1)
            return Reply(text="1", step=0.02)

    engine = Crowd({})
    asyncio.run(execute(job(endpoint(engine, fast=Single()), "fast", concurrency=3), Watching()))
    assert engine.most == 3


def test_a_run_that_is_cancelled_keeps_what_has_ended_and_says_that_it_is_partial(job, endpoint):
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


def test_a_run_that_stopped_goes_on_where_it_was_and_asks_nothing_twice(job, endpoint):
    engine = counting()
    url = endpoint(engine, fast=Single())
    first = replace(job(url, "fast", repeats=3), dollars=0.0125)
    asyncio.run(execute(first, Watching()))
    (session,) = first.directory.read_manifest().sessions
    assert "more than $0.0125" in session.stopped
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


def test_infrastructure_errors_are_asked_again_and_stay_paid(job, endpoint):
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
    with pytest.raises(SpecError, match="is whole: every action was graded"):
        RunDirectory.resume(one.directory.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "--seed was 0, now it is 1"),
        ({"repeats": 2}, "--repeats was 1, now it is 2"),
        ({"arrival": "poisson:3"}, "--arrival was closed, now it is poisson:3"),
        ({"mode": "max"}, r"its rows were .*average.*now they are max · max"),
    ],
)
def test_another_run_is_never_mixed_into_one_that_was_begun(job, endpoint, change, message):
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
    with pytest.raises(SpecError, match=r"the config .* is not what it was .*; the workload .* is not"):
        asyncio.run(execute(replace(begun, workload=other), Watching()))


def test_minutes_that_are_over_end_a_run_cleanly(job, endpoint):
    engine = Answering({}, otherwise=Reply(text="1", step=0.05))
    one = replace(job(endpoint(engine, fast=Single()), "fast", concurrency=1), minutes=0.2 / 60)
    asyncio.run(execute(one, Watching()))
    manifest, records = one.directory.read_manifest(), one.directory.read_records()
    assert 1 <= len(records) < 10
    assert all(record.outcome != "error" for record in records)
    assert "minutes are over" in manifest.sessions[0].stopped
    assert engine.running == 0


def test_warm_up_actions_are_paid_and_leave_no_record(job, endpoint):
    engine = counting()
    watching = Watching()
    one = job(endpoint(engine, fast=Single()), "fast", warm_up=4)
    asyncio.run(execute(one, watching))
    assert (len(one.directory.read_records()), len(engine.calls)) == (10, 14)
    assert watching.spent == pytest.approx(0.014)


def test_a_server_that_stalls_is_not_spared_by_those_who_wait_for_it(job, endpoint):
    """Coordinated omission: a closed loop asks nothing while the server stalls, and sees one slow action."""

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


def test_a_runner_that_is_late_itself_says_so_and_its_users_wait_counts(job, endpoint):
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
    """Takes more memory with every pass."""

    def health(self):
        return Health(state="ready", resident_bytes=100 + len(self.calls), facts={"version": "7"})


def test_what_ran_is_kept_when_it_is_ready_and_its_memory_at_the_end(job, endpoint):
    class Early(Watching):
        def planned(self, manifest, kept):
            self.found = one.directory.read_manifest()

    watching = Early()
    one = job(endpoint(Growing({}), fast=Single()), "fast")
    asyncio.run(execute(one, watching))
    ((before,), (after,)) = watching.found.deployments, one.directory.read_manifest().deployments
    assert (before.tiers, before.facts, before.resident_bytes) == (["fast"], {"version": "7"}, 100)
    assert (after.facts, after.resident_bytes) == ({"version": "7"}, 110)


def test_what_was_told_at_the_beginning_stays_where_nothing_is_told_at_the_end(job, endpoint):
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


def test_an_endpoint_that_is_not_there_is_named(job):
    with pytest.raises(TierwiseError, match="no endpoint is ready at http://127"):
        asyncio.run(execute(job("http://127.0.0.1:9"), Watching()))
