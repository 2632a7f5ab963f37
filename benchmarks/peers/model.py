"""Measures every system on a real model on llama.cpp: tokens that the engine computed, and answers that are correct."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from overhead import wait_for_engine
from peers import calls, systems
from peers.client import Control, Endpoint, Heard
from peers.environments import HERE
from peers.graded import Graded
from peers.scripted import read
from peers.systems import OURS, Way
from processes import running, tierwise
from tierwise.spec.call import Completion
from tierwise.workloads.checks import CheckChoice

KINDS = ("choice", "format", "number", "json")
"""The kinds of tasks of examples/quickstart.jsonl that are used; Python is left out."""
TEMPERATURE = 0.7
_SAMPLE = re.compile(r"^llamacpp:(prompt_tokens_total|tokens_predicted_total|requests_processing) (\S+)$", re.MULTILINE)


def tasks(file: Path, limit: int | None) -> list[dict[str, Any]]:
    """The tasks, of all kinds in turn."""
    known = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [task for task in known if task["tags"][0] in KINDS][:limit]


def plan(checkpoint: Mapping[str, Any], slots: int) -> dict[str, Any]:
    """Our config file: one deployment on llama.cpp, with a tier for each policy."""
    deployment = {"engine": "llama.cpp", "checkpoint": "model", "context": 2048, "slots": slots, "threads": 2}
    return {
        "checkpoints": {"model": dict(checkpoint)},
        "deployments": {"small": deployment},
        "tiers": {
            "single": {"deployment": "small", "policy": "single"},
            **{
                name: {"deployment": "small", "policy": policy}
                for name, policy in systems.policies(with_judge=False).items()
            },
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """llama.cpp's own counts since its start."""

    processed: int
    """Prompt tokens without those from the cache."""
    predicted: int
    running: int

    @classmethod
    def read(cls, text: str) -> Counters:
        """From `/metrics`.

        Raises:
            ValueError: a metric is missing.
        """
        found = {name: int(float(value)) for name, value in _SAMPLE.findall(text)}
        if len(found) < 3:
            raise ValueError(f"llama.cpp's metrics lack some of prompt, predicted and running: {sorted(found)}")
        return cls(
            processed=found["prompt_tokens_total"],
            predicted=found["tokens_predicted_total"],
            running=found["requests_processing"],
        )


class Engine:
    """llama.cpp behind all systems."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._metrics, self._session = url.removesuffix("/v1") + "/metrics", session

    async def counters(self) -> Counters:
        async with self._session.get(self._metrics) as response:
            return Counters.read(await response.text())

    async def idle(self) -> Counters:
        """The counts once nothing runs."""
        for _ in range(600):
            now = await self.counters()
            if not now.running:
                return now
            await asyncio.sleep(0.05)
        raise TimeoutError("llama.cpp is not idle after 30 s")


@contextlib.asynccontextmanager
async def ways(engine: str, own: str, folder: Path, home: Path, wanted: Sequence[str]) -> AsyncIterator[list[Way]]:
    """Every way of asking. Ours runs the engine itself; the others have a relay in front of it that counts calls."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(systems.client_session())
        found: list[Way] = []
        if OURS in wanted:
            endpoint = Endpoint(url=own, session=session)
            names = ("single", *systems.policies(with_judge=False))
            found += [Way(system=OURS, policy=name, name=name, asks=endpoint, body={"model": name}) for name in names]
        if "optillm" in wanted:
            url = stack.enter_context(systems.optillm(engine, folder, home))
            found += systems.optillm_ways(Endpoint(url=url, session=session))
        if "its-hub" in wanted:
            url = stack.enter_context(systems.its_hub(engine, folder, home, votes_by=systems.WHOLE_TEXT))
            library = await stack.enter_async_context(systems.its_library(engine, home))
            found += systems.its_hub_ways(Endpoint(url=url, session=session), library)
        if "firstpass" in wanted:
            url = stack.enter_context(systems.firstpass(engine, folder, home, gate="agreement"))
            proxy = Endpoint(url=url, session=session)
            name = "gate consistency, k = 4"
            found.append(Way(system="firstpass", policy="cascade", name=name, asks=proxy, body={"model": "model"}))
        yield found


