"""`tierwise serve` with TLS: real clients, clients that do not finish, and files that are wrong."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import ssl
import subprocess
import time
from contextlib import closing

import grpc
import httpx2
import openai
import pytest
import uvloop

from endpoints import HELLO, serving, tier_of, until
from made_certificates import authority, certificate, openssl
from test_serve import WORDS, config, process_of
from tierwise.gateway import accepting
from tierwise.gateway.grpc import tierwise_pb2 as pb
from tierwise.gateway.grpc import tierwise_pb2_grpc as stubs
from tierwise.gateway.tls import TlsFiles, tls_of
from tierwise.spec.errors import SpecError
from tierwise.testing import ScriptedEngine


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"), "server", issuer=authority())


@pytest.fixture(scope="module")
def upstream():
    with serving(tier_of(engine=ScriptedEngine(WORDS, step=0.002))) as far:
        yield far


def files_of(pair, client_ca=None):
    return TlsFiles(certificate=pair.certificate, key=pair.key, client_ca=client_ca)


def trusting():
    return ssl.create_default_context(cafile=str(authority().certificate))


def chat(process, *, trust=None, **how):
    with httpx2.Client(verify=trusting() if trust is None else trust, **how) as client:
        body = {"model": "fast", "messages": HELLO}
        return client.post(f"https://127.0.0.1:{process.port}/v1/chat/completions", json=body)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_openai_and_curl_are_answered_over_tls(pair, upstream, tmp_path):
    with process_of(config(upstream), tmp_path, *pair.options) as process:
        url, trusted = f"https://localhost:{process.port}/v1", str(authority().certificate)
        with (
            httpx2.Client(verify=trusting()) as transport,
            openai.OpenAI(base_url=url, api_key="any", max_retries=0, http_client=transport) as client,
        ):
            whole = client.chat.completions.create(model="fast", messages=HELLO)
            assert whole.choices[0].message.content == WORDS
            stream = client.chat.completions.create(model="fast", messages=HELLO, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            assert text == WORDS
        seen = subprocess.run(
            ["curl", "-sS", "--cacert", trusted, f"{url}/models", "-w", "%{http_version} %{ssl_verify_result}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert seen.stdout.endswith("1.1 0")
        assert "vote" in seen.stdout
        refused = subprocess.run(["curl", "-sS", f"{url}/models"], capture_output=True, text=True, check=False)
        assert "certificate" in refused.stderr, "the test's authority is not trusted by others"
        with pytest.raises(ConnectionError):
            process.request("GET", "/health")  # plain HTTP
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(10) == 0
    assert [ending for ending, _ in process.actions().values()] == ["answered"] * 2
    assert "Traceback" not in process.log()


def test_a_client_that_leaves_a_stream_over_tls_is_noticed(pair, tmp_path):
    engine = ScriptedEngine(WORDS, step=0.2)
    with serving(tier_of(engine=engine)) as far, process_of(config(far), tmp_path, *pair.options) as process:
        with httpx2.Client(verify=trusting()) as client:
            body = {"model": "fast", "messages": HELLO, "stream": True}
            with client.stream("POST", f"https://127.0.0.1:{process.port}/v1/chat/completions", json=body) as answer:
                next(answer.iter_raw())
                until(lambda: engine.running == 1)
        until(lambda: engine.running == 0, seconds=2)


def test_grpc_is_served_with_the_same_certificate(pair, upstream, tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with process_of(config(upstream), tmp_path, *pair.options, "--grpc-port", str(port)):
        trust = grpc.ssl_channel_credentials(authority().certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{port}", trust) as channel:
            found = stubs.TierwiseStub(channel).Models(pb.ModelsRequest(), timeout=10)
        assert [model.id for model in found.models] == ["fast", "vote"]
        with grpc.insecure_channel(f"localhost:{port}") as channel, pytest.raises(grpc.RpcError):
            stubs.TierwiseStub(channel).Models(pb.ModelsRequest(), timeout=2)


def test_only_clients_with_a_certificate_come_in_if_an_authority_is_given(pair, upstream, tmp_path):
    ours = certificate(tmp_path, "client", issuer=authority())
    others = certificate(tmp_path, "other", issuer=certificate(tmp_path, "elsewhere"))
    options = [*pair.options, "--tls-client-ca", str(authority().certificate)]
    with process_of(config(upstream), tmp_path, *options) as process:
        for shown, is_let_in in ((ours, True), (others, False), (None, False)):
            context = trusting()
            if shown is not None:
                context.load_cert_chain(shown.certificate, shown.key)
            if is_let_in:
                assert chat(process, trust=context).status_code == 200
            else:
                with pytest.raises(httpx2.TransportError):
                    chat(process, trust=context)


def test_who_does_not_finish_the_handshake_holds_nothing(pair, upstream, tmp_path):
    with process_of(config(upstream), tmp_path, *pair.options) as process:
        silent = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(50)]
        garbled = socket.create_connection(("127.0.0.1", process.port))
        garbled.sendall(b"\x16\x03\x01 not a handshake at all" * 4)
        assert chat(process).status_code == 200, "others are served"
        began = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(5) == 0, "nobody waits for them at the end"
        assert time.monotonic() - began < 3
        for line in (*silent, garbled):
            line.close()
    assert "Traceback" not in process.log()


def test_an_unfinished_handshake_ends_after_its_time(pair, monkeypatch):
    monkeypatch.setattr(accepting, "HANDSHAKE_SECONDS", 0.2)

    async def run():
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            acceptor = accepting.Acceptor(listener, asyncio.Protocol, tls=files_of(pair).load().context)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            began = time.monotonic()
            assert await reader.read() == b""
            seconds = time.monotonic() - began
            writer.close()
            await asyncio.sleep(0.05)
            assert not acceptor._opening
            assert not acceptor._shaking_hands
            await acceptor.close()
            return seconds

    assert 0.1 < uvloop.run(run()) < 3


def test_wrong_files_are_errors_that_say_which(pair, tmp_path):
    other = certificate(tmp_path, "another", issuer=authority())
    sealed, empty = tmp_path / "sealed.key", tmp_path / "empty.pem"
    openssl("pkey", "-in", pair.key, "-aes256", "-passout", "pass:secret", "-out", sealed)
    empty.write_text("nothing\n")
    cases = {
        "is not that of the certificate": TlsFiles(certificate=pair.certificate, key=other.key),
        "is encrypted": TlsFiles(certificate=pair.certificate, key=sealed),
        "has no certificate in PEM": TlsFiles(certificate=empty, key=pair.key),
        "has no private key in PEM": TlsFiles(certificate=pair.certificate, key=empty),
        "has no certificate of an authority": files_of(pair, empty),
        "cannot be read: No such file": TlsFiles(certificate=tmp_path / "none.pem", key=pair.key),
        "cannot be read: Is a directory": TlsFiles(certificate=pair.certificate, key=tmp_path),
    }
    for said, files in cases.items():
        with pytest.raises(SpecError, match=said):
            files.load()
    with pytest.raises(SpecError, match="needs --tls-key"):
        tls_of(pair.certificate, None, None)
    with pytest.raises(SpecError, match="--tls-client-ca needs --tls-cert"):
        tls_of(None, None, pair.certificate)


def test_expired_early_and_readable_are_warnings(pair, tmp_path):
    old = files_of(certificate(tmp_path, "old", issuer=authority(), ends="20210101000000Z")).load()
    early = files_of(certificate(tmp_path, "early", issuer=authority(), begins="20390101000000Z")).load()
    assert "expired on 2021-01-01" in old.problem()
    assert "begins to hold on 2039-01-01" in early.problem()
    good = files_of(pair).load()
    assert good.warnings() == []
    assert "expires on 2040-01-01" in good.warnings(good.ends - 86_400)[0]
    key = tmp_path / "shared.key"
    shutil.copy(pair.key, key)
    key.chmod(0o644)
    assert (
        "every user of this machine can read the key"
        in TlsFiles(certificate=pair.certificate, key=key).load().warnings()[0]
    )
