"""What the supervisor tells workers of a config file and its engines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ggufs import by_hand, string
from made_certificates import authority, certificate
from tierwise import plan as planning
from tierwise.gateway.settings import ServerSettings
from tierwise.gateway.tls import TlsFiles
from tierwise.service import assemble, build
from tierwise.workers.generations import Generations
from tierwise.workers.shared_occupancy import SharedRoom
from tierwise.workers.snapshot import Snapshot, unpacked

FILE = """
checkpoints: {c: {source: "file:model.gguf"}}
deployments:
  own: {engine: llama.cpp, checkpoint: c, slots: 2, binary: ./engine}
  far: {engine: http, url: "http://127.0.0.1:1/v1"}
tiers:
  fast: {deployment: own, policy: {majority: {n: 3}}, budget: {seconds: 5}}
  slow: {deployment: far, policy: {best_of_n: {n: 2, verifier: {regex: {pattern: "42"}}}}}
routes: {auto: {cascade: [fast, slow]}}
prices: {far: {completion: 2.0}}
"""


@pytest.fixture
def plan(tmp_path) -> planning.Plan:
    head = (string("general.architecture", "llama"), string("tokenizer.ggml.model", "gpt2"))
    by_hand(tmp_path / "model.gguf", *head, string("tokenizer.chat_template", "x"))
    (tmp_path / "engine").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "engine").chmod(0o755)
    (tmp_path / "tierwise.yaml").write_text(FILE)
    return planning.load(tmp_path / "tierwise.yaml")


def test_an_engine_that_was_never_started_is_not_told_to_be_stopped(plan):
    async def main() -> None:
        room = SharedRoom(2, 2)
        service = assemble(plan, build(plan), None)
        generations = Generations(plan, service, None, ServerSettings(), count=2, room=room)
        assert generations.changes(all_of_them=True) == {}, "a worker would take it for one that has failed"
        with pytest.raises(Exception, match="own"):
            await generations.start()
        (standing,) = generations.changes(all_of_them=False).values()
        assert standing.state == "failed"
        assert generations.changes(all_of_them=False) == {}
        await generations.close()
        room.close()

    asyncio.run(main())


def test_a_worker_gets_what_was_read_whatever_the_files_are_by_then(plan, tmp_path):
    pair = certificate(tmp_path, "server", issuer=authority())
    files = TlsFiles(certificate=pair.certificate, key=pair.key, client_ca=authority().certificate)
    tls = files.load()
    packed = Snapshot(number=3, plan=plan, certificates={}, runs={}, tls=tls).packed()
    for path in (pair.certificate, pair.key, Path(plan.path)):
        path.unlink()
    found = unpacked(packed)
    assert (found.number, found.plan, found.tls) == (3, plan, found.tls)
    assert found.tls is not None
    assert (found.tls.chain, found.tls.key, found.tls.ends) == (tls.chain, tls.key, tls.ends)
    assert found.tls.context.verify_mode == tls.context.verify_mode
    assert found.tls.context.cert_store_stats() == tls.context.cert_store_stats()
