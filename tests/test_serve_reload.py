"""`tierwise serve` reads its config file again while requests run: SIGHUP, `tierwise reload`, and what fails."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from endpoints import Endpoint, ready, serving, tier_of, until
from ggufs import by_hand, string
from made_certificates import authority, certificate
from test_serve import WORDS, Process, process_of
from tierwise.gateway.grpc import tierwise_pb2 as pb
from tierwise.gateway.grpc import tierwise_pb2_grpc as stubs
from tierwise.ledger.read import By, Reader
from tierwise.spec.call import Call, Chunk
from tierwise.testing import ScriptedEngine

RELOADS = 'tierwise_config_reloads_total{result="%s"}'

NO_KEY = """
deployments: {a: {engine: http, url: "http://127.0.0.1:1/v1", api_key_env: NOT_SET_ANYWHERE}}
tiers: {fast: {deployment: a, policy: single}}
"""
OTHER_TOKENS = """
deployments: {a: {engine: http, url: "http://127.0.0.1:1/v1", model: tier}}
tiers: {fast: {deployment: a, policy: single}}
oidc: {issuer: "https://login.example", audience: tierwise}
"""
NO_CHECKPOINT = """
checkpoints: {c: {source: "file:none.gguf"}}
deployments: {a: {engine: llama.cpp, checkpoint: c}}
tiers: {fast: {deployment: a, policy: single}}
"""


class Held(ScriptedEngine):
    """Says one word, and the others once it may."""

    def __init__(self) -> None:
        super().__init__(WORDS, step=0.001)
        self.may_go_on = threading.Event()

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        async with aclosing(super().stream(call)) as chunks:
            async for chunk in chunks:
                yield chunk
                while not self.may_go_on.is_set():  # noqa: ASYNC110 - it is set in another thread
                    await asyncio.sleep(0.01)


@contextmanager
def far(
    *words: str, step: float = 0.001, engine: ScriptedEngine | None = None
) -> Iterator[tuple[Endpoint, ScriptedEngine]]:
    """A server that is far away."""
    engine = engine or ScriptedEngine(*(words or (WORDS,)), step=step)
    with serving(tier_of(engine=engine)) as endpoint:
        yield endpoint, engine


def file_of(tiers: dict[str, str], deployments: dict[str, str], more: str = "") -> str:
    """A config file: deployments by tier, and URLs by deployment."""
    lines = ["deployments:"]
    lines += [f'  {name}: {{engine: http, url: "{url}/v1", model: tier}}' for name, url in deployments.items()]
    lines += ["tiers:", *(f"  {name}: {{deployment: {on}, policy: single}}" for name, on in tiers.items())]
    return "\n".join([*lines, more, ""])


@pytest.fixture
def serve(tmp_path, monkeypatch) -> Iterator[Callable[..., Process]]:
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / ("state" * 20)))  # longer than the address of a socket
    with ExitStack() as stack:
        yield lambda text, *options: stack.enter_context(process_of(text, tmp_path, *options))


def write(process: Process, text: str) -> None:
    (process.folder / "tierwise.yaml").write_text(text)


def reload(process: Process) -> subprocess.CompletedProcess[str]:
    """`tierwise reload`, in the folder of the config file."""
    command = [sys.executable, "-W", "error", "-m", "tierwise", "reload", "tierwise.yaml", "--timeout", "30"]
    return subprocess.run(command, cwd=process.folder, capture_output=True, text=True, check=False)


def hang_up(process: Process, result: str = "applied") -> None:
    """Send SIGHUP, and wait until it is counted."""
    before = process.metric(RELOADS % result)
    process.process.send_signal(signal.SIGHUP)
    until(lambda: process.metric(RELOADS % result) == before + 1, seconds=10)


def children(process: int) -> list[str]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [child for each in tasks for child in each.read_text(encoding="ascii").split()]


def models(process: Process) -> list[str]:
    return [one["id"] for one in process.request("GET", "/v1/models").json["data"]]


def test_tiers_routes_and_prices_change_and_a_stream_keeps_the_plan_that_it_began_with(serve):
    engine = Held()
    with far(engine=engine) as (slow, _), far("other words") as (other, _):
        first = file_of({"fast": "a", "gone": "a"}, {"a": slow.url}, "prices: {a: {completion: 10.0}}")
        process = serve(first)
        with process.dial("fast", stream=True, stream_options={"include_usage": True}) as streaming:
            until(lambda: engine.running == 1)
            tiers = {"fast": "b", "new": "b"}
            write(
                process,
                file_of(
                    tiers, {"b": other.url}, "routes: {auto: {cascade: [fast, new]}}\nprices: {b: {completion: 20.0}}"
                ),
            )
            told = reload(process)
            assert (told.returncode, told.stderr) == (0, "")
            assert "tiers and routes: new: new, auto; changed: fast; gone: gone" in told.stdout
            assert "engines: started: b; stopped after their last request: a" in told.stdout
            assert "prices: changed" in told.stdout
            assert "restart" in told.stdout, "what a reload cannot change is named"
            assert models(process) == ["fast", "new", "auto"]
            answer = process.chat("fast")
            assert answer.text == "other words"
            assert process.chat("gone").status == 404
            assert engine.running == 1, "the stream goes on"
            engine.may_go_on.set()
            raw = process.read_until(streaming, b"0\r\n\r\n")
        assert b"word19" in raw
        assert raw.count(b"[DONE]") == 1
        assert b'"dollars":0.0002' in raw, "20 tokens at the prices that it began with"
        assert answer.json["usage"]["tierwise"]["dollars"] == pytest.approx(2 * 20e-6)
        until(lambda: "engine a is stopped: no request needs it any more" in process.log())
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(10) == 0
        with Reader(process.folder / "ledger.db") as reader:
            costs = {total.key: total.dollars for total in reader.totals(By.DEPLOYMENT)}
        assert costs == {"a": pytest.approx(20 * 10e-6), "b": pytest.approx(2 * 20e-6)}
    assert "Traceback" not in process.log()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deployments: [", "tierwise.yaml"),
        ("tiers: {fast: {deployment: none, policy: single}}\ndeployments: {}", "none"),
        (NO_KEY, "NOT_SET_ANYWHERE"),
        (NO_CHECKPOINT, "checkpoint 'c' is not downloaded"),
        (None, "tierwise.yaml"),
        (OTHER_TOKENS, "whose tokens are accepted changes with a restart only"),
    ],
    ids=["syntax", "unknown name", "a key that is not set", "a missing checkpoint", "no file", "other tokens"],
)
def test_a_file_that_fails_leaves_the_one_before_and_is_loud(serve, text, said):
    with far() as (upstream, _):
        process = serve(file_of({"fast": "a"}, {"a": upstream.url}))
        if text is None:
            (process.folder / "tierwise.yaml").unlink()
        else:
            write(process, text)
        at = process.metric("tierwise_config_last_success_timestamp_seconds")
        told = reload(process)
        assert told.returncode == 1
        assert said in told.stderr
        assert "serves the config before" in told.stderr
        assert process.chat("fast").text == WORDS
        assert process.metric(RELOADS % "failed") == 1
        assert process.metric("tierwise_config_last_success_timestamp_seconds") == at
        assert "RELOAD: failed, and the config before is served on" in process.log()
        write(process, file_of({"fast": "a", "more": "a"}, {"a": upstream.url}))
        hang_up(process)
        assert models(process) == ["fast", "more"]
        assert process.metric("tierwise_config_last_success_timestamp_seconds") > at


def test_an_engine_that_does_not_start_leaves_nothing_behind(serve):
    with far() as (upstream, _):
        process = serve(file_of({"fast": "a"}, {"a": upstream.url}))
        head = (string("general.architecture", "llama"), string("tokenizer.ggml.model", "gpt2"))
        by_hand(process.folder / "model.gguf", *head, string("tokenizer.chat_template", "x"))
        program = process.folder / "engine"
        program.write_text("#!/bin/sh\necho 'error: this is no model' >&2\nexit 1\n")
        program.chmod(0o755)
        write(
            process,
            """
