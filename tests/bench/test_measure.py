"""A whole run against an endpoint, without the command line."""

from __future__ import annotations

import asyncio

import pytest

from bench.stage import Answering, line
from tierwise.bench.arrival import closed_loop
from tierwise.bench.folder import Folder, Settings
from tierwise.bench.measure import Job, measure
from tierwise.bench.summary import summarise
from tierwise.bench.workload import load
from tierwise.policies import BestOfN, Single
from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.testing import Reply


class Watching:
    """Remembers what it was told, and cancels tasks after so many records."""

    def __init__(self, after=0, stop=()):
        self.records = []
        self._after, self._stop = after, stop

    def planned(self, manifest):
        pass

    def ended(self, record):
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
        return Job(
            config=config,
            workload=load(tasks),
            tiers=tiers or ("fast", "max"),
            mode=mode,
            settings=Settings(**values),
            folder=Folder.create(tmp_path / "run"),
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
    asyncio.run(measure(one, watching))
    records, manifest = one.folder.read_records(), one.folder.read_manifest()
    summary = summarise(manifest, records)
    assert [(row.tier, row.mode, row.counts.passed, row.counts.failed) for row in summary.rows][:2] == [
        ("fast", "both", 8, 2),
        ("max", "average", 8, 2),
    ]
    assert not summary.is_partial
    assert records == watching.records
    assert manifest.ended is not None
    assert manifest.tasks == [f"t{number}" for number in range(10)]
    assert {record.action.split("/")[0] for record in records} == {manifest.run}


def test_no_more_actions_run_at_once_than_were_asked_for(job, endpoint):
    class Crowd(Answering):
        most = 0

        def reply_to(self, number, call):
            self.most = max(self.most, self.running + 1)
            return Reply(text="1", step=0.02)

    engine = Crowd({})
    asyncio.run(measure(job(endpoint(engine, fast=Single()), "fast", concurrency=3), Watching()))
    assert engine.most == 3


def test_a_run_that_is_cancelled_keeps_what_has_ended_and_says_that_it_is_partial(job, endpoint):
    one = job(endpoint(Answering({}, otherwise=Reply(text="1", step=0.02)), fast=Single()), "fast", concurrency=2)

    runs = []
    watching = Watching(after=3, stop=runs)

    async def main():
        runs.append(asyncio.create_task(measure(one, watching)))
        await asyncio.wait(runs)
        assert runs[0].cancelled()

    asyncio.run(main())
    summary = summarise(one.folder.read_manifest(), one.folder.read_records())
    assert summary.is_partial
    assert summary.rows[0].counts.measured == len(watching.records) < 6
    assert summary.rows[0].counts.not_run == 10 - len(watching.records)
    assert one.folder.read_manifest().ended is not None


def test_a_tier_that_the_endpoint_does_not_serve_is_named(job, endpoint):
    url = endpoint(counting(), fast=Single())
    with pytest.raises(SpecError, match="serves no tier 'max'; its tiers: fast"):
        asyncio.run(measure(job(url), Watching()))


def test_an_endpoint_that_is_not_there_is_named(job):
    with pytest.raises(TierwiseError, match="no endpoint is ready at http://127"):
        asyncio.run(measure(job("http://127.0.0.1:9"), Watching()))


def test_the_first_error_of_ours_ends_a_loop():
    done = []

    async def attend(item):
        done.append(item)
        await asyncio.sleep(0)
        if item == 2:
            raise TierwiseError("the disk is full")

    with pytest.raises(TierwiseError, match="disk"):
        asyncio.run(closed_loop(range(100), 2, attend))
    assert len(done) < 10
