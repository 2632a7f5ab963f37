"""Measures every system on the scripted backend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from peers import calls
from peers.calls import BackendCall, Figures
from peers.client import Control
from peers.environments import HERE
from peers.systems import Way, ways
from processes import running

SECONDS = 0.15
SLOW = 1.0
"""Seconds of a call whose client hangs up."""
LEAVES = (0.25, 1.25)
"""Seconds after which clients hang up: in the first calls, and in the second ones of a policy that has some."""
WATCHED = 0.35
"""Seconds for which the backend is watched after a hang-up."""

PROMPT = [
    {
        "role": "system",
        "content": "You are an assistant who answers with one number. " + "Be brief and be exact. " * 40,
    },
    {"role": "user", "content": "What is two and two? End with: The answer is N."},
]


def read(raw: Sequence[dict[str, Any]]) -> list[BackendCall]:
    return [msgspec.convert(one, BackendCall) for one in raw]


class Bench:
    """One backend, one way at a time."""

    def __init__(self, control: Control, rounds: int) -> None:
        self._control, self._rounds = control, rounds

    async def measure(self, way: Way) -> Figures:
        found = Figures(system=way.system, policy=way.policy, way=way.name)
        try:
            await self._plain(way, found)
            if way.name != "BestOfN, LLMJudge (library)":
                await self._streams(way, found)
            await self._fields(way, found)
            await self._hang_ups(way, found)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            found.failure = f"{type(error).__name__}: {error}"
        return found

    async def _plain(self, way: Way, found: Figures) -> None:
        for number in range(-2, self._rounds):
            await self._control.reset(seconds=SECONDS)
            heard = await way.asks.ask({"messages": PROMPT, **way.body})
            if heard.failure:
                found.failure = heard.failure
                return
            if number < 0:
                continue  # opens connections
            made = read(await self._control.settled(idle=0.05))
            found.seconds.append(heard.seconds)
            found.calls.append(len(made))
            found.peaks.append(calls.peak(made))
            found.prompts.append(sum(call.prompt for call in made) / calls.prompt_tokens(PROMPT))
            found.errors.append(error := calls.usage_error(heard.usage, made))
            found.beyond.append(calls.beyond_flight(error, made))
            found.true.append(sum(calls.true_tokens(made)))

    async def _streams(self, way: Way, found: Figures) -> None:
        for _ in range(max(3, self._rounds // 3)):
            await self._control.reset(seconds=SECONDS)
            body = {"messages": PROMPT, **way.body, "stream": True, "stream_options": {"include_usage": True}}
            heard = await way.asks.ask(body)
            made = read(await self._control.settled(idle=0.05))
            if heard.failure or heard.first_byte is None:
                return
            found.first_bytes.append(heard.first_byte)
            found.first_words.append(heard.seconds if heard.first_text is None else heard.first_text)
            found.streams.append(heard.seconds)
            found.stream_errors.append(error := calls.usage_error(heard.usage, made))
            found.beyond.append(calls.beyond_flight(error, made))

    async def _fields(self, way: Way, found: Figures) -> None:
        await self._control.reset(seconds=SECONDS)
        heard = await way.asks.ask({"messages": PROMPT, **way.body, **calls.FIELDS})
        made = read(await self._control.settled(idle=0.05))
        found.kept = calls.kept_fields(made, way.policy)
        found.field_failure = heard.failure

    async def _hang_ups(self, way: Way, found: Figures) -> None:
        kinds: tuple[dict[str, Any], ...] = ({}, {"stream": True})
        is_serial = way.policy != "majority_of_5"
        for kind in kinds[:1] if way.name == "BestOfN, LLMJudge (library)" else kinds:
            for after in LEAVES if is_serial else LEAVES[:1]:
                await self._control.settled(idle=0.2)
                await self._control.reset(seconds=SLOW)
                left = await way.asks.leave({"messages": PROMPT, **way.body, **kind}, after)
                await asyncio.sleep(WATCHED)
                one = calls.after_hang_up(read(await self._control.calls()), left)
                if one.begun:
                    found.hang_ups.append(one)
                await self._control.settled(idle=SLOW + 0.3)


async def measure(folder: Path, home: Path, wanted: Sequence[str], rounds: int) -> list[Figures]:
    """The figures of all systems, one way after the other."""
    with running(HERE / "backend.py", log=folder / "backend.log") as (_, url):
        async with aiohttp.ClientSession() as session, ways(url, folder, home, wanted) as found:
            bench = Bench(Control(url, session), rounds)
            figures = []
            for way in found:
                print(f"{way.system}: {way.policy} ({way.name})", flush=True)
                figures.append(await bench.measure(way))
            return figures
