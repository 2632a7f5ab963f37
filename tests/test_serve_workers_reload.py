"""`tierwise serve --workers` reads its config file again while requests run: in all workers, or in none."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from endpoints import ready, serving, tier_of, until
from ggufs import by_hand, string
from made_certificates import Pair, authority, certificate
from test_serve import WORDS, Process, process_of
from test_serve_certified import Vendor, certified
from test_serve_reload import NO_CHECKPOINT, NO_KEY, OTHER_TOKENS, RELOADS, Held, far, file_of, reload, write
from test_serve_workers import by_worker, children, number_of, read_rest, workers_of
from tierwise.ledger.read import By, Reader

LAUNCHED = """
checkpoints: {{c: {{source: "file:model.gguf"}}}}
deployments: {{a: {{engine: llama.cpp, checkpoint: c, slots: {0}, binary: ./engine}}}}
tiers: {{fast: {{deployment: a, policy: single}}}}
"""


@pytest.fixture
def serve(tmp_path, monkeypatch) -> Iterator[Callable[..., Process]]:
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / "state"))
    with ExitStack() as stack:

        def serve_two(text: str, *options: str) -> Process:
            process = stack.enter_context(process_of(text, tmp_path, "--workers", "2", *options))
            by_worker(process, lambda: (number_of(process), None))
            until(lambda: process.request("GET", "/ready").status == 200, seconds=10)
            return process

        yield serve_two


def models_of_both(process: Process) -> list[str]:
    """The models of both workers, which must be the same."""
    found: dict[int, list[str]] = {}

    def look() -> bool:
        line = http.client.HTTPConnection("127.0.0.1", process.port, timeout=20)
        pages = []
        for path in ("/ready", "/v1/models"):  # on one connection, and so of one worker
            line.request("GET", path)
            pages.append(json.loads(line.getresponse().read()))
        line.close()
        found[pages[0]["workers"]["this"]] = [one["id"] for one in pages[1]["data"]]
        return len(found) == 2

    until(look, seconds=20)
    assert found[0] == found[1]
    return found[0]


def in_background(process: Process) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tierwise", "reload", "tierwise.yaml", "--timeout", "60"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=process.folder, stdout=pipe, stderr=pipe, text=True)


def stop(process: Process) -> None:
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(20) == 0
    assert "Traceback" not in process.log()


def test_all_workers_serve_the_new_file_and_streams_of_both_keep_the_old_one(serve):
    engine = Held()
    with far(engine=engine) as (slow, _), far("other words") as (other, _), ExitStack() as stack:
        process = serve(file_of({"fast": "a", "gone": "a"}, {"a": slow.url}, "prices: {a: {completion: 10.0}}"))
        lines = [stack.enter_context(process.dial("fast", stream=True)) for _ in range(12)]
        until(lambda: engine.running == 12)
        new = file_of({"fast": "b", "new": "b"}, {"b": other.url}, "prices: {b: {completion: 20.0}}")
        write(process, new)
        told = reload(process)
        assert (told.returncode, told.stderr) == (0, "")
        assert "tiers and routes: new: new; changed: fast; gone: gone" in told.stdout
        assert "engines: started: b; stopped after their last request: a" in told.stdout
        assert models_of_both(process) == ["fast", "new"]
        assert {process.chat("fast").text for _ in range(12)} == {"other words"}
        assert {process.chat("gone").status for _ in range(12)} == {404}
        assert process.metric(RELOADS % "applied") == 1, "counted once, and not by each worker"
        assert engine.running == 12, "the streams go on"
        assert "engine a is stopped" not in process.log(), "it has requests"
        engine.may_go_on.set()
        rests = [read_rest(line) for line in lines]
        assert all(b"word19" in raw and raw.count(b"[DONE]") == 1 for raw in rests)
        until(lambda: "engine a is stopped: no request needs it any more" in process.log())
        stop(process)
        with Reader(process.folder / "ledger.db") as reader:
            costs = {total.key: total.dollars for total in reader.totals(By.DEPLOYMENT)}
        assert costs == {"a": pytest.approx(12 * 20 * 10e-6), "b": pytest.approx(12 * 2 * 20e-6)}


def test_a_file_that_fails_leaves_the_one_before_in_all_workers(serve):
    with far() as (upstream, _):
        good = file_of({"fast": "a"}, {"a": upstream.url})
        process = serve(good)
        head = (string("general.architecture", "llama"), string("tokenizer.ggml.model", "gpt2"))
        by_hand(process.folder / "model.gguf", *head, string("tokenizer.chat_template", "x"))
        program = process.folder / "engine"
        program.write_text("#!/bin/sh\necho 'error: this is no model' >&2\nexit 1\n")
        program.chmod(0o755)
        fails = {
            "deployments: [": "tierwise.yaml",
            NO_KEY: "NOT_SET_ANYWHERE",
            NO_CHECKPOINT: "checkpoint 'c' is not downloaded",
            OTHER_TOKENS: "whose tokens are accepted changes with a restart only",
            LAUNCHED.format(1): "1: the slots of an engine are divided among 2 workers",
            LAUNCHED.format(2): "this is no model",
        }
        for number, (text, said) in enumerate(fails.items(), 1):
            write(process, text)
            told = reload(process)
            assert told.returncode == 1
            assert said in told.stderr
            assert "serves the config before" in told.stderr
            assert process.metric(RELOADS % "failed") == number
        assert models_of_both(process) == ["fast"]
        assert {process.chat("fast").text for _ in range(8)} == {WORDS}
        assert len(children(process.process.pid)) == 1, "the nursery, and no engine"
        write(process, file_of({"fast": "a", "more": "a"}, {"a": upstream.url}))
        process.process.send_signal(signal.SIGHUP)
        until(lambda: process.metric(RELOADS % "applied") == 1, seconds=10)
        assert models_of_both(process) == ["fast", "more"]
        stop(process)


def test_a_worker_that_is_killed_in_the_middle_of_a_reload_does_not_divide_them(serve):
    engine = Held()
    with far(engine=engine) as (slow, _), far("other words") as (other, _), ExitStack() as stack:
        process = serve(file_of({"fast": "a"}, {"a": slow.url}))
        lines = [stack.enter_context(process.dial("fast", stream=True)) for _ in range(24)]
        until(lambda: engine.running == 24)
        victim, bystander = workers_of(process)
        os.kill(victim, signal.SIGSTOP)  # it cannot make anything ready
        write(process, file_of({"fast": "b", "new": "b"}, {"b": other.url}))
        with in_background(process) as asking:
            until(lambda: "workers make it ready" in process.log(), seconds=20)
            assert asking.poll() is None
            assert "reload: tiers and routes" not in process.log(), "nobody serves it before all are ready"
            os.kill(victim, signal.SIGKILL)
            assert asking.wait(60) == 0
        assert bystander in workers_of(process)
        until(lambda: len(workers_of(process)) == 2)
        assert models_of_both(process) == ["fast", "new"]
        assert {process.chat("fast").text for _ in range(12)} == {"other words"}
        engine.may_go_on.set()
        rests = [read_rest(line) for line in lines]
        whole = [raw for raw in rests if b"word19" in raw and raw.count(b"[DONE]") == 1]
        assert 0 < len(whole) < 24, "only those of the worker that was killed are broken"
        until(lambda: "engine a is stopped: no request needs it any more" in process.log())
        stop(process)


def test_a_worker_that_starts_after_a_reload_serves_what_the_others_do_whatever_the_file_says(serve):
    with far() as (upstream, _):
        process = serve(file_of({"fast": "a"}, {"a": upstream.url}))
        write(process, file_of({"fast": "a", "more": "a"}, {"a": upstream.url}))
        assert reload(process).returncode == 0
        write(process, "deployments: [")
        for pid in workers_of(process):
            os.kill(pid, signal.SIGKILL)
        until(lambda: process.log().count("is replaced") == 2)
        assert models_of_both(process) == ["fast", "more"]
        assert {process.chat("more").text for _ in range(8)} == {WORDS}
        stop(process)


def test_reloads_under_load_lose_nothing(serve):
    with far(step=0.005) as (one, _), far(step=0.005) as (two, _):
        texts = [file_of({"fast": "a"}, {"a": one.url}), file_of({"fast": "b", "more": "b"}, {"b": two.url})]
        process = serve(texts[0])
        answers: list[Any] = []
        is_over = threading.Event()

        def ask(stream: bool) -> None:
            while not is_over.is_set():
                answers.append(process.chat("fast", stream=stream))

        users = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(8)]
        for user in users:
            user.start()
        for number in range(8):
            write(process, texts[(number + 1) % 2])
            seen = len(answers)
            process.process.send_signal(signal.SIGHUP)
            until(lambda number=number: process.metric(RELOADS % "applied") == number + 1, seconds=20)
            until(lambda seen=seen: len(answers) > seen + 4, seconds=20)
        is_over.set()
        for user in users:
            user.join()
        assert {(answer.status, answer.text) for answer in answers} == {(200, WORDS)}
        assert all(answer.is_done for answer in answers if answer.events)
        stop(process)
        assert [ending for ending, _ in process.actions().values()] == ["answered"] * len(answers)


def test_a_void_certificate_stays_void_after_a_reload_also_if_who_noticed_has_died(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / "state"))
    vendor = Vendor("42")
    with serving(tier_of(engine=vendor)) as upstream:
        certified(tmp_path, upstream.url)
        with process_of(tmp_path / "tierwise.yaml", tmp_path, "--workers", "2") as process:
            by_worker(process, lambda: (number_of(process), None))
            ready(process)
            for _ in range(24):  # both workers have seen the first version
                assert process.chat("auto").headers["x-tierwise-tier"] == "fast"
            vendor.fingerprint = "fp_2"
            process.chat("auto")
            until(lambda: process.metric('tierwise_route_certified{route="auto"}') == 0)
            for pid in workers_of(process):
                os.kill(pid, signal.SIGKILL)
            until(lambda: process.log().count("is replaced") == 2)
            by_worker(process, lambda: (number_of(process), None))
            assert reload(process).returncode == 0
            assert {process.chat("auto").headers["x-tierwise-tier"] for _ in range(12)} == {"max"}
            assert process.metric('tierwise_route_certified{route="auto"}') == 0


def test_certificates_of_tls_are_exchanged_in_all_workers(serve, tmp_path):
    def names() -> set[str]:
        """The common names that are shown; asked so often that both workers have."""
        context = ssl.create_default_context(cafile=str(authority().certificate))
        found = set()
        for _ in range(16):
            with (
                socket.create_connection(("127.0.0.1", process.port)) as line,
                context.wrap_socket(line, server_hostname="localhost") as secured,
            ):
                found.add(dict(one[0] for one in secured.getpeercert()["subject"])["commonName"])
        return found

    pairs = {name: certificate(tmp_path, name, issuer=authority()) for name in ("old", "new")}
    pairs["late"] = certificate(tmp_path, "late", issuer=authority(), ends="20210101000000Z")
    used = Pair(tmp_path / "used.pem", tmp_path / "used.key")

    def use(name: str) -> None:
        used.certificate.write_bytes(pairs[name].certificate.read_bytes())
        used.key.write_bytes(pairs[name].key.read_bytes())
        used.key.chmod(0o600)

    with far() as (upstream, _), ExitStack() as stack:
        use("old")
        text = file_of({"fast": "a"}, {"a": upstream.url})
        process = stack.enter_context(process_of(text, tmp_path, "--workers", "2", *used.options))
        until(lambda: "the engines are ready" in process.log())
        assert names() == {"old"}
        use("late")
        assert reload(process).returncode == 1
        assert names() == {"old"}
        use("new")
        assert reload(process).returncode == 0
        assert names() == {"new"}
        used.key.unlink()  # a worker that starts now gets the certificates that the others have
        os.kill(workers_of(process)[0], signal.SIGKILL)
        until(lambda: "is replaced" in process.log() and len(workers_of(process)) == 2)
        assert names() == {"new"}
        stop(process)
