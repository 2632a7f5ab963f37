"""`tierwise serve` with a certificate that holds, and with one that does not: refused, or labelled."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import aclosing, suppress
from pathlib import Path

import msgspec
from typer.testing import CliRunner

from certificates import certificate_for
from endpoints import serving, tier_of, until
from test_serve import process_of, run
from tierwise import plan as planning
from tierwise.catalog import pull
from tierwise.cli import app
from tierwise.service import launched
from tierwise.testing import ScriptedEngine


def config(url: str, votes: int = 3) -> str:
    return f"""
deployments: {{far: {{engine: http, url: "{url}/v1", model: tier}}}}
tiers:
  fast: {{deployment: far, policy: single}}
  max: {{deployment: far, policy: {{majority: {{n: {votes}}}}}}}
routes: {{auto: {{cascade: [fast, max], signals: [{{length: 99}}], certificate: auto.json}}}}
prices: {{far: {{completion: 2.0}}}}
"""


def certified(folder: Path, url: str) -> None:
    """A certificate for the config file with three votes."""
    (folder / "tierwise.yaml").write_text(config(url))
    plan = planning.load(folder / "tierwise.yaml")
    certificate_for(plan, {}).write(folder / "auto.json")


def test_a_certificate_that_holds_is_named_in_every_answer(tmp_path):
    with serving(tier_of(engine=ScriptedEngine("42"))) as upstream:
        certified(tmp_path, upstream.url)
        with process_of(tmp_path / "tierwise.yaml", tmp_path) as process:
            until(lambda: process.request("GET", "/ready").status == 200, seconds=10)
            answer = process.chat("auto")
            assert answer.headers["x-tierwise-tier"] == "fast"
            assert len(answer.headers["x-tierwise-certificate"]) == 12
            assert process.metric('tierwise_route_certified{route="auto"}') == 1


def test_a_route_whose_certificate_does_not_hold_is_not_served(tmp_path):
    certified(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "tierwise.yaml").write_text(config("http://127.0.0.1:1", votes=5))
    done = run(tmp_path / "tierwise.yaml", "--port", "0", "--ledger", tmp_path / "ledger.db")
    assert done.returncode == 2
    assert "tierwise.yaml:6: routes.auto.certificate: " in done.stderr
    assert "does not hold: tier 'max' has another policy, sampling or budget" in done.stderr
    assert "--uncertified" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_with_uncertified_its_safe_tier_answers_and_says_so(tmp_path):
    with serving(tier_of(engine=ScriptedEngine("42"))) as upstream:
        certified(tmp_path, upstream.url)
        with process_of(config(upstream.url, votes=5), tmp_path, "--uncertified") as process:
            until(lambda: process.request("GET", "/ready").status == 200, seconds=10)
            answer = process.chat("auto")
            assert answer.headers["x-tierwise-tier"] == "max"
            label = answer.headers["x-tierwise-certificate"]
            assert label == "void; tier 'max' has another policy, sampling or budget"
            assert process.metric('tierwise_route_certified{route="auto"}') == 0
            assert "route auto: its certificate is void, so tier max answers" in process.log()


def test_a_missing_certificate_is_refused_with_uncertified_too(tmp_path):
    (tmp_path / "tierwise.yaml").write_text(config("http://127.0.0.1:1"))
    done = run(tmp_path / "tierwise.yaml", "--port", "0", "--ledger", tmp_path / "ledger.db", "--uncertified")
    assert done.returncode == 2
    assert "there is no certificate" in done.stderr


class Vendor(ScriptedEngine):
    """Names the version that it has at the moment."""

    fingerprint = "fp_1"

    async def stream(self, call):
        async with aclosing(super().stream(call)) as chunks:
            async for chunk in chunks:
                yield msgspec.structs.replace(chunk, response={"system_fingerprint": self.fingerprint})


def test_a_server_that_becomes_another_while_it_is_used_voids_the_certificate(tmp_path):
    vendor = Vendor("42")
    with serving(tier_of(engine=vendor)) as upstream:
        certified(tmp_path, upstream.url)
        with process_of(tmp_path / "tierwise.yaml", tmp_path) as process:
            until(lambda: process.request("GET", "/ready").status == 200, seconds=10)
            for _ in range(2):
                assert process.chat("auto").headers["x-tierwise-tier"] == "fast"
            vendor.fingerprint = "fp_2"
            process.chat("auto")  # it runs when the change is seen
            answer = process.chat("auto")
            assert answer.headers["x-tierwise-tier"] == "max"
            assert answer.headers["x-tierwise-certificate"] == (
                "void; deployment 'far' answers with system_fingerprint 'fp_2', and answered with 'fp_1' before"
            )
            assert process.metric('tierwise_route_certified{route="auto"}') == 0
            said = CliRunner().invoke(app, ["status", "--url", process.url]).output
            assert "void, so max answers: deployment 'far' answers with system_fingerprint 'fp_2'" in said


REAL = """
checkpoints: {{small: {{source: "file:{model}"}}}}
deployments: {{small: {{engine: llama.cpp, checkpoint: small, context: 512, slots: 1, threads: 1}}}}
tiers:
  fast: {{deployment: small, policy: single}}
  max: {{deployment: small, policy: {{majority: {{n: 2}}}}}}
routes: {{auto: {{cascade: [fast, max], signals: [{{length: 99}}], certificate: auto.json}}}}
"""


def test_an_engine_that_is_killed_is_compared_again_and_one_with_another_checkpoint_is_not_certified(smollm2, tmp_path):
    model = tmp_path / "small.gguf"
    shutil.copy(smollm2, model)
    path = tmp_path / "tierwise.yaml"
    path.write_text(REAL.format(model=model))
    asyncio.run(pull(planning.load(path).checkpoint("small")))
    certify_as_run(path)
    with process_of(path, tmp_path) as process:
        until(lambda: process.request("GET", "/ready").status == 200, seconds=60)

        def restarted(times: int) -> bool:
            (one,) = process.request("GET", "/v1/deployments").json["data"]
            return one["restarts"] == times and process.request("GET", "/ready").status == 200

        certificate = process.chat("auto", max_tokens=4).headers["x-tierwise-certificate"]
        assert len(certificate) == 12
        kill_worker(process)
        until(lambda: restarted(1), seconds=60)
        assert process.chat("auto", max_tokens=4).headers["x-tierwise-certificate"] == certificate, "nothing changed"
        with model.open("ab") as file:
            file.write(b"\0" * 64)
        kill_worker(process)
        until(lambda: restarted(2), seconds=60)
        answer = process.chat("auto", max_tokens=4)
        assert answer.headers["x-tierwise-tier"] == "max"
        assert (
            "deployment 'small' was restarted with a checkpoint that changed"
            in answer.headers["x-tierwise-certificate"]
        )


def certify_as_run(path: Path) -> None:
    """Write a certificate for a file as its engines run."""

    async def deployed():
        async with launched(planning.load(path), uncertified=True) as service:
            await service.start()
            return {one.name: one for one in service.deployed()}

    certificate_for(planning.load(path), {}).write(path.parent / "auto.json")
    certificate_for(planning.load(path), asyncio.run(deployed())).write(path.parent / "auto.json")


def kill_worker(process) -> None:
    """`kill -9` of the process that serves the model: the child of its guard."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    guards = [one for one, parent in parents.items() if parent == process.process.pid]
    (worker,) = [one for one, parent in parents.items() if parent in guards]
    os.kill(worker, signal.SIGKILL)
