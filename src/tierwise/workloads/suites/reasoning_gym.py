"""reasoning-gym (Stojanovski et al., 2025; Apache-2.0): puzzles generated from a seed, without a download.

The puzzles are new to a model, unlimited in number, and of adjustable difficulty.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed
from tierwise.verifiers.contained import needs
from tierwise.verifiers.packages import is_installed
from tierwise.verifiers.reasoning_gym import PACKAGE, RIGHT, ReasoningGym
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.suites.suite import MadeTasks
from tierwise.workloads.task import Task

if TYPE_CHECKING:
    from pathlib import Path

ROW = SuiteRow(
    name="reasoning-gym",
    title="reasoning-gym",
    tasks=120,
    size="as many as --count asks for, of 105 generators; 120 of 12 by default",
    average=Convention(how="one answer a puzzle", source="no convention: the seed makes the puzzles"),
    maximum=Convention(how="majority vote, or retries against the generator's scorer", source="no convention"),
    runner="here",
    how="tierwise workload make reasoning-gym --count 1000 --out puzzles.jsonl",
    licence="Apache-2.0",
    caveats=(
        "free of contamination, being made from a seed; scores of another seed, version or mixture do not compare",
        "puzzles of a generator are alike: the difference speaks for these generators",
    ),
)

MIXTURE = (
    "basic_arithmetic",
    "calendar_arithmetic",
    "chain_sum",
    "course_schedule",
    "fraction_simplification",
    "knights_knaves",
    "leg_counting",
    "letter_counting",
    "number_sequence",
    "simple_equations",
    "spell_backward",
    "syllogism",
)
"""The default generators: answers of at most one line, quick to score, from six kinds of reasoning."""

UNSTABLE = frozenset(
    {"isomorphic_strings", "knight_swap", "list_functions", "polynomial_multiplication", "ransom_note", "word_ladder"}
)
"""Generators that make different puzzles from the same seed in different processes, because they iterate over sets or
use another random source; seen with 0.1.25. Their tasks can be reproduced only from a file."""

PINNED = {"0.1.25": "50c6e083e9c23de696eaba3ca9d6f403ffdaeff2bdc61e5f2a4960bad5ac56bc"}
"""SHA-256 of the tasks of the default settings, by package version."""

PROMPT = "{question}\n\nGive the final answer, and nothing else, between <answer> and </answer> at the end."


class ReasoningGymSuite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Puzzles of one or more generators, in equal numbers."""

    generators: tuple[str, ...] = MIXTURE
    """Names of the generators; `tierwise workload make reasoning-gym --list` prints all."""
    count: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 120
    """Total number of tasks."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    difficulty: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    """Level of the generators' curricula, from 0; by default, the generators' own settings."""
    settings: dict[str, dict[str, Any]] = {}
    """Settings per generator: `{chain_sum: {min_terms: 4}}`."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 1024

    def make(self, base: Path) -> MadeTasks:  # noqa: ARG002 - it needs no file
        if not is_installed(PACKAGE):
            raise SpecError(needs(PACKAGE, "workloads"))
        names = list(dict.fromkeys(self.generators))
        known = generators()
        for name in (*names, *self.settings):
            if name not in known:
                raise SpecError(f"reasoning-gym has no generator {name!r}; {allowed(name, known)}", field="generators")
        if not names or self.count < len(names):
            raise SpecError(f"{self.count} tasks are too few for {len(names)} generators", field="count")
        each, more = divmod(self.count, len(names))
        tasks = [task for number, name in enumerate(names) for task in self._tasks(name, each + (number < more))]
        notes = [
            f"{name} makes different puzzles from the same seed in every process; keep the file"
            for name in names
            if name in UNSTABLE
        ]
        version = metadata.version(PACKAGE)
        if self == ReasoningGymSuite():
            notes += _check_pin(tasks, version)
        return MadeTasks(tasks=tuple(tasks), version=version, notes=tuple(notes))

    def _tasks(self, name: str, count: int) -> list[Task]:
        dataset = self._dataset(name, count)
        return [self._task(name, number, dataset) for number in range(count)]

    def _dataset(self, name: str, count: int) -> Any:
        from reasoning_gym.factory import DATASETS, create_curriculum, has_curriculum  # noqa: PLC0415

        kind, config_kind = DATASETS[name]
        more = {**self.settings.get(name, {}), "seed": self.seed, "size": count}
        try:
            if self.difficulty is None:
                return kind(config=config_kind(**more))
            if not has_curriculum(name):
                raise SpecError(f"{name} has no difficulty levels; leave --difficulty out", field="difficulty")
            curriculum = create_curriculum(name)
            curriculum.set_global_level(self.difficulty)
            return kind(config=dataclasses.replace(curriculum.generate_configuration(), **more))
        except (TypeError, ValueError, AssertionError) as error:
            raise SpecError(f"invalid settings of {name}: {error}", field="settings") from error

    def _task(self, name: str, number: int, dataset: Any) -> Task:
        entry = dataset[number]
        level = [] if self.difficulty is None else [f"difficulty {self.difficulty}"]
        return Task(
            id=f"{name}/{self.seed}/{number}",
            messages=[{"role": "user", "content": PROMPT.format(question=entry["question"])}],
            check=CheckChoice(reasoning_gym=_check(name, entry, dataset)),
            tags=[dataset.category, name, *level],
            max_tokens=self.max_tokens,
        )


def _check_pin(tasks: list[Task], version: str) -> list[str]:
    """Compare the default tasks with the pinned hash. Returns a note if this version has no pin."""
    if version not in PINNED:
        return [f"the tasks of reasoning-gym {version} are not pinned; pinned versions: {', '.join(PINNED)}"]
    found = hashlib.sha256(msgspec.json.Encoder().encode_lines(tasks)).hexdigest()
    if found != PINNED[version]:
        raise SpecError(
            f"reasoning-gym {version} made tasks that differ from the pinned ones: SHA-256 {found}, expected "
            f"{PINNED[version]}; reinstall the package if it was modified"
        )
    return []


def generators() -> list[str]:
    """The names of all generators, except `composite`, which combines others."""
    from reasoning_gym.factory import DATASETS  # noqa: PLC0415 - its import takes seconds

    return sorted(set(DATASETS) - {"composite"})


def _check(name: str, entry: dict[str, Any], dataset: Any) -> ReasoningGym:
    """The check of a puzzle. Verifies that the generator's own answer passes after a round trip through JSON."""
    from reasoning_gym.dataset import ProceduralDataset  # noqa: PLC0415

    kind, answer = type(dataset), entry.get("answer")
    if kind.score_answer is ProceduralDataset.score_answer and isinstance(answer, str):
        return ReasoningGym(generator=name, answer=answer)
    config = dataset.config
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.init}
    try:
        settings, held = (json.loads(json.dumps(one)) for one in (values, entry))
        score = dataset.score_answer(answer, held) if isinstance(answer, str) else RIGHT
    except Exception as error:
        raise SpecError(f"{name}: a puzzle cannot be stored as JSON: {error!r}", field="generators") from error
    if score < RIGHT:
        raise SpecError(
            f"{name}: its own answer scores only {score:.2f} after a round trip through JSON", field="generators"
        )
    return ReasoningGym(
        generator=name,
        answer=answer if isinstance(answer, str) else None,
        scorer=f"{kind.__module__}:{kind.__name__}:{type(config).__name__}",
        settings=settings,
        entry=held,
    )
