"""The real process: `tierwise serve`, its signals, its ledger, and a disk that takes nothing."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from endpoints import HELLO, Answered, Endpoint, head_of, serving, tier_of, until
from ggufs import by_hand, string
from tierwise.ledger.store import recover
from tierwise.testing import Reply, ScriptedEngine

FILE = """
deployments: {far: {engine: http, url: "http://127.0.0.1:1/v1"}}
tiers: {fast: {deployment: far, policy: single}}
"""
WORDS = " ".join(f"word{number}" for number in range(20))


@dataclass
class Process(Endpoint):
    """`tierwise serve` as somebody else would run it."""

    process: subprocess.Popen[str]
    folder: Path

    def read_until(self, line: socket.socket, ending: bytes) -> bytes:
        raw = b""
        while not raw.endswith(ending):
            block = line.recv(65536)
            assert block, raw
            raw += block
        return raw

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def actions(self) -> dict[str, tuple[str, str]]:
        """Ending and error by id, once the process is gone."""
        recover(self.folder / "ledger.db", print)
        with sqlite3.connect(self.folder / "ledger.db") as database:
            rows = database.execute("select id, ending, error from actions").fetchall()
        database.close()
        return {row[0]: (row[1], row[2]) for row in rows}


@contextmanager
def process_of(file: str | Path, folder: Path, *options: str) -> Iterator[Process]:
    if isinstance(file, str):
        (folder / "tierwise.yaml").write_text(file)
        file = folder / "tierwise.yaml"
    command = [sys.executable, "-W", "error", "-m", "tierwise", "serve", file, "--port", "0"]
    command += ["--ledger", folder / "ledger.db", *options]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"serving on https?://(?:127\.0\.0\.1|\[::1\]):(\d+)\n", line)
            assert found, (line, (folder / "log").read_text())
            none: Any = None
            yield Process(none, none, int(found[1]), none, none, process, folder)
        finally:
            process.kill()
            process.wait(10)


def config(upstream: Endpoint, more: str = "") -> str:
    return f"""
deployments: {{far: {{engine: http, url: "{upstream.url}/v1", model: tier}}}}
tiers:
  fast: {{deployment: far, policy: single}}
  vote: {{deployment: far, policy: {{majority: {{n: 3}}}}}}