checkpoints: {c: {source: "file:model.gguf"}}
deployments: {a: {engine: llama.cpp, checkpoint: c, binary: ./engine}}
tiers: {fast: {deployment: a, policy: single}}
""",
        )
        told = reload(process)
        assert told.returncode == 1
        assert "this is no model" in told.stderr
        assert process.chat("fast").text == WORDS
        assert children(process.process.pid) == []


def test_an_engine_for_which_there_is_no_memory_is_refused_with_what_it_needs(serve):
    with far() as (upstream, _):
        process = serve(file_of({"fast": "a"}, {"a": upstream.url}))
        head = (string("general.architecture", "llama"), string("tokenizer.ggml.model", "gpt2"))
        by_hand(process.folder / "model.gguf", *head, string("tokenizer.chat_template", "x"))
        with (process.folder / "model.gguf").open("ab") as file:
            file.truncate(2**43)  # a sparse file
        write(
            process,
            """
checkpoints: {c: {source: "file:model.gguf"}}
deployments: {big: {engine: llama.cpp, checkpoint: c}}
tiers: {fast: {deployment: big, policy: single}}
""",
        )
        told = reload(process)
        assert told.returncode == 1
        assert "new engines need about 9011.5 GiB (big 9011.5 GiB)" in told.stderr
        assert "restart `tierwise serve`" in told.stderr
        assert process.chat("fast").text == WORDS


def test_engines_that_both_plans_need_go_on_and_come_back_while_they_drain(serve):
    engine = Held()
    with far(engine=engine) as (one, _), far("two words") as (two, _):
        deployments = {"a": one.url, "b": two.url}
        process = serve(file_of({"fast": "a", "max": "b"}, deployments))
        with process.dial("fast", stream=True) as streaming:
            until(lambda: engine.running == 1)
            write(process, file_of({"max": "b"}, deployments))
            assert "kept: b; stopped after their last request: a" in reload(process).stdout
            write(process, file_of({"fast": "a", "max": "b"}, deployments))
            assert "kept: a, b" in reload(process).stdout
            engine.may_go_on.set()
            assert b"word19" in process.read_until(streaming, b"0\r\n\r\n")
        time.sleep(0.3)
        assert process.chat("fast").text == WORDS
        assert "is stopped" not in process.log()
        up = [
            line for line in process.request("GET", "/metrics").body.decode().splitlines() if "deployment_up{" in line
        ]
        assert len(up) == 2


def test_ten_reloads_in_a_row_under_load_lose_nothing(serve):
    with far(step=0.01) as (one, _), far(step=0.01) as (two, _):
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
        for number in range(10):
            write(process, texts[(number + 1) % 2])
            hang_up(process)
            time.sleep(0.1)
        is_over.set()
        for user in users:
            user.join()
        assert {(answer.status, answer.text) for answer in answers} == {(200, WORDS)}
        assert all(answer.is_done for answer in answers if answer.events)
        assert len(answers) > 20
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(10) == 0
        assert [ending for ending, _ in process.actions().values()] == ["answered"] * len(answers)
    assert "Traceback" not in process.log()


def test_stored_responses_survive_a_reload(serve):
    with far() as (upstream, _):
        process = serve(file_of({"fast": "a"}, {"a": upstream.url}))
        with process.client() as client:
            first = client.responses.create(model="fast", input="hello")
            write(process, file_of({"fast": "a", "more": "a"}, {"a": upstream.url}))
            hang_up(process)
            second = client.responses.create(model="more", input="again", previous_response_id=first.id)
            assert second.output_text == WORDS
            write(process, file_of({"fast": "a"}, {"a": upstream.url}, "stored_responses: {count: 0}"))
            hang_up(process)
            assert process.request("GET", f"/v1/responses/{first.id}").status == 404


def test_certificates_of_tls_are_exchanged_over_http_and_grpc(serve, tmp_path):
    def serial(port: int) -> str:
        context = ssl.create_default_context(cafile=str(authority().certificate))
        with (
            socket.create_connection(("127.0.0.1", port)) as line,
            context.wrap_socket(line, server_hostname="localhost") as secured,
        ):
            return dict(one[0] for one in secured.getpeercert()["subject"])["commonName"]

    with far() as (upstream, _), socket.create_server(("127.0.0.1", 0)) as free:
        grpc_port = free.getsockname()[1]
        free.close()
        pairs = {name: certificate(tmp_path, name, issuer=authority()) for name in ("old", "new")}
        pairs["late"] = certificate(tmp_path, "late", issuer=authority(), ends="20210101000000Z")
        used = tmp_path / "used.pem", tmp_path / "used.key"

        def use(name: str, key: str = "") -> None:
            used[0].write_bytes(pairs[name].certificate.read_bytes())
            used[1].write_bytes(pairs[key or name].key.read_bytes())
            used[1].chmod(0o600)

        use("old")
        options = ["--tls-cert", str(used[0]), "--tls-key", str(used[1]), "--grpc-port", str(grpc_port)]
        process = serve(file_of({"fast": "a"}, {"a": upstream.url}), *options)
        assert (serial(process.port), serial(grpc_port)) == ("old", "old")
        trust = grpc.ssl_channel_credentials(authority().certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{grpc_port}", trust) as channel:
            kept = stubs.TierwiseStub(channel)
            asked = pb.ChatRequest(model="fast", messages=[pb.Message(role="user", content="hello")])
            assert kept.Chat(asked, timeout=10)
            for name, key, said in (("new", "old", "is not that of the certificate"), ("late", "", "expired on 2021")):
                use(name, key)
                told = reload(process)
                assert told.returncode == 1
                assert said in told.stderr
                assert (serial(process.port), serial(grpc_port)) == ("old", "old")
            use("new")
            write(process, file_of({"fast": "a", "more": "a"}, {"a": upstream.url}))
            assert reload(process).returncode == 0
            assert (serial(process.port), serial(grpc_port)) == ("new", "new")
            found = [model.id for model in kept.Models(pb.ModelsRequest(), timeout=10).models]
            assert found == ["fast", "more"], "a connection from before asks the new plan"
    assert "Traceback" not in process.log()


def test_reload_finds_nobody_and_says_what_to_do(serve, tmp_path):
    with far() as (upstream, _):
        process = serve(file_of({"fast": "a"}, {"a": upstream.url}))
        process.process.kill()
        process.process.wait(10)
        told = reload(process)
    assert told.returncode == 2
    assert "no process of this user serves tierwise.yaml" in told.stderr
    assert list((tmp_path / ("state" * 20) / "serving").iterdir()) == [], "what a killed process left is removed"


def test_the_end_does_not_wait_for_a_reload(serve):
    with far() as (upstream, _):
        process = serve(file_of({"fast": "a"}, {"a": upstream.url}))
        ready(process)
        process.process.send_signal(signal.SIGHUP)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(10) == 0
        assert list((process.folder / ("state" * 20) / "serving").iterdir()) == []
    assert "Traceback" not in process.log()
