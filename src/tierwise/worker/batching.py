"""The loop that runs the model, with continuous batching and chunked prefill. One thread owns the model; all others
communicate with it.

Each iteration prefills new passes by one chunk, and then decodes one token for every batch. A batch is a set of rows in
one cache. A pass whose cache cannot be shared, or that must not depend on others, is a batch of one.
"""

from __future__ import annotations

import heapq
import inspect
import logging
import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tierwise.spec.errors import Overloaded
from tierwise.worker import caches
from tierwise.worker.job import Counts, Job, Update
from tierwise.worker.prefixes import PrefixCache
from tierwise.worker.routers import Routers
from tierwise.worker.sampling import RandomSource, SampledToken, sample
from tierwise.worker.scoring import Scores, scores
from tierwise.worker.text import DecodedText, StreamDecoder

_LOGGER = logging.getLogger(__name__)

_CHUNK = 512
"""Prompt tokens per forward in prefill: enough to use a CPU fully, and few enough that running passes and aborts wait
for one short chunk only."""

_PREFIX_BYTES = 512 << 20


@dataclass(eq=False, slots=True, kw_only=True)
class _Row:
    """A running pass."""

    number: int
    job: Job
    random: RandomSource
    decoder: StreamDecoder
    cache: Any
    length: int = 0
    """Tokens whose keys and values are in the cache."""
    cached: int = 0
    output: list[int] = field(default_factory=list)
    """The answer's tokens so far."""
    scores: list[Scores] = field(default_factory=list)
    finish: str = ""

    @property
    def tokens(self) -> list[int]:
        """The tokens in its cache."""
        return [*self.job.prompt, *self.output][: self.length]


@dataclass(eq=False, slots=True)
class _RowBatch:
    """Rows that are decoded together, aligned at their last token."""

    active_experts: int | None
    rows: list[_Row]
    cache: Any

    @property
    def width(self) -> int:
        return max(row.length for row in self.rows)