prices: {{far: {{completion: 2.0}}}}
{more}"""


@pytest.fixture
def house(tmp_path) -> Iterator[Callable[..., tuple[Process, ScriptedEngine]]]:
    """Runs `tierwise serve` before a scripted engine that is far away."""
    with ExitStack() as stack:

        def open_house(*replies: str | Reply, step: float = 0.001) -> tuple[Process, ScriptedEngine]:
            engine = ScriptedEngine(*(replies or (WORDS,)), step=step)
            upstream = stack.enter_context(serving(tier_of(engine=engine)))
            return stack.enter_context(process_of(config(upstream), tmp_path)), engine

        yield open_house


def assert_answered(answer: Answered) -> None:
    assert (answer.status, answer.text) == (200, WORDS)


def test_it_serves_tiers_of_a_file_and_remembers_what_they_did(house):
    process, _ = house()
    whole, streamed, voted = process.chat("fast"), process.chat("fast", stream=True), process.chat("vote")
    for answer in (whole, streamed, voted):
        assert_answered(answer)
    assert streamed.is_done
    assert whole.json["usage"]["completion_tokens"] == 20
    assert whole.json["usage"]["tierwise"]["exact"] is True
    assert process.request("GET", "/ready").json["ready"] is True
    assert process.metric('tierwise_actions_total{ending="answered",tier="fast"}') == 2
    with process.client() as client:
        assert [model.id for model in client.models.list()] == ["fast", "vote"]
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(10) == 0
    ids = {answer.headers["x-tierwise-action"] for answer in (whole, streamed, voted)}
    assert process.actions() == dict.fromkeys(ids, ("answered", ""))
    assert "Traceback" not in process.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_streams_finish_and_refuses_new_connections(house, number):
    process, _ = house(step=0.1)
    with process.dial("fast", stream=True) as streaming, process.dial("fast") as waiting:
        streaming.recv(1)
        began = time.monotonic()
        process.process.send_signal(number)

        def is_refused() -> bool:
            try:
                assert process.request("GET", "/ready").status == 503
            except ConnectionError:
                return True
            return False

        time.sleep(0.02)
        assert until(is_refused) < 1.5, "the streams take two seconds"
        raw = process.read_until(streaming, b"0\r\n\r\n")
        assert b"word19" in raw
        assert raw.count(b"[DONE]") == 1
        assert b"word19" in process.read_until(waiting, b"}")
        assert time.monotonic() - began > 0.5
    assert process.process.wait(10) == 0
    assert [ending for ending, _ in process.actions().values()] == ["answered", "answered"]
    assert "Traceback" not in process.log()


def test_a_second_signal_stops_at_once_and_what_ran_is_on_the_books(house):
    process, engine = house(step=0.5)
    with process.dial("fast", stream=True) as streaming, process.dial("vote") as waiting:
        until(lambda: engine.running == 4)
        streaming.recv(1)  # its headers are sent
        process.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.process.poll() is None
        process.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.process.wait(5)
        assert time.monotonic() - began < 4
        told = process.read_until(streaming, b"0\r\n\r\n")
        assert b"[DONE]" not in told
        assert b'"code":"server_stopping"' in told.rpartition(b"data: ")[2]
        refused = waiting.recv(65536)
        assert refused.startswith(b"HTTP/1.1 503")
        assert b'"code":"server_stopping"' in refused
    until(lambda: engine.running == 0)
    assert list(process.actions().values()) == [("failed", "the server was stopped")] * 2
    assert "Traceback" not in process.log()


def test_a_body_that_never_comes_does_not_keep_it_from_stopping_at_once(house):
    process, _ = house()
    with socket.create_connection(("127.0.0.1", process.port)) as line:
        line.sendall(head_of(100) + b"{")
        time.sleep(0.1)
        process.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(3) == 0


def test_idle_connections_do_not_hold_it_up(house):
    process, _ = house()
    with socket.create_connection(("127.0.0.1", process.port)) as silent, process.dial("fast") as kept:
        process.read_until(kept, b"}")
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(3) == 0
        assert silent.recv(10) == b""


def test_what_was_answered_survives_kill_9(house):
    process, _ = house()
    ids = set()
    for stream in (False, True) * 10:
        with process.dial("fast", stream=stream) as line:
            raw = process.read_until(line, b"0\r\n\r\n" if stream else b"}")
            ids.add(re.search(rb"x-tierwise-action: (\S+)", raw)[1].decode())
    process.process.kill()
    process.process.wait(5)
    assert set(process.actions()) == ids


def test_on_a_full_disk_answers_are_served_and_the_alarm_is_loud(house):
    process, _ = house()
    assert_answered(process.chat("fast"))
    time.sleep(0.3)  # the first action is stored
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    answers = [process.chat("fast", stream=stream) for stream in (False, True)]
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for answer in answers:
        assert_answered(answer)
    assert process.metric("tierwise_ledger_alarms_total") >= 1
    assert_answered(process.chat("fast"))
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(10) == 0
    assert len(process.actions()) == 4, "what was kept in memory is stored when the disk takes it"


def test_a_locked_ledger_is_waited_for_and_the_alarm_is_loud(house):
    process, _ = house()
    lock = sqlite3.connect(process.folder / "ledger.db")
    lock.execute("begin exclusive")
    assert_answered(process.chat("fast"))
    until(lambda: process.metric("tierwise_ledger_alarms_total") == 1, seconds=10)
    assert "LEDGER: the ledger" in process.log()
    assert_answered(process.chat("fast"))
    lock.rollback()
    lock.close()
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(10) == 0
    assert len(process.actions()) == 2


def test_actions_that_are_only_in_memory_when_it_ends_are_an_exit_code(house):
    process, _ = house()
    assert_answered(process.chat("fast"))
    time.sleep(0.3)  # the first action is stored
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))  # the log fits in
    for _ in range(12):
        assert_answered(process.chat("fast"))
    assert process.request("GET", "/ready").json["ledger"]["state"] == "losing"
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(30) == 1
    assert re.search(r"tierwise: \d+ actions were answered that are not in the ledger", process.log())
    assert "Traceback" not in process.log()


def test_a_ledger_that_is_moved_while_serving_loses_nothing_and_says_where_it_went(house):
    process, _ = house()
    moved = process.folder / "moved.db"
    ids = [process.chat("fast").headers["x-tierwise-action"] for _ in range(5)]
    (process.folder / "ledger.db").rename(moved)
    until(lambda: "was moved to" in process.log())
    assert f"was moved to {moved} while in use" in process.log()
    ids += [process.chat("fast").headers["x-tierwise-action"] for _ in range(5)]
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(10) == 0
    with closing(sqlite3.connect(moved)) as database:
        before = {row[0] for row in database.execute("select id from actions")}
    assert before | set(process.actions()) == set(ids)
    assert before.isdisjoint(process.actions())


def test_a_ledger_that_is_damaged_while_serving_is_told_by_ready_and_by_the_log(house):
    process, _ = house()
    assert_answered(process.chat("fast"))
    until(lambda: process.request("GET", "/ready").json["ledger"]["pending"] == 0)
    assert process.request("GET", "/ready").json["ledger"]["state"] == "good"
    file = process.folder / "ledger.db"
    file.write_bytes(b"\0" * file.stat().st_size)
    assert_answered(process.chat("fast"))
    until(lambda: process.request("GET", "/ready").json["ledger"]["state"] == "corrupt")
    ready = process.request("GET", "/ready")
    assert (ready.status, ready.json["ledger"]["pending"], ready.json["ledger"]["lost"]) == (200, 1, 0)
    assert "is corrupt" in process.log()
    file.rename(file.with_name("damaged.db"))
    until(lambda: process.request("GET", "/ready").json["ledger"]["state"] == "good")
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(10) == 0
    assert len(process.actions()) == 1


@pytest.mark.parametrize("place", ["/dev/null", "."])
def test_a_ledger_that_is_no_file_is_refused(tmp_path, place):
    file = tmp_path / "tierwise.yaml"
    file.write_text(FILE)
    done = run(file, "--port", "0", "--ledger", place)
    assert done.returncode == 1
    assert "name a file, such as ledger.db" in done.stderr


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tierwise", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path):
    file = tmp_path / "tierwise.yaml"
    file.write_text(FILE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(file, "--port", port, "--ledger", tmp_path / "ledger.db")
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_an_engine_that_does_not_come_up_ends_it_with_the_engine_s_own_words(tmp_path):
    head = (string("general.architecture", "llama"), string("tokenizer.ggml.model", "gpt2"))
    by_hand(tmp_path / "model.gguf", *head, string("tokenizer.chat_template", "x"))
    engine = tmp_path / "engine"
    engine.write_text("#!/bin/sh\necho 'error: this is no model' >&2\nexit 1\n")
    engine.chmod(0o755)
    file = tmp_path / "tierwise.yaml"
    file.write_text(f"""
