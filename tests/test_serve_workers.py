"""`tierwise serve --workers`: several real processes on one port."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from endpoints import serving, tier_of, until
from test_serve import WORDS, Process, config, process_of, run
from test_serve_certified import Vendor, certified
from tierwise.keys.database import prepare
from tierwise.keys.records import Limits
from tierwise.keys.store import KeyStore
from tierwise.ledger.location import locate
from tierwise.testing import ScriptedEngine
from tierwise.workers.worker import COUNT_SECONDS

House = Callable[..., tuple[Process, ScriptedEngine]]


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    """Runs `tierwise serve --workers 2` before a scripted engine that is far away."""
    with ExitStack() as stack:

        def open_house(*options: str, step: float = 0.001, workers: int = 2) -> tuple[Process, ScriptedEngine]:
            engine = ScriptedEngine(WORDS, step=step)
            upstream = stack.enter_context(serving(tier_of(engine=engine)))
            more = ("--workers", str(workers), *options)
            return stack.enter_context(process_of(config(upstream), tmp_path, *more)), engine

        yield open_house


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers_of(process: Process) -> list[int]:
    """The process ids of the workers: the children of the only child."""
    (nursery,) = children(process.process.pid)
    return children(nursery)


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def by_worker(process: Process, ask: Callable[[], Any]) -> dict[int, Any]:
    """What `ask` returns from each of two workers; each connection goes to either of them."""
    found: dict[int, Any] = {}
    until(lambda: found.update([ask()]) or len(found) == 2, seconds=20)
    return found


def number_of(process: Process) -> int:
    return int(process.request("GET", "/ready").json["workers"]["this"])


def stop(process: Process) -> int:
    process.process.send_signal(signal.SIGTERM)
    return process.process.wait(20)


def read_rest(line: socket.socket) -> bytes:
    raw = b""
    with suppress(OSError):
        while block := line.recv(65536):
            raw += block
            if raw.endswith(b"0\r\n\r\n"):
                break
    return raw


def test_two_workers_answer_at_one_port_and_add_up_what_they_did(house):
    process, _ = house()
    answers = [process.chat("vote" if number % 3 == 0 else "fast", stream=number % 2 == 0) for number in range(24)]
    assert {(answer.status, answer.text) for answer in answers} == {(200, WORDS)}
    for _ in range(6):  # whichever worker is asked
        assert process.metric('tierwise_actions_total{ending="answered",tier="fast"}') == 16
        assert process.metric('tierwise_actions_total{ending="answered",tier="vote"}') == 8
        assert process.metric("tierwise_actions_running") == 0
        assert process.metric('tierwise_action_seconds_count{tier="vote"}') == 8
        standing = process.request("GET", "/ready").json
        assert standing["ready"] is True
        assert (standing["workers"]["count"], standing["workers"]["answering"]) == (2, 2)
    assert set(by_worker(process, lambda: (number_of(process), None))) == {0, 1}
    assert stop(process) == 0
    assert set(process.actions()) == {answer.headers["x-tierwise-action"] for answer in answers}
    assert "Traceback" not in process.log()


def test_a_session_is_whole_whichever_worker_is_asked(house):
    process, _ = house(step=0.02)
    body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "hello"}]}).encode()
    path, kind = "/v1/x/agent-7/chat/completions", {"content-type": "application/json"}
    answers = [process.request("POST", path, body, kind) for _ in range(8)]

    def page() -> Any:
        return process.request("GET", "/v1/sessions/agent-7").json

    with process.dial("fast", stream=True, tierwise={"session": "agent-7"}):
        until(lambda: page()["running"] == 1)  # whichever of them answers
    for _ in range(6):
        until(lambda: not page()["running"] and not page()["pending"], seconds=20)
        found = page()["actions"]
        assert [action["ending"] for action in found[:8]] == ["answered"] * 8
        assert len(found) == 9
        made = sum(answer.json["usage"]["completion_tokens"] for answer in answers)
        assert sum(action["completion"] for action in found[:8]) == made


def test_a_signal_lets_the_streams_of_all_workers_finish_and_refuses_new_connections(house):
    process, engine = house(step=0.04)
    pids = workers_of(process)
    with ExitStack() as stack:
        lines = [stack.enter_context(process.dial("fast", stream=True)) for _ in range(12)]
        for line in lines:
            line.recv(1)
        process.process.send_signal(signal.SIGTERM)

        def is_refused() -> bool:
            try:
                process.request("GET", "/ready")
            except OSError:
                return True
            return False

        until(is_refused)
        assert all(read_rest(line).count(b"[DONE]") == 1 for line in lines)
    assert process.process.wait(10) == 0
    assert [ending for ending, _ in process.actions().values()] == ["answered"] * 12
    assert not any(map(is_alive, pids))
    assert engine.running == 0
    assert "Traceback" not in process.log()


def test_a_second_signal_stops_all_workers_at_once_and_what_ran_is_on_the_books(house):
    process, engine = house(step=0.5)
    with ExitStack() as stack:
        lines = [stack.enter_context(process.dial("fast", stream=True)) for _ in range(8)]
        until(lambda: engine.running == 8)
        for line in lines:
            line.recv(1)
        process.process.send_signal(signal.SIGINT)
        until(lambda: process.log().count("draining: ") == 3)  # the supervisor and both workers
        assert process.process.poll() is None
        process.process.send_signal(signal.SIGINT)
        assert process.process.wait(10) == 0
        for line in lines:
            assert b'"code":"server_stopping"' in read_rest(line)
    assert list(process.actions().values()) == [("failed", "the server was stopped")] * 8
    assert "Traceback" not in process.log()


def test_a_worker_that_is_killed_loses_no_answer_and_no_stream_of_another_and_is_replaced(house):
    process, engine = house(step=0.008)
    pids = workers_of(process)
    answered = {process.chat("fast").headers["x-tierwise-action"] for _ in range(12)}
    counted = process.metric('tierwise_actions_total{ending="answered",tier="fast"}')
    assert counted == 12
    with ExitStack() as stack:
        lines = [stack.enter_context(process.dial("fast", stream=True)) for _ in range(16)]
        heads = [line.recv(4096) for line in lines]
        os.kill(pids[0], signal.SIGKILL)
        rests = [head + read_rest(line) for head, line in zip(heads, lines, strict=True)]
    whole = [raw for raw in rests if b"[DONE]" in raw]
    assert 0 < len(whole) < 16
    answered |= {raw.partition(b"x-tierwise-action: ")[2].partition(b"\r")[0].decode() for raw in whole}
    until(lambda: len(workers_of(process)) == 2 and pids[0] not in workers_of(process))
    assert pids[1] in workers_of(process)
    assert set(by_worker(process, lambda: (number_of(process), None))) == {0, 1}
    answered |= {process.chat("fast").headers["x-tierwise-action"] for _ in range(8)}
    assert process.metric('tierwise_actions_total{ending="answered",tier="fast"}') == counted + len(whole) + 8
    until(lambda: engine.running == 0)
    assert stop(process) == 0
    done = process.actions()
    assert answered <= set(done)
    assert all(ending == "answered" for ending, _ in done.values())
    assert "signal 9 and is replaced" in process.log()


def test_workers_that_are_killed_lose_no_count_that_is_older_than_a_moment_though_nobody_read_the_metrics(house):
    process, _ = house()
    counted, lost = 0.0, []
    for _ in range(5):
        assert {process.chat("fast").status for _ in range(12)} == {200}
        time.sleep(2 * COUNT_SECONDS)
        pids = workers_of(process)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until(lambda pids=pids: len(workers_of(process)) == 2 and not {*pids} & {*workers_of(process)}, seconds=20)
        now = process.metric('tierwise_actions_total{ending="answered",tier="fast"}')
        lost.append(counted + 12 - now)
        counted = now
        if lost[-1] == 0:
            break
    assert lost[-1] == 0, f"lost of 12 in each round: {lost}"


def test_counts_never_fall_while_workers_are_killed_under_load(house):
    process, _ = house(step=0.001)
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            with suppress(OSError, http.client.HTTPException):
                process.chat("fast")

    users = [threading.Thread(target=ask) for _ in range(4)]
    for user in users:
        user.start()
    seen = [0.0]
    for _ in range(6):
        killed = workers_of(process)[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda killed=killed: killed not in workers_of(process) and len(workers_of(process)) == 2, seconds=20)
        for _ in range(5):
            with suppress(OSError, http.client.HTTPException, StopIteration):
                seen.append(process.metric('tierwise_actions_total{ending="answered",tier="fast"}'))
    is_over.set()
    for user in users:
        user.join()
    assert seen == sorted(seen)
    assert seen[-1] > 0


def test_workers_that_are_killed_again_and_again_are_replaced_each_time(house):
    process, _ = house()
    until(lambda: len(by_worker(process, lambda: (number_of(process), True))) == 2)
    for _ in range(6):
        killed, other = workers_of(process)
        os.kill(killed, signal.SIGKILL)
        until(lambda killed=killed: killed not in workers_of(process) and len(workers_of(process)) == 2)
        until(lambda: process.request("GET", "/ready").json["workers"]["answering"] == 2, seconds=20)
        assert is_alive(other)
    assert process.chat("fast").status == 200
    assert process.process.poll() is None
    assert process.log().count("is replaced") == 6


def test_when_the_supervisor_is_killed_nothing_is_left_running(house):
    process, engine = house(step=0.3)
    pids = [*children(process.process.pid), *workers_of(process)]
    done = {process.chat("fast", max_tokens=1).headers["x-tierwise-action"] for _ in range(2)}
    with process.dial("fast", stream=True) as streaming:
        streaming.recv(1)
        process.process.kill()
        process.process.wait(5)
        until(lambda: not any(map(is_alive, pids)), seconds=10)
        assert b"[DONE]" not in read_rest(streaming)
    until(lambda: engine.running == 0)
    with pytest.raises(ConnectionRefusedError):
        process.request("GET", "/health")
    actions = process.actions()
    assert done < set(actions)
    assert [ending for name, (ending, _) in actions.items() if name not in done] == ["failed"]


def test_a_stored_response_is_found_and_deleted_whichever_worker_is_asked(house):
    process, _ = house()

    def respond(**fields: Any) -> Any:
        body = json.dumps({"model": "fast", "input": "hello", **fields}).encode()
        return process.request("POST", "/v1/responses", body, {"content-type": "application/json"})

    first = respond().json["id"]
    path = f"/v1/responses/{first}"
    for _ in range(12):
        assert process.request("GET", path).json["id"] == first
        assert respond(previous_response_id=first, store=False).status == 200
    assert process.request("DELETE", path).status == 200
    for _ in range(12):
        assert process.request("GET", path).status == 404
        missing = respond(previous_response_id=first)
        assert missing.error["code"] == "previous_response_not_found", missing.json
    assert stop(process) == 0


def test_a_certificate_that_one_worker_finds_void_is_void_in_all(tmp_path):
    vendor = Vendor("42")
    with serving(tier_of(engine=vendor)) as upstream:
        certified(tmp_path, upstream.url)
        with process_of(tmp_path / "tierwise.yaml", tmp_path, "--workers", "2") as process:
            by_worker(process, lambda: (number_of(process), None))
            until(lambda: process.request("GET", "/ready").status == 200, seconds=10)
            for _ in range(24):  # both workers have seen the first version
                assert process.chat("auto").headers["x-tierwise-tier"] == "fast"
            vendor.fingerprint = "fp_2"

            def tiers() -> set[str]:
                return {process.chat("auto").headers["x-tierwise-tier"] for _ in range(12)}

            process.chat("auto")
            until(lambda: tiers() == {"max"})
            assert process.metric('tierwise_route_certified{route="auto"}') == 0
            os.kill(workers_of(process)[0], signal.SIGKILL)
            until(lambda: "is replaced" in process.log())
            by_worker(process, lambda: (number_of(process), None))
            assert tiers() == {"max"}


def test_four_workers_do_not_overspend_a_budget_that_is_kept_in_a_file(house, tmp_path):
    location = locate(tmp_path / "ledger.db")
    prepare(location)
    store = KeyStore(location, who="test")
    budget = 50 * 20 * 2.0 / 1e6  # of fifty answers
    _, secret = store.create(limits=Limits(max_budget=budget))
    process, _ = house(workers=4)
    process.key = secret
    outcomes = [process.chat("fast", max_tokens=20).status for _ in range(120)]
    assert outcomes.count(200) <= 50
    assert outcomes.count(200) > 25
    assert set(outcomes) == {200, 429}
    assert stop(process) == 0
    charged = store.charged()
    store.close()
    assert sum(amounts[0] for amounts in charged.values()) / 1e9 <= budget + 1e-12
    answered = [ending for ending, _ in process.actions().values() if ending == "answered"]
    assert len(answered) == outcomes.count(200)


def test_no_workers_are_refused(tmp_path):
    (tmp_path / "tierwise.yaml").write_text(
        'deployments: {far: {engine: http, url: "http://127.0.0.1:1/v1"}}\n'
        "tiers: {fast: {deployment: far, policy: single}}\n"
    )
    done = run(tmp_path / "tierwise.yaml", "--port", "0", "--ledger", tmp_path / "ledger.db", "--workers", "0")
    assert done.returncode == 2
    assert "0 is not in the range" in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_a_port_that_another_process_shares_is_in_use(house, tmp_path):
    process, _ = house()
    done = run(tmp_path / "tierwise.yaml", "--port", str(process.port), "--ledger", tmp_path / "b.db", "--workers", "2")
    assert done.returncode == 2
    assert "cannot listen on" in done.stderr
