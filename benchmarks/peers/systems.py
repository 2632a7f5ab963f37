"""The systems: how each is started in front of a backend, and how each is asked for a policy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from peers.client import Asks, Endpoint, Library
from peers.environments import HERE, installed
from processes import tierwise

POLICIES = ("majority_of_5", "best_of_3", "refine", "cascade")
OURS = "tierwise"
JSON = {"response_format": {"type": "json_object"}}
"""The cheap model's answer is prose, so a cascade goes on."""
VERIFIED = {"tierwise": {"verifier": {"json_schema": {"schema": {"type": "object"}}}}}
"""Says that an answer must be JSON, as firstpass's gate json-valid does."""

LAST_NUMBER, WHOLE_TEXT = r"(-?\d+)(?!.*\d)", r"(?s)\s*(.*\S)"

FIRSTPASS = """
[[provider]]
id = "local"
dialect = "openai"
base_url = "{base}"
[[route]]
match = {{}}
mode = "enforce"
ladder = ["local/cheap", "local/strong"]
gates = ["{gate}"]
[escalation]
enforce_structured = true
[[gate]]
id = "agreement"
consistency = {{ model = "local/cheap", k = 4, threshold = 0.6 }}
[[price]]
model = "local/cheap"
input_per_mtok = 0.1
output_per_mtok = 0.2
[[price]]
model = "local/strong"
input_per_mtok = 1.0
output_per_mtok = 2.0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A policy in one system."""

    system: str
    policy: str
    name: str
    """What the system calls it."""
    asks: Asks
    body: Mapping[str, Any] = field(default_factory=dict)
    """What a request for it has, beside the client's fields."""


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def program(*command: str | Path, log: Path, ready: str, **environment: str) -> Iterator[None]:
    """Run a server until the end of the block. `ready`: a URL that answers once it is up."""
    with log.open("ab") as written:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=written,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, **environment},
        )
    try:
        until = time.monotonic() + 120
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(url, timeout=2).close()
        return True
    return False


@contextlib.contextmanager
def optillm(backend: str, folder: Path, home: Path) -> Iterator[str]:
    port = free_port()
    server = (installed("optillm", home) / "optillm", "--base-url", backend, "--port", str(port), "--log", "error")
    url = f"http://127.0.0.1:{port}"
    with program(*server, log=folder / "optillm.log", ready=f"{url}/health", OPENAI_API_KEY="none"):
        yield f"{url}/v1"


@contextlib.contextmanager
def its_hub(backend: str, folder: Path, home: Path, *, votes_by: str = LAST_NUMBER) -> Iterator[str]:
    """`votes_by`: the pattern whose group is an answer's vote."""
    port = free_port()
    server = (installed("its-hub", home) / "its-iaas", "--port", str(port), "--log-level", "ERROR")
    url = f"http://127.0.0.1:{port}"
    with program(*server, log=folder / "its-hub.log", ready=f"{url}/v1/models"):
        settings = {
            "provider": "openai",
            "endpoint": backend,
            "api_key": "none",
            "model": "model",
            "alg": "self-consistency",
            "regex_patterns": [votes_by],
            "budget": 5,
        }
        data = json.dumps(settings).encode()
        wanted = urllib.request.Request(f"{url}/configure", data, {"Content-Type": "application/json"})
        urllib.request.urlopen(wanted).close()
        yield f"{url}/v1"


@contextlib.contextmanager
def firstpass(backend: str, folder: Path, home: Path, *, gate: str = "json-valid") -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    config = folder / "firstpass.toml"
    config.write_text(FIRSTPASS.format(base=backend.removesuffix("/v1"), gate=gate), encoding="utf-8")
    environment = {
        "FIRSTPASS_MODE": "enforce",
        "FIRSTPASS_CONFIG": str(config),
        "FIRSTPASS_BIND": address,
        "FIRSTPASS_DB": str(folder / "firstpass.db"),
        "RUST_LOG": "error",
    }
    server = installed("firstpass", home) / "firstpass-proxy"
    with program(server, log=folder / "firstpass.log", ready=f"http://{address}/healthz", **environment):
        yield f"http://{address}/v1"


