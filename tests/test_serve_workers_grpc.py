"""`tierwise serve --workers --grpc-port`: every worker serves gRPC on one port."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from endpoints import until
from made_certificates import authority, certificate
from test_serve import WORDS, Process, config, process_of, run
from test_serve_reload import Held, far, file_of, reload, write
from test_serve_workers import workers_of
from tierwise.gateway.grpc import tierwise_pb2 as pb
from tierwise.gateway.grpc import tierwise_pb2_grpc as stubs
from tierwise.keys.database import prepare
from tierwise.keys.records import Limits
from tierwise.keys.store import KeyStore
from tierwise.ledger.location import locate

ASKED = pb.ChatRequest(model="fast", max_tokens=20, messages=[pb.Message(role="user", content="hello")])


@pytest.fixture
def serve(tmp_path, monkeypatch) -> Iterator[Callable[..., tuple[Process, int]]]:
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / "state"))
    with ExitStack() as stack:

        def serve_two(text: str, *options: str) -> tuple[Process, int]:
            more = ("--workers", "2", "--grpc-port", "0", *options)
            process = stack.enter_context(process_of(text, tmp_path, *more))
            until(lambda: process.log().count("gRPC on ") == 2, seconds=20)
            (port,) = set(re.findall(r"gRPC on \S+:(\d+)", process.log()))
            return process, int(port)

        yield serve_two


def channel_to(port: int, trust: grpc.ChannelCredentials | None = None) -> Any:
    """A channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if trust is None:
        return grpc.insecure_channel(f"localhost:{port}", options)
    return grpc.secure_channel(f"localhost:{port}", trust, options)


def call(port: int, **how: Any) -> Any:
    with channel_to(port) as channel:
        return stubs.TierwiseStub(channel).Chat(ASKED, timeout=20, wait_for_ready=True, **how)


def connections(pid: int, port: int) -> int:
    """How many connections of a port a process has."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    open_ones = {line[9] for line in lines if int(line[1].rpartition(":")[2], 16) == port and line[3] == "01"}
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += str(each.readlink()).removeprefix("socket:[").removesuffix("]") in open_ones
    return found


def test_every_worker_serves_grpc_with_keys_and_one_that_dies_is_replaced(serve, tmp_path):
    location = locate(tmp_path / "ledger.db")
    prepare(location)
    store = KeyStore(location, who="test")
    budget = 30 * 20 * 2.0 / 1e6  # of thirty answers
    secrets = [store.create(limits=limits)[1] for limits in (Limits(), Limits(max_budget=budget))]
    key, bounded = [(("authorization", f"Bearer {secret}"),) for secret in secrets]
    with far() as (upstream, _), ExitStack() as stack:
        process, port = serve(config(upstream), "--no-auth")
        first, second = workers_of(process)

        def both_have_some() -> bool:
            channel = stack.enter_context(channel_to(port))
            assert stubs.TierwiseStub(channel).Chat(ASKED, timeout=20, metadata=key).choices[0].message.content == WORDS
            return bool(connections(first, port) and connections(second, port))

        until(both_have_some, seconds=20)
        for _ in range(6):  # whichever worker is asked
            with pytest.raises(grpc.RpcError) as refused:
                call(port, metadata=(("authorization", "Bearer sk-none"),))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        for pid in (first, second):
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: pid not in workers_of(process) and process.log().count("gRPC on ") > 2, seconds=20)
            assert call(port, metadata=key).choices[0].message.content == WORDS
        outcomes = []
        for _ in range(60):
            try:
                call(port, metadata=bounded)
                outcomes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                outcomes.append(error.code())
        assert set(outcomes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}, "budgets hold over gRPC too"
        assert outcomes.count(grpc.StatusCode.OK) <= 30
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
    store.close()
    assert "Traceback" not in process.log()


def test_a_reload_exchanges_what_is_served_over_grpc_in_all_workers(serve, tmp_path):
    pairs = {name: certificate(tmp_path, name, issuer=authority()) for name in ("old", "new")}
    used = tmp_path / "used.pem", tmp_path / "used.key"

    def use(name: str) -> None:
        used[0].write_bytes(pairs[name].certificate.read_bytes())
        used[1].write_bytes(pairs[name].key.read_bytes())
        used[1].chmod(0o600)

    engine = Held()
    trust = grpc.ssl_channel_credentials(authority().certificate.read_bytes())
    with far(engine=engine) as (slow, _), far("other words") as (other, _), ExitStack() as stack:
        use("old")
        options = ("--tls-cert", str(used[0]), "--tls-key", str(used[1]))
        process, port = serve(file_of({"fast": "a"}, {"a": slow.url}), *options)
        channels = [stack.enter_context(channel_to(port, trust)) for _ in range(8)]
        streams = [stubs.TierwiseStub(channel).ChatStream(ASKED, timeout=60) for channel in channels]
        until(lambda: engine.running == 8, seconds=20)
        use("new")
        write(process, file_of({"fast": "b", "new": "b"}, {"b": other.url}))
        told = reload(process)
        assert (told.returncode, told.stderr) == (0, "")
        for channel in channels:  # connections from before ask the new plan
            found = stubs.TierwiseStub(channel).Models(pb.ModelsRequest(), timeout=20)
            assert [model.id for model in found.models] == ["fast", "new"]
            assert stubs.TierwiseStub(channel).Chat(ASKED, timeout=20).choices[0].message.content == "other words"
        assert engine.running == 8, "the streams go on"
        engine.may_go_on.set()
        assert [len([one for one in stream if one.HasField("account")]) for stream in streams] == [1] * 8
        until(lambda: "engine a is stopped" in process.log(), seconds=10)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
    assert "Traceback" not in process.log()


def test_a_port_of_grpc_that_is_in_use_is_refused(tmp_path):
    with far() as (upstream, _), closing(socket.create_server(("127.0.0.1", 0))) as taken:
        (tmp_path / "tierwise.yaml").write_text(config(upstream))
        port = str(taken.getsockname()[1])
        options = ("--workers", "2", "--port", "0", "--ledger", tmp_path / "ledger.db", "--grpc-port", port)
        done = run(tmp_path / "tierwise.yaml", *options)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
