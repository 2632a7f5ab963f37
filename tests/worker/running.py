"""Runs passes through the loop in this process, on a tiny random model: what the tests of batching look at."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tierwise.spec.routing import Routing
from tierwise.worker.batching import Loop
from tierwise.worker.job import Job, Update
from tierwise.worker.routers import Routers
from tierwise.worker.sampling import SamplingParameters
from tierwise.worker.text import StreamDecoder

GREEDY = SamplingParameters(temperature=0)


@dataclass
class Heard:
    """What was said of one pass."""

    job: Job
    updates: list[Update] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def hear(self, update: Update) -> None:
        self.updates.append(update)
        if update.finish or update.fault:
            self.is_over.set()

    def wait(self) -> Heard:
        assert self.is_over.wait(60), "it never came to an end"
        return self

    @property
    def tokens(self) -> list[int]:
        return [update.sampled.token for update in self.wait().updates if update.sampled is not None]

    @property
    def logprobs(self) -> list[float]:
        return [update.sampled.logprob or 0.0 for update in self.wait().updates if update.sampled is not None]

    @property
    def last(self) -> Update:
        return self.wait().updates[-1]

    @property
    def routing(self) -> Routing | None:
        return self.last.routing


class Passes:
    """Asks passes of a loop that runs."""

    def __init__(self, loop: Loop, tokenizer: Any) -> None:
        self.loop = loop
        self._tokenizer = tokenizer

    def ask(self, prompt: Sequence[int], tokens: int = 12, sampling: SamplingParameters = GREEDY, **more: Any) -> Heard:
        decoder = more.pop("decoder", None) or StreamDecoder(self._tokenizer)
        job = Job(prompt=prompt, sampling=sampling, decoder=decoder, max_tokens=tokens, on_update=print, **more)
        heard = Heard(job)
        job.on_update = heard.hear
        self.loop.submit(job)
        return heard


@contextmanager
def running(model: Any, tokenizer: Any, **settings: Any) -> Iterator[Passes]:
    def deliver(updates: list[tuple[Job, Update]]) -> None:
        for job, update in updates:
            job.on_update(update)

    loop = Loop(
        model,
        routers=Routers(model),
        deliver=deliver,
        **{"ends": frozenset(), "slots": 8, "queue": 100, **settings},
    )
    loop.start()
    try:
        yield Passes(loop, tokenizer)
    finally:
        loop.stop()