class Exam:
    """Asks one way one task at a time, alone on the engine."""

    def __init__(self, control: Control, engine: Engine) -> None:
        self._control, self._engine = control, engine

    async def sit(self, way: Way, task: Mapping[str, Any], repeat: int, result: Graded) -> None:
        await self._control.reset()
        before = await self._engine.idle()
        heard = await _asked(way, body_of(way, task, repeat))
        made = read(await self._control.settled(idle=0.05))
        after = await self._engine.idle()
        usage = heard.usage or {}
        if heard.failure:
            result.failures.append(f"{task['id']}: {heard.failure}")
        result.correct[-1].append(not heard.failure and await is_correct(task, heard.text))
        result.processed[-1].append(after.processed - before.processed)
        result.predicted[-1].append(after.predicted - before.predicted)
        sent = usage.get("prompt_tokens", 0) if way.system == OURS else calls.true_tokens(made)[0]
        result.sent[-1].append(sent)
        result.told[-1].append(usage.get("completion_tokens") or 0)
        result.seconds[-1].append(heard.seconds)


async def _asked(way: Way, body: Mapping[str, Any]) -> Heard:
    try:
        return await way.asks.ask(body)
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
        return Heard(failure=f"{type(error).__name__}: {error}")


def body_of(way: Way, task: Mapping[str, Any], repeat: int) -> dict[str, Any]:
    """The request. Its system message begins with a mark of the way and the repeat, so that no way finds a prompt in
    the engine's cache that another way has put there.
    """
    mark = f"[{way.system} {way.name} {repeat}]"
    system = {"role": "system", "content": f"{mark} You are a helpful assistant. Answer in the form of the examples."}
    asked = {"temperature": TEMPERATURE, "max_tokens": task["max_tokens"], "seed": repeat}
    return {"messages": [system, *task["messages"]], **asked, **way.body}


async def is_correct(task: Mapping[str, Any], text: str) -> bool:
    check = msgspec.convert(task["check"], CheckChoice)
    return bool((await check.member.verify(Completion(text=text))).ok)


async def measure(
    checkpoint: Mapping[str, Any],
    asked: Sequence[Mapping[str, Any]],
    folder: Path,
    home: Path,
    wanted: Sequence[str],
    *,
    repeats: int,
    slots: int,
    known: list[Graded],
    keep: Callable[[list[Graded]], None],
    until: float,
) -> list[Graded]:
    """The answers of all ways to all tasks; the ways take turns at each task.

    Args:
        checkpoint: the model, as a config file describes it.
        asked: the tasks, in order.
        folder: for logs and config files.
        home: for environments.
        wanted: names of systems.
        repeats: requests per way and task.
        slots: of llama.cpp.
        known: results of an earlier run, which is continued.
        keep: called with all results after each task.
        until: no task begins after this monotonic time.

    Raises:
        ValueError: the earlier run had other ways.
    """
    with tierwise(plan(checkpoint, slots), folder) as (process, own):
        url = await asyncio.to_thread(wait_for_engine, process, own)
        await asyncio.to_thread(_warm_up, own)
        with running(HERE / "backend.py", "--forward", url, log=folder / "relay.log") as (_, relay):
            async with aiohttp.ClientSession() as session, ways(relay, own, folder, home, wanted) as found:
                exam = Exam(Control(relay, session), Engine(url, session))
                results = continued(found, known)
                for number, task in enumerate(asked):
                    if number < len(results[0].correct):
                        continue
                    if time.monotonic() > until:
                        break
                    for result in results:
                        result.begin_task()
                    for repeat in range(repeats):
                        turn = (number * repeats + repeat) % len(found)
                        for place in (*range(turn, len(found)), *range(turn)):
                            await exam.sit(found[place], task, repeat, results[place])
                    keep(results)
                    print(f"task {number + 1} of {len(asked)}", flush=True)
                return results


def continued(found: Sequence[Way], known: list[Graded]) -> list[Graded]:
    """The results so far, of the same ways in the same order.

    Raises:
        ValueError: they are of other ways.
    """
    fresh = [Graded(system=way.system, policy=way.policy, way=way.name) for way in found]
    if not known:
        return fresh
    names, before = ([(one.system, one.way) for one in some] for some in (fresh, known))
    if names != before:
        raise ValueError(f"the results so far are of {before}, not of {names}: name another file")
    return known


def _warm_up(url: str) -> None:
    body = {"model": "single", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(
        urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), headers)
    ).close()
