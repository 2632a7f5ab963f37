"""Divides the tasks of a workload into tuning, calibration and test, by independent units.

A near-duplicate of an earlier prompt is in no part: it would be seen twice, or by two parts. A unit is a cluster, or a
task without one, and is kept in one part. Units are shuffled and cut by number, so that the parts are exchangeable.
The heaviest unit is always a tuning one: the rest are then a sample of units that are no heavier, which a bet on their
weights needs.
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
    from collections.abc import Iterator, Mapping, Sequence

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
    """Of each task, the number of its unit; of a near-duplicate, that of the earlier task."""
    tuning: Numbers
    calibration: Numbers
    test: Numbers
    duplicates: int
    """Tasks whose prompt is a near-duplicate of an earlier one's. They are in no part."""
    notes: tuple[str, ...]
    """What a reader of the results should know."""

    @property
    def has_clusters(self) -> bool:
        """Whether a unit has several tasks."""
        return len(np.unique(self.units)) < len(self.units)


def split(tasks: Sequence[Task], *, seed: int = 0, kept: Mapping[str, int] | None = None) -> TaskSplit:
    """Divide tasks.

    Args:
        tasks: of the workload.
        seed: of the order of the units.
        kept: by id, the part (0 tuning, 1 calibration, 2 test) that a task was in before. It stays there, with its
            unit; one that belongs to several is in the first of them. The other units are divided among themselves.

    Raises:
        SpecError: there are too few units, or one has most of the workload.
    """
    units, is_first = _units(tasks)
    count = int(units.max()) + 1 if len(units) else 0
    weights = np.bincount(
        units, weights=[task.weight * first for task, first in zip(tasks, is_first, strict=True)], minlength=count
    ).astype(np.float64)
    _check(tasks, units, weights)
    order = list(range(count))
    random.Random(f"split/{seed}").shuffle(order)  # noqa: S311 - an order, not a secret
    stays = _staying(tasks, units, kept or {})
    heaviest = max(order, key=lambda unit: (weights[unit], stays.get(unit, 0) == 0))  # the first of equal ones
    stays |= {heaviest: 0} if stays else {}
    order.remove(heaviest)
    order.insert(0, heaviest)
    new = [unit for unit in order if unit not in stays]
    ends = round(TUNING * len(new)), round((TUNING + CALIBRATION) * len(new))
    cut = [new[: ends[0]], new[ends[0] : ends[1]], new[ends[1] :]]
    for unit, part in stays.items():
        cut[part].append(unit)
    parts = [np.flatnonzero(np.isin(units, part) & is_first) for part in cut]
    duplicates = len(tasks) - int(is_first.sum())
    return TaskSplit(
        seed=seed,
        units=units,
        tuning=parts[0],
        calibration=parts[1],
        test=parts[2],
        duplicates=duplicates,
        notes=tuple(_notes(tasks, parts, duplicates)),
    )


def _staying(tasks: Sequence[Task], units: Numbers, kept: Mapping[str, int]) -> dict[int, int]:
    """The part of each unit that has a task which was in one."""
    found: dict[int, int] = {}
    for task, unit in zip(tasks, units.tolist(), strict=True):
        if (part := kept.get(task.id)) is not None:
            found[unit] = min(part, found.get(unit, part))
    return found


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


def _units(tasks: Sequence[Task]) -> tuple[Numbers, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """The number of each task's unit, in the order of their first tasks; and whether its prompt is new."""
    seen: dict[bytes, int] = {}
    numbers: dict[tuple[str, object], int] = {}
    units: list[int] = []
    is_new: list[bool] = []
    for index, task in enumerate(tasks):
        first = seen.setdefault(normalised(task), index)
        key = ("task", first) if task.cluster is None else ("cluster", task.cluster)
        is_new.append(first == index)
        units.append(numbers.setdefault(key, len(numbers)) if is_new[-1] else units[first])
    return np.array(units, dtype=np.int64), np.array(is_new, dtype=np.bool_)


def _check(tasks: Sequence[Task], units: Numbers, weights: Floats) -> None:
    count = len(weights)
    least = round(LEAST_UNITS / min(TUNING, CALIBRATION, 1 - TUNING - CALIBRATION))  # of the smallest part
    if count > 1 and len(tasks) >= least:
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
            f"the workload has {len(tasks)} tasks in {count} independent units (clusters, and prompts that differ in "
            f"more than case, white space or punctuation); tuning, calibration and test need at least {least} of them. "
            "A promise of 5 % needs about 120, one of 2 % about 300. Add tasks, or take them from traffic"
        )


def _named(members: Sequence[Task]) -> str:
    return f" (cluster {members[0].cluster!r})" if members[0].cluster is not None else ""


def _notes(tasks: Sequence[Task], parts: Sequence[Numbers], duplicates: int) -> Iterator[str]:
    if duplicates:
        yield (
            f"{duplicates} of {len(tasks)} tasks have the same prompt as an earlier one, but for case, white space or "
            "punctuation, and are left out: a prompt counts once. Give one a `weight` if traffic repeats it"
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