class Loop:
    """Runs passes on a model.

    Args:
        model: a Transformers model in evaluation mode.
        ends: token ids that end an answer.
        slots: maximum number of concurrent passes.
        queue: maximum number of passes waiting for a slot.
        deterministic: run every row alone and without the prefix cache, so that its result does not depend on others.
        prefix_cache: whether to reuse the caches of earlier prompts and answers.
        routers: the model's routers; empty for a dense model.
        deliver: called in the loop's thread with the updates of each iteration.
    """

    def __init__(
        self,
        model: Any,
        *,
        ends: frozenset[int],
        slots: int,
        queue: int,
        routers: Routers,
        deliver: Callable[[list[tuple[Job, Update]]], None],
        deterministic: bool = False,
        prefix_cache: bool = True,
    ) -> None:
        self.counts = Counts()
        config = model.config
        self.joins = caches.may_join(config) and not deterministic and "position_ids" in _parameters(model)
        """Whether rows can share batches."""
        self.keeps_prefixes = prefix_cache and self.joins and caches.may_crop(config)
        self._model = model
        self._end_tokens = ends
        self._slots = slots
        self._queue = queue
        self._deliver = deliver
        self._routers = routers
        self._record = routers.record()
        self._accepted = _parameters(model)
        self._cache_parameter = caches.parameter(model)
        self._prefixes = PrefixCache(_PREFIX_BYTES if self.keeps_prefixes else 0)
        self._changed = threading.Condition()
        self._inbox: list[tuple[int, int, Job]] = []
        self._arrivals = 0
        self._is_stopped = False
        self._begun = 0
        self._prefilling: _Row | None = None
        self._batches: list[_RowBatch] = []
        self._updates: list[tuple[Job, Update]] = []
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the current iteration."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join()

    def submit(self, job: Job) -> None:
        """Add a pass to the queue.

        Raises:
            Overloaded: the queue is full.
        """
        with self._changed:
            waiting = sum(not waiter.is_aborted for _, _, waiter in self._inbox)
            if waiting + self.counts.running >= self._slots + self._queue:
                raise Overloaded(f"the queue is full: {waiting} passes wait for one of {self._slots} slots")
            self._arrivals += 1
            heapq.heappush(self._inbox, (-job.priority, self._arrivals, job))
            self._count_waiting()
            self._changed.notify()

    def abort(self, job: Job) -> None:
        """Abort a pass. It ends after the current step and gets no more updates."""
        with self._changed:
            job.is_aborted = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    self._iterate()
        except BaseException:  # a bug in the loop: exit, so that the process is restarted
            _LOGGER.exception("the loop failed")
            os._exit(70)

    def _wait(self) -> bool:
        with self._changed:
            while not (self._is_stopped or self._inbox or self._prefilling or self._batches):
                self._changed.wait()
            return not self._is_stopped

    def _iterate(self) -> None:
        self._drop_aborted()
        self._admit()
        for batch in list(self._batches):
            self._guarded(batch.rows, lambda batch=batch: self._step(batch))  # type: ignore[misc]
            self._remove_rows(batch, [row for row in batch.rows if row.finish])
        self._publish()

    def _guarded(self, rows: list[_Row], work: Callable[[], None]) -> None:
        """Run `work`; if the model fails, these rows end with the error and the others continue."""
        try:
            work()
        except Exception as error:  # a model's code may raise anything
            _LOGGER.exception("the model failed")
            status = 503 if isinstance(error, torch.OutOfMemoryError) else 500
            for row in rows:
                row.finish = "failed"
                self._report(row, Update(fault=f"{type(error).__name__}: {error}", status=status))

    # ── rows are added and removed ──────────────────────────────────────────

    def _drop_aborted(self) -> None:
        with self._changed:
            if any(job.is_aborted for _, _, job in self._inbox):
                self._inbox = [waiter for waiter in self._inbox if not waiter[2].is_aborted]
                heapq.heapify(self._inbox)
        if self._prefilling is not None and self._prefilling.job.is_aborted:
            self._prefilling = None
        for batch in list(self._batches):
            self._remove_rows(batch, [row for row in batch.rows if row.job.is_aborted])

    def _remove_rows(self, batch: _RowBatch, gone: list[_Row]) -> None:
        if not gone:
            return
        for row in gone:
            self._record.take(row.number)
            if row.finish in ("stop", "length") and self._shares(row.job):
                place = batch.rows.index(row)
                cut = caches.part(batch.cache, place, batch.width - row.length, batch.width)
                self._prefixes.keep(row.tokens, cut)
        stay = [place for place, row in enumerate(batch.rows) if row not in gone]
        if not stay:
            self._batches.remove(batch)
            return
        width = batch.width
        batch.rows = [batch.rows[place] for place in stay]
        caches.keep(batch.cache, stay, width - batch.width)

    def _admit(self) -> None:
        """Prefill waiting passes, up to the token limit of one iteration."""
        left = _CHUNK
        while left > 0:
            if self._prefilling is None:
                with self._changed:
                    if not self._inbox or sum(len(batch.rows) for batch in self._batches) >= self._slots:
                        return
                    job = heapq.heappop(self._inbox)[2]
                self._prefilling = self._start_row(job)
            row = self._prefilling
            before = row.length
            self._guarded([row], lambda row=row: self._prefill(row))  # type: ignore[misc]
            left -= row.length - before
            if row.finish:
                self._prefilling = None
            elif row.output:
                self._prefilling = None
                self._add_to_batch(row)

    def _start_row(self, job: Job) -> _Row:
        self._begun += 1
        cache = caches.empty(self._model.config)
        row = _Row(
            number=self._begun, job=job, random=RandomSource(job.sampling, job.prompt), decoder=job.decoder, cache=cache
        )
        row.random.forced = row.decoder.forced
        if self._shares(job):
            known = self._prefixes.longest(job.prompt)
            if known is not None:
                row.length = row.cached = known.length
                row.cache = caches.part(known.cache, 0, 0, known.length)
                self.counts.prompt_tokens += known.length
                self.counts.cached_tokens += known.length
                if known.logits is not None:
                    self._first(row, known.logits)
        return row

    def _shares(self, job: Job) -> bool:
        """Whether a job uses the prefix cache: not if routing or log-probabilities of all prompt tokens are wanted."""
        is_whole = job.is_recorded or job.prompt_logprobs is not None
        return self.keeps_prefixes and job.active_experts is None and not is_whole

    def _prefill(self, row: _Row) -> None:
        """Compute one chunk of the prompt; after the last chunk, sample the first token."""
        if row.output:
            return
        prompt = row.job.prompt
        end = min(len(prompt), row.length + _CHUNK)
        tokens = torch.tensor([prompt[row.length : end]], device=self._model.device)
        positions = torch.arange(row.length, end, device=tokens.device)[None]
        wanted = row.job.prompt_logprobs
        every = self._forward([row], row.cache, tokens, positions, None, keep=1 if wanted is None else 0)
        logits = every[:, -1]
        if wanted is not None:
            after = prompt[row.length + 1 : end + 1]
            row.scores += scores(every[0, : len(after)], after, wanted)
        self.counts.prompt_tokens += end - row.length
        row.length = end
        if end < len(prompt):
            self._report(row, Update())
            return
        if self._shares(row.job):
            self._prefixes.keep(prompt, caches.part(row.cache, 0, 0, end), logits.float())
        self._first(row, logits)

    def _first(self, row: _Row, logits: Tensor) -> None:
        self._accept(row, sample(logits.float(), [row.random])[0])

    def _add_to_batch(self, row: _Row) -> None:
        """Add a row to a batch with the same number of active experts, or start a batch."""
        if self.joins:
            for batch in self._batches:
                if batch.active_experts == row.job.active_experts:
                    caches.join(batch.cache, row.cache)
                    row.cache = None
                    batch.rows.append(row)
                    return
        self._batches.append(_RowBatch(row.job.active_experts, [row], row.cache))

    # ── steps ───────────────────────────────────────────────────────────────

    def _step(self, batch: _RowBatch) -> None:
        """Decode one token for each row."""
        rows, device = batch.rows, self._model.device
        tokens = torch.tensor([[row.output[-1]] for row in rows], device=device)
        positions = torch.tensor([[row.length] for row in rows], device=device)
        width = batch.width
        mask = None
        if any(row.length < width for row in rows):
            paddings = torch.tensor([[width - row.length] for row in rows], device=device)
            mask = (torch.arange(width + 1, device=device) >= paddings).long()
        logits = self._forward(rows, batch.cache, tokens, positions, mask)[:, -1]
        self.counts.steps += 1
        self.counts.stepped_rows += len(rows)
        for row, chosen in zip(rows, sample(logits, [row.random for row in rows]), strict=True):
            row.length += 1
            self._accept(row, chosen)

    def _forward(
        self, rows: list[_Row], cache: Any, tokens: Tensor, positions: Tensor, mask: Tensor | None, keep: int = 1
    ) -> Tensor:
        """Run the model. All rows have the same number of active experts.

        Args:
            rows: the rows of the batch.
            cache: their cache.
            tokens: `[rows, columns]`.
            positions: `[rows, columns]`.
            mask: attention mask over the whole width, `[rows, width]`; None without padding.
            keep: number of last columns whose logits are needed, 0 for all; a model may return more.

        Returns:
            Logits, `[rows, columns, vocabulary]`.
        """
        wanted = {"position_ids": positions, "attention_mask": mask, "logits_to_keep": keep}
        taken: dict[str, Any] = {name: value for name, value in wanted.items() if name in self._accepted}
        taken[self._cache_parameter] = cache
        recording: Any = nullcontext()
        if self._routers.layers and any(row.job.is_recorded for row in rows):
            owners = [[row.number if row.job.is_recorded else -1] * tokens.shape[1] for row in rows]
            recording = self._routers.recording(torch.tensor(owners), self._record)
        with self._routers.using(rows[0].job.active_experts), recording:
            answer = self._model(input_ids=tokens, use_cache=True, **taken)
        logits: Tensor = answer.logits
        return logits

    def _accept(self, row: _Row, chosen: SampledToken) -> None:
        """Append a sampled token to the answer, or end the answer."""
        job = row.job
        row.output.append(chosen.token)
        self.counts.completion_tokens += 1
        ends_here = chosen.token in self._end_tokens and not job.ignores_end
        if ends_here:
            text, row.finish = DecodedText(), "stop"
        else:
            text = row.decoder.add(chosen.token)
            row.random.forced = row.decoder.forced
            if text.is_stopped:
                row.finish = "stop"
            elif len(row.output) >= job.max_tokens:
                row.finish = "length"
        rest = row.decoder.rest() if row.finish and not text.is_stopped else ""
        routing = self._record.take(row.number) if row.finish else None
        update = Update(text=text, sampled=chosen, rest=rest, finish=row.finish, ends_here=ends_here, routing=routing)
        if row.finish and job.prompt_logprobs is not None:
            update.scores = row.scores
        self._report(row, update)

    # ── updates ─────────────────────────────────────────────────────────────

    def _report(self, row: _Row, update: Update) -> None:
        update.prompt, update.cached = row.length if not row.output else len(row.job.prompt), row.cached
        update.completion, update.reasoning = len(row.output), row.decoder.thinking_tokens
        self._updates.append((row.job, update))

    def _count_waiting(self) -> None:
        self.counts.waiting = len(self._inbox)

    def _publish(self) -> None:
        with self._changed:
            self._count_waiting()
            self.counts.running = sum(len(batch.rows) for batch in self._batches) + (self._prefilling is not None)
        if self._updates:
            updates, self._updates = self._updates, []
            self._deliver(updates)


def _parameters(model: Any) -> frozenset[str]:
    """The parameter names of its `forward`."""
    return frozenset(inspect.signature(model.forward).parameters)
