"""Shows the progress of a run: a bar for each row of the result, or a line for each tenth without a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.progress import TaskID

    from tierwise.runs.directory import Manifest
    from tierwise.runs.records import TrialRecord


class ProgressBars:
    """The progress display of `tierwise bench`: rate, dollars spent so far, and time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._rows: dict[str, TaskID] = {}
        self._solved: dict[str, int] = {}
        self._all: TaskID | None = None
        self._ended = self._total = self._errors = self._kept = 0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._console.print("starting the tiers …")
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def planned(self, manifest: Manifest, kept: Sequence[TrialRecord]) -> None:
        tasks, settings = len(manifest.tasks), manifest.settings
        for planned in manifest.variants:
            name = planned.variant.name
            self._rows[name] = self._bars.add_task(name, total=tasks * settings.repeats, note="")
            self._solved[name] = 0
        self._total = tasks * settings.repeats * len(manifest.variants)
        self._all = self._bars.add_task("all", total=self._total, note="")
        times = f" {settings.repeats} times" if settings.repeats > 1 else ""
        self._console.print(
            f"measuring {tasks} tasks{times} on {len(manifest.variants)} rows, {self._total} actions"
            + (f", after {settings.warm_up} warm-up actions" if settings.warm_up else "")
        )
        if kept:
            self._console.print(f"{len(kept)} of them were measured before")
        for record in kept:
            self._add(record)
        self._kept = len(kept)
        self._began = time.monotonic()

    def ended(self, record: TrialRecord, spent: float) -> None:
        self._add(record)
        note = self._note(spent)
        if self._all is not None:
            self._bars.update(self._all, note=note)
        is_tenth = (self._ended * 10) // self._total > ((self._ended - 1) * 10) // self._total
        if not self._console.is_terminal and is_tenth:
            self._console.print(f"{self._ended} of {self._total} actions · {note}", markup=False)

    def note(self, sentence: str) -> None:
        self._console.print(sentence, markup=False, style="yellow")

    def _add(self, record: TrialRecord) -> None:
        name = record.variant.name
        self._ended += 1
        self._solved[name] += record.is_solved
        self._errors += not record.is_graded
        self._bars.update(self._rows[name], advance=1, note=f"{self._solved[name]} solved")
        if self._all is not None:
            self._bars.update(self._all, advance=1)

    def _note(self, spent: float) -> str:
        """`3.1/s · $0.0123 · 0:02:10 left · 2 errors`."""
        elapsed = max(1e-9, time.monotonic() - self._began)
        rate = (self._ended - self._kept) / elapsed
        parts = [f"{rate:.3g}/s", f"${spent:.4f}", f"{_clock((self._total - self._ended) / rate)} left"]
        return " · ".join([*parts, f"{self._errors} errors"] if self._errors else parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