checkpoints: {{m: {{source: "file:model.gguf"}}}}
deployments: {{small: {{engine: llama.cpp, checkpoint: m, binary: {engine}}}}}
tiers: {{fast: {{deployment: small, policy: single}}}}
""")
    done = run(file, "--port", "0", "--ledger", tmp_path / "ledger.db")
    assert done.returncode == 1
    assert "this is no model" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_ipv6_address_is_written_as_a_url(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with process_of(FILE, tmp_path, "--host", "::1") as process:
        assert process.port


@pytest.mark.model
def test_the_quickstart_serves_a_real_model(smollm2, tmp_path):
    quickstart = Path(__file__).parents[1] / "examples" / "quickstart.yaml"
    with process_of(quickstart, tmp_path) as process:
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key="any", max_retries=0, timeout=60) as client:
            for model in ("fast", "standard", "max", "auto"):
                *chunks, last = client.chat.completions.create(
                    model=model,
                    messages=HELLO,
                    max_tokens=12,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
                assert last.usage is not None
                ours: Any = last.usage.model_extra["tierwise"]
                assert ours["exact"] is True
                assert sum(one["completion_tokens"] for one in ours["passes"]) == last.usage.completion_tokens
                assert ours["dollars"] > 0
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
        assert len(process.actions()) == 4
    assert json.dumps(process.log()).count("Traceback") == 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--host", "0.0.0.0"), "--host"),
        (("--api-key-env", "NO_SUCH_KEY"), "--api-key-env"),
        (("--cors-origin", "app.example"), "--cors-origin"),
        (("--allowed-host", "http://x"), "--allowed-host"),
    ],
)
def test_an_endpoint_that_would_be_open_by_mistake_is_not_started(tmp_path, options, field):
    file = tmp_path / "tierwise.yaml"
    file.write_text(FILE)
    done = run(file, "--port", "0", "--ledger", tmp_path / "ledger.db", *options)
    assert done.returncode == 2
    assert field in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_with_a_key_only_its_holders_are_answered_and_see_how_engines_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    with process_of(FILE, tmp_path, "--api-key-env", "MY_KEY") as process:
        assert process.chat("fast").status == 401
        assert process.request("GET", "/v1/models").status == 401
        assert process.request("GET", "/ready").json["deployments"]["far"] == {"state": "ready"}
        process.key = "secret"
        assert process.chat("fast").status == 502
        shown = process.request("GET", "/ready").json["deployments"]["far"]
        assert (shown["state"], "cannot be reached" in shown["reason"]) == ("failed", True)
        assert process.request("GET", "/ready", headers={"authorization": ""}).json["deployments"]["far"] == {
            "state": "failed"
        }
        assert process.request("GET", "/v1/models", headers={"host": "api.example"}).status == 200
    assert "secret" not in process.log()