@contextlib.asynccontextmanager
async def its_library(backend: str, home: Path) -> AsyncIterator[Library]:
    process = await asyncio.create_subprocess_exec(
        installed("its-hub", home) / "python",
        HERE / "its_library.py",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=1 << 24,
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield Library(process=process, fields={"endpoint": backend, "n": 3})
    finally:
        process.terminate()
        await process.wait()


def scripted_plan(backend: str) -> dict[str, Any]:
    """Our config file in front of the scripted backend."""
    return {
        "deployments": {
            name: {"engine": "http", "url": backend, "model": name, "slots": 16} for name in ("cheap", "strong")
        },
        "tiers": {
            "cheap": {"deployment": "cheap", "policy": "single"},
            "strong": {"deployment": "strong", "policy": "single"},
            **{name: {"deployment": "strong", "policy": policy} for name, policy in policies(with_judge=True).items()},
        },
        "routes": {"cascade": {"cascade": ["cheap", "strong"]}},
    }


def policies(*, with_judge: bool) -> dict[str, dict[str, Any]]:
    """Our policies, as tiers name them."""
    return {
        "majority_of_5": {"majority": {"n": 5}},
        "best_of_3": {"best_of_n": {"n": 3, **({"scorer": {"judge": {}}} if with_judge else {})}},
        "refine": {"refine": {}},
    }


@contextlib.asynccontextmanager
async def ways(backend: str, folder: Path, home: Path, wanted: Sequence[str]) -> AsyncIterator[list[Way]]:
    """Every way of asking, with all servers up.

    Args:
        backend: URL of the scripted backend, with /v1.
        folder: for logs and config files.
        home: for environments.
        wanted: names of systems.
    """
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(client_session())
        found: list[Way] = []
        if OURS in wanted:
            _, url = stack.enter_context(tierwise(scripted_plan(backend), folder))
            own = Endpoint(url=url, session=session)
            for policy in POLICIES:
                extra = {**JSON, **VERIFIED} if policy == "cascade" else {}
                found.append(Way(system=OURS, policy=policy, name=policy, asks=own, body={"model": policy, **extra}))
        if "optillm" in wanted:
            other = Endpoint(url=stack.enter_context(optillm(backend, folder, home)), session=session)
            found += optillm_ways(other)
        if "its-hub" in wanted:
            service = Endpoint(url=stack.enter_context(its_hub(backend, folder, home)), session=session)
            library = await stack.enter_async_context(its_library(backend, home))
            found += its_hub_ways(service, library)
        if "firstpass" in wanted:
            proxy = Endpoint(url=stack.enter_context(firstpass(backend, folder, home)), session=session)
            body = {"model": "model", **JSON}
            found.append(Way(system="firstpass", policy="cascade", name="gate json-valid", asks=proxy, body=body))
        yield found


def client_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=120),
        headers={"Authorization": "Bearer none"},
    )


def optillm_ways(endpoint: Endpoint) -> list[Way]:
    """optillm chooses by a prefix of the model's name."""
    named = [
        ("majority_of_5", "self_consistency", {}),
        ("majority_of_5", "majority_voting", {"k": 5}),
        ("best_of_3", "bon", {}),
        ("refine", "moa", {}),
    ]
    return [
        Way(system="optillm", policy=policy, name=name, asks=endpoint, body={"model": f"{name}-model", **extra})
        for policy, name, extra in named
    ]


def its_hub_ways(service: Endpoint, library: Library) -> list[Way]:
    return [
        Way(system="its-hub", policy="majority_of_5", name="its-iaas", asks=service, body={"model": "model"}),
        Way(system="its-hub", policy="best_of_3", name="BestOfN, LLMJudge (library)", asks=library),
    ]
