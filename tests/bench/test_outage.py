"""A run waits for an endpoint that is gone, instead of turning its tasks into errors."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import uvicorn
from msgspec import structs

from scripted_tiers import Answering, Tiers, line
from tierwise.bench import execute as executing
from tierwise.bench.bench_job import BenchJob
from tierwise.bench.execute import execute
from tierwise.bench.outage import EndpointGone, Outage
from tierwise.gateway.app import application
from tierwise.gateway.protocol import HttpProtocol
from tierwise.policies import Single
from tierwise.report import numbers, sentences
from tierwise.runs.directory import RunDirectory, RunSettings
from tierwise.testing import Reply
from tierwise.workloads.files import load

TASKS = 60


class Mortal(uvicorn.Server):
    """A server that says nothing to its clients when it ends."""

    async def shutdown(self, sockets=None):
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


@contextmanager
def up(port, engine):
    """An endpoint at this port, which dies at once when the block ends, as by `kill -9`."""
    app = application(Tiers(engine=engine, policies={"fast": Single()}).service())
    how = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none", "proxy_headers": False}
    server = Mortal(uvicorn.Config(app, port=port, http=HttpProtocol, **how))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def job(tmp_path, write_tasks, port):
    config = tmp_path / "tierwise.yaml"
    config.write_text("tiers: {}\n")
    return BenchJob(
        config=config,
        workload=load(write_tasks(*(line(f"t{number}", f"{number}+1?", number + 1) for number in range(TASKS)))),
        tiers=("fast",),
        mode="both",
        settings=RunSettings(seed=0, concurrency=4, timeout=20.0),
        directory=RunDirectory.create(tmp_path / "run"),
        ledger=tmp_path / "ledger.db",
        url=f"http://127.0.0.1:{port}",
    )


class Seeing:
    """Records what a run reports, and signals once some actions have ended."""

    def __init__(self, after):
        self.notes, self.ended_ = [], 0
        self.reached = threading.Event()
        self._after = after

    def planned(self, manifest, kept):
        pass

    def note(self, sentence):
        self.notes.append(sentence)

    def ended(self, record, spent):
        self.ended_ += 1
        if self.ended_ == self._after:
            self.reached.set()


class Counting(Answering):
    """Records the most calls that ran at the same time."""

    most_running = 0

    def reply_to(self, number, call):
        self.most_running = max(self.most_running, self.running)
        return super().reply_to(number, call)


def sums():
    return Counting({f"{n}+1?": Reply(text=f"{n + 1}", step=0.02) for n in range(TASKS)})


def begin(job, seeing):
    """Execute a job in a thread; gives a function that waits for the summary."""
    found = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(execute(job, seeing))))
    thread.start()

    def wait():
        thread.join(60)
        return found[0]

    return wait


def test_a_run_waits_for_an_endpoint_that_is_gone_and_loses_no_task(job, port):
    seeing = Seeing(after=6)
    with up(port, sums()):
        summary = begin(job, seeing)
        assert seeing.reached.wait(20)
    time.sleep(1.0)  # many times as long as the rest of the run would take to fail
    with up(port, sums()):
        (row,) = summary().rows
    records = job.directory.read_records()
    assert (row.counts.correct, row.counts.errors, row.counts.not_run) == (TASKS, 0, 0)
    assert [note.split("; ")[0].split(" after ")[0] for note in seeing.notes] == [
        f"the endpoint {job.url} is gone",
        "the endpoint is back",
    ]
    assert max(record.seconds for record in records) < 1.0, "the outage is not the tier's latency"
    assert not job.directory.read_manifest().sessions[-1].has_failed


def test_a_run_stops_when_the_endpoint_does_not_come_back_and_can_be_resumed(job, port, monkeypatch):
    monkeypatch.setattr(executing, "LONGEST_WAIT", 0.5)
    seeing = Seeing(after=6)
    with up(port, sums()):
        summary = begin(job, seeing)
        assert seeing.reached.wait(20)
    (row,) = summary().rows
    assert (row.counts.incorrect, row.counts.errors) == (0, 0)
    assert 6 <= row.counts.correct < TASKS
    session = job.directory.read_manifest().sessions[-1]
    assert session.has_failed
    assert session.stopped == f"the endpoint {job.url} is gone for 0.5 s; start it again, and continue with --resume"
    with up(port, sums()):
        (row,) = begin(job, Seeing(after=0))().rows
    assert (row.counts.correct, row.counts.not_run) == (TASKS, 0)


def scheduled(job, rate):
    return replace(job, settings=structs.replace(job.settings, arrival=f"constant:{rate:g}"))


def test_scheduled_arrivals_wait_for_an_endpoint_that_is_gone_and_keep_their_distances(job, port):
    rate, gone = 20.0, 2.0
    engine = sums()
    seeing = Seeing(after=6)
    with up(port, sums()):
        summary = begin(scheduled(job, rate), seeing)
        assert seeing.reached.wait(20)
    time.sleep(gone)  # 40 arrivals
    with up(port, engine):
        (row,) = summary().rows
    assert (row.counts.correct, row.counts.errors, row.counts.not_run) == (TASKS, 0, 0)
    records = job.directory.read_records()
    assert max(record.late for record in records) < gone / 2, "no action counts the outage as its own lateness"
    assert engine.most_running < 12, "what was due during the outage did not arrive at once"
    (session,) = job.directory.read_manifest().sessions
    assert session.outages == pytest.approx(gone, abs=1.5)
    assert f"The endpoint was gone for {numbers.seconds(session.outages)}." in sentences.outages(
        job.directory.read_manifest()
    )


def test_scheduled_arrivals_end_when_the_endpoint_does_not_come_back(job, port, monkeypatch):
    monkeypatch.setattr(executing, "LONGEST_WAIT", 0.5)
    seeing = Seeing(after=6)
    with up(port, sums()):
        summary = begin(scheduled(job, 50.0), seeing)
        assert seeing.reached.wait(20)
    (row,) = summary().rows
    assert (row.counts.incorrect, row.counts.errors) == (0, 0)
    session = job.directory.read_manifest().sessions[-1]
    assert session.has_failed
    assert len([note for note in seeing.notes if "is gone" in note]) == 1, "it waited once"


def test_an_endpoint_that_did_not_come_back_is_not_waited_for_again(port):
    notes = []

    async def main():
        outage = Outage(f"http://127.0.0.1:{port}", 0.2, notes.append)
        assert await outage.delay() == 0.0
        for wait in (outage.was_gone(time.monotonic()), outage.was_gone(time.monotonic()), outage.delay()):
            with pytest.raises(EndpointGone):
                await wait

    asyncio.run(main())
    assert len(notes) == 1


def test_an_action_that_ends_its_endpoint_again_and_again_is_an_error(port):
    """Each time, the endpoint is back before the action is repeated."""
    asked = []

    class Gone:
        async def was_gone(self, since):
            asked.append(since)
            return True

    async def main():
        from tierwise.bench.client import Client  # noqa: PLC0415

        async with Client(f"http://127.0.0.1:{port}", timeout=5.0, outage=Gone()) as client:
            return await client.act({})

    reply = asyncio.run(main())
    assert (len(asked), reply.failure.code) == (3, "connection_lost")


def test_a_stream_that_breaks_while_the_endpoint_is_ready_is_no_outage(port):
    async def main():
        outage = Outage(f"http://127.0.0.1:{port}", 5.0, pytest.fail)
        return await outage.was_gone(time.monotonic())

    with up(port, sums()):
        assert asyncio.run(main()) is False


def test_nobody_waits_for_an_endpoint_that_the_bench_launched(port):
    async def main():
        await Outage(f"http://127.0.0.1:{port}", 0.0, pytest.fail).was_gone(time.monotonic())

    with pytest.raises(EndpointGone, match="is gone; start it again"):
        asyncio.run(main())


def test_actions_of_one_outage_share_one_wait(port):
    notes = []

    async def main():
        outage = Outage(f"http://127.0.0.1:{port}", 0.3, notes.append)
        return await asyncio.gather(*(outage.was_gone(time.monotonic()) for _ in range(50)), return_exceptions=True)

    assert all(isinstance(found, EndpointGone) for found in asyncio.run(main()))
    assert len(notes) == 1
