"""`tierwise serve --workers` with TLS by files: real clients, a client that leaves, and who has no certificate."""

from __future__ import annotations

import signal
import socket
import ssl
from contextlib import ExitStack

import httpx2
import openai
import pytest

from endpoints import HELLO, serving, tier_of, until
from made_certificates import authority, certificate
from test_serve import WORDS, Process, config, process_of
from tierwise.testing import Reply, ScriptedEngine

TWO = ("--workers", "2")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"), "server", issuer=authority())


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority().certificate))


def ask(process: Process, method: str, path: str, *, trust: ssl.SSLContext, body: object = None) -> httpx2.Response:
    """One request on a connection of its own."""
    with httpx2.Client(verify=trust) as client:
        return client.request(method, f"https://127.0.0.1:{process.port}{path}", json=body)


def seen(process: Process, trust: ssl.SSLContext) -> set[int]:
    """Both workers, each of which has answered over TLS."""
    found: set[int] = set()
    until(
        lambda: found.add(ask(process, "GET", "/ready", trust=trust).json()["workers"]["this"]) or found == {0, 1},
        seconds=20,
    )
    return found


def test_every_worker_answers_over_tls_and_counts_are_added_up(pair, tmp_path):
    slow = Reply(text=WORDS, step=0.2)  # a stream that can still be watched on a busy machine
    engine = ScriptedEngine(*[WORDS] * 8, slow, step=0.02)
    with (
        serving(tier_of(engine=engine)) as far,
        process_of(config(far), tmp_path, *TWO, *pair.options) as process,
        ExitStack() as silent,
    ):
        assert seen(process, trusting()) == {0, 1}
        url = f"https://localhost:{process.port}/v1"
        for number in range(8):  # each client has a connection of its own
            with (
                httpx2.Client(verify=trusting()) as transport,
                openai.OpenAI(base_url=url, api_key="any", max_retries=0, http_client=transport) as client,
            ):
                if number % 2:
                    stream = client.chat.completions.create(model="fast", messages=HELLO, stream=True)
                    assert "".join(one.choices[0].delta.content or "" for one in stream if one.choices) == WORDS
                else:
                    whole = client.chat.completions.create(model="fast", messages=HELLO)
                    assert whole.choices[0].message.content == WORDS
        page = ask(process, "GET", "/metrics", trust=trusting()).text
        assert 'tierwise_actions_total{ending="answered",tier="fast"} 8.0' in page
        assert "tierwise_tls_certificate_expiry_timestamp_seconds 2.2" in page, "the date, and not the sum of two"
        for _ in range(4):
            with pytest.raises((ConnectionError, OSError)):
                process.request("GET", "/health")  # plain HTTP
            with pytest.raises(httpx2.ConnectError):
                ask(process, "GET", "/health", trust=ssl.create_default_context())  # does not trust the authority
        for _ in range(8):  # they say nothing
            silent.enter_context(socket.create_connection(("127.0.0.1", process.port)))
        body = {"model": "fast", "messages": HELLO, "stream": True}
        with httpx2.Client(verify=trusting()) as client:
            with client.stream("POST", f"{url}/chat/completions", json=body) as answer:
                next(answer.iter_raw())
                until(lambda: engine.running == 1)
            until(lambda: engine.running == 0)
        with (
            httpx2.Client(verify=trusting()) as client,
            client.stream("POST", f"{url}/chat/completions", json=body) as answer,
        ):
            lines = answer.iter_lines()
            next(lines)
            process.process.send_signal(signal.SIGTERM)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.process.wait(20) == 0, "who has not finished a handshake holds nothing up"
    endings = [ending for ending, _ in process.actions().values()]
    assert sorted(endings) == ["answered"] * 9 + ["disconnected"]
    assert "Traceback" not in process.log()


def test_every_worker_lets_in_only_clients_with_a_certificate_of_the_authority(pair, tmp_path):
    ours = certificate(tmp_path, "client", issuer=authority())
    others = certificate(tmp_path, "other", issuer=certificate(tmp_path, "elsewhere"))
    options = [*pair.options, "--tls-client-ca", str(authority().certificate)]
    with (
        serving(tier_of(engine=ScriptedEngine(WORDS, step=0.001))) as far,
        process_of(config(far), tmp_path, *TWO, *options) as process,
    ):
        known, strange = trusting(), trusting()
        known.load_cert_chain(ours.certificate, ours.key)
        strange.load_cert_chain(others.certificate, others.key)
        assert seen(process, known) == {0, 1}
        for _ in range(8):  # whichever worker is asked
            body = {"model": "fast", "messages": HELLO}
            assert ask(process, "POST", "/v1/chat/completions", trust=known, body=body).status_code == 200
            for trust in (strange, trusting()):
                with pytest.raises(httpx2.TransportError):
                    ask(process, "GET", "/health", trust=trust)
    assert "Traceback" not in process.log()
