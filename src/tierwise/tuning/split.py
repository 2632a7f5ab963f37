"""Divides the tasks of a workload into tuning, calibration and test, by independent units.

A unit is a cluster with all near-duplicates of its prompts. It is kept in one part, so that no part has seen the tasks
of another. Units are shuffled and cut by number, so that the parts are exchangeable. The heaviest unit is always a
tuning one: the rest are then a sample of units that are no heavier, which a bet on their weights needs.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tierwise.tuning.evaluated import Floats, Numbers
    from tierwise.workloads.task import Task

TUNING, CALIBRATION = 0.3, 0.5
"""Shares of the units. The test part has the rest."""
LEAST_UNITS = 10
"""In each part. A promise may need many more (`stats.promises.labels_needed`)."""
MOST_OF_ONE = 0.5
"""Share of the workload's weight that one unit may have."""
_LEAST_OF_TAG = 0.05
"""Share of the tasks from which on a tag should be in every part."""

_SPACE = re.compile(r"\s+")
_SENTENCE_MARKS = re.compile(r"[.,;:!?…'\"`]+(?=\s|$)|(?<!\S)['\"`]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSplit:
    """The parts, as indexes of tasks."""

    seed: int
    units: Numbers
    """Of each task, the number of its unit."""
    tuning: Numbers
    calibration: Numbers
    test: Numbers
    duplicates: int
    """Tasks whose prompt is a near-duplicate of an earlier one's."""
    notes: tuple[str, ...]
    """What a reader of the results should know."""

    @property
    def has_clusters(self) -> bool:
        """Whether a unit has several tasks."""
        return len(np.unique(self.units)) < len(self.units)


def split(tasks: Sequence[Task], *, seed: int = 0) -> TaskSplit:
    """Divide tasks.

    Args:
        tasks: of the workload.
        seed: of the order of the units.

    Raises:
        SpecError: there are too few units, or one has most of the workload.
    """
    prompts = [normalised(task) for task in tasks]
    units = _units(tasks, prompts)
    count = int(units.max()) + 1 if len(units) else 0
    weights = np.bincount(units, weights=[task.weight for task in tasks], minlength=count).astype(np.float64)
    _check(tasks, units, weights)
    order = list(range(count))
    random.Random(f"split/{seed}").shuffle(order)  # noqa: S311 - an order, not a secret
    heaviest = max(order, key=lambda unit: weights[unit])  # the first of equal ones: with equal weights, any
    order.remove(heaviest)
    order.insert(0, heaviest)
    ends = round(TUNING * count), round((TUNING + CALIBRATION) * count)
    parts = [_tasks_of(units, part) for part in (order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] :])]
    duplicates = len(prompts) - len(set(prompts))
    return TaskSplit(
        seed=seed,
        units=units,
        tuning=parts[0],
        calibration=parts[1],
        test=parts[2],
        duplicates=duplicates,
        notes=tuple(_notes(tasks, parts, duplicates)),
    )


def normalised(task: Task) -> bytes:
    """A task's prompt without what does not change its meaning: equal for near-duplicates.

    Unicode compatibility forms (NFKC), case, white space, and punctuation at the ends of words are ignored. Every
    other character counts, because `3 + 4` and `3 - 4`, or `1.5` and `15`, are different tasks.
    """
    request = {**task.request(), "messages": [_normalised_message(one) for one in task.messages]}
    return msgspec.json.encode(request, order="deterministic")


def _normalised_message(message: dict[str, object]) -> dict[str, object]:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": _plain(content)}
    if isinstance(content, list):
        parts = [
            {**part, "text": _plain(part["text"])}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else part
            for part in content
        ]
        return {**message, "content": parts}
    return message


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _SPACE.sub(" ", _SENTENCE_MARKS.sub(" ", folded)).strip()


def _units(tasks: Sequence[Task], prompts: Sequence[bytes]) -> Numbers:
    """The number of each task's unit, in the order of their first tasks: what is connected by a cluster or a prompt."""
    parents = list(range(len(tasks)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[tuple[str, object], int] = {}
    for index, (task, prompt) in enumerate(zip(tasks, prompts, strict=True)):
        keys: list[tuple[str, object]] = [("prompt", prompt)]
        if task.cluster is not None:
            keys.append(("cluster", task.cluster))
        for key in keys:
            one, other = sorted((root(index), root(first.setdefault(key, index))))
            parents[other] = one
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(index), len(numbers)) for index in range(len(tasks))], dtype=np.int64)


def _tasks_of(units: Numbers, part: Iterable[int]) -> Numbers:
    return np.flatnonzero(np.isin(units, list(part)))


def _check(tasks: Sequence[Task], units: Numbers, weights: Floats) -> None:
    count = len(weights)
    least = round(LEAST_UNITS / min(TUNING, CALIBRATION, 1 - TUNING - CALIBRATION))  # of the smallest part
    if count and len(tasks) >= least:
        heaviest = int(np.argmax(weights))
        share = float(weights[heaviest]) / float(np.sum(weights))
        if share > MOST_OF_ONE:
            members = [task for task, unit in zip(tasks, units, strict=True) if unit == heaviest]
            raise SpecError(
                f"{share:.0%} of the workload are one unit of {len(members)} tasks{_named(members)}, which must "
                "stay in one part: nothing would be known about others. Give tasks of more clusters, or finer clusters"
            )
    if count < least:
        raise SpecError(
            f"the workload has {len(tasks)} tasks in {count} independent units (clusters, with near-duplicates "
            f"together), and tuning, calibration and test need at least {least} units; a promise of 5 % needs about "
            "120, one of 2 % about 300. Add tasks, or take them from traffic"
        )


def _named(members: Sequence[Task]) -> str:
    clusters = list(dict.fromkeys(task.cluster for task in members if task.cluster is not None))
    if clusters:
        return f" (cluster {clusters[0]!r}{' and others' if len(clusters) > 1 else ''})"
    return f" (near-duplicates of task {members[0].id!r})"


def _notes(tasks: Sequence[Task], parts: Sequence[Numbers], duplicates: int) -> Iterator[str]:
    if duplicates:
        yield (
            f"{duplicates} of {len(tasks)} tasks have the same prompt as an earlier one, but for case, white space or "
            "punctuation; they are kept in the same part and count as one unit"
        )
    everywhere = Counter(tag for task in tasks for tag in set(task.tags))
    common = {tag for tag, number in everywhere.items() if number >= _LEAST_OF_TAG * len(tasks)}
    for name, part in zip(("tuning", "calibration", "test"), parts, strict=True):
        gone = sorted(common - {tag for index in part.tolist() for tag in tasks[index].tags})
        if gone:
            yield (
                f"no task of the {name} part has the tag {', '.join(map(repr, gone))}: the certificate says nothing "
                "about such tasks alone; add some of other clusters"
            )
