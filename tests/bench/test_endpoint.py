"""The endpoint as a child process: readiness, start-up errors and termination."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tierwise.bench.endpoint import deployments, launched, ledger_environment, serve_command
from tierwise.spec.errors import SpecError, TierwiseError

CHILD = """
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(200 if Handler.asked > 2 else 503)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print("pid", os.getpid(), file=sys.stderr, flush=True)
print(f"serving on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


def child(source):
    return [sys.executable, "-c", source]


def pid_in(log):
    return int(log.read_text().split("pid ")[1].split()[0])


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_is_ready_when_it_reports_so_and_is_gone_afterwards(tmp_path):
    async def main():
        async with launched(child(CHILD), tmp_path / "log") as url:
            assert url.startswith("http://127.0.0.1:")
            assert is_alive(pid_in(tmp_path / "log"))

    asyncio.run(main())
    assert not is_alive(pid_in(tmp_path / "log"))


def test_the_ledgers_address_is_passed_in_the_environment(tmp_path):
    environment = ledger_environment("postgresql://me:secret@db/books")
    assert environment == {"TIERWISE_LEDGER": "postgresql://me:secret@db/books"}
    assert ledger_environment(tmp_path / "ledger.db") == {"TIERWISE_LEDGER": str(tmp_path / "ledger.db")}
    assert "--ledger" not in serve_command(tmp_path / "tierwise.yaml")
    source = CHILD.replace('print("pid"', 'print("env", os.environ["TIERWISE_LEDGER"], file=sys.stderr)\nprint("pid"')

    async def main():
        async with launched(child(source), tmp_path / "log", environment):
            assert "env postgresql://me:secret@db/books" in (tmp_path / "log").read_text()

    asyncio.run(main())


@pytest.mark.parametrize(("code", "kind"), [(2, SpecError), (1, TierwiseError)])
def test_a_child_that_does_not_start_gives_the_reason(tmp_path, code, kind):
    source = f"import sys; print('no such checkpoint', file=sys.stderr); sys.exit({code})"

    async def main():
        async with launched(child(source), tmp_path / "log"):
            raise AssertionError

    with pytest.raises(kind, match="no such checkpoint") as caught:
        asyncio.run(main())
    assert isinstance(caught.value, SpecError) == (code == 2)


@pytest.mark.parametrize("answer", ['{"data": 1}', "not found", '{"data": [{"nom": "small"}]}'])
def test_unreported_deployments_are_none_and_not_an_empty_list(tmp_path, answer):
    source = CHILD.replace("self.end_headers()", f"self.end_headers(); self.wfile.write({answer.encode()!r})")

    async def main():
        async with launched(child(source), tmp_path / "log") as url:
            return await deployments(url)

    assert asyncio.run(main()) is None
    assert asyncio.run(deployments("http://127.0.0.1:9")) is None


def test_an_error_in_the_block_ends_the_child_too(tmp_path):
    async def main():
        async with launched(child(CHILD), tmp_path / "log"):
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(main())
    assert not is_alive(pid_in(tmp_path / "log"))


def test_a_child_does_not_survive_a_parent_that_is_killed(tmp_path):
    log = tmp_path / "log"
    program = (
        "import asyncio, pathlib\nfrom tierwise.bench.endpoint import launched\n"
        f"async def main():\n    async with launched({child(CHILD)!r}, pathlib.Path({str(log)!r})):\n"
        "        print('up', flush=True)\n        await asyncio.sleep(60)\nasyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_alive(pid_in(Path(log))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid_in(log))


def test_a_file_beside_the_workload_that_is_named_like_a_module_is_not_run(tmp_path):
    for name in ("timeit", "json", "tierwise"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('it was imported')")
    python = serve_command(tmp_path / "tierwise.yaml")[:4]
    done = subprocess.run([*python, "serve", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
