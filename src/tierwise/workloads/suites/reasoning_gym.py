"""reasoning-gym (Stojanovski et al., 2025; Apache-2.0): puzzles that are made from a seed, without any download.

They cannot have been in a model's training, and there are as many as one wants, at the difficulty that one wants.
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
from tierwise.workloads.suites.suite import MadeTasks
from tierwise.workloads.task import Task

if TYPE_CHECKING:
    from pathlib import Path

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
"""What is asked when nobody says otherwise: answers of a line or less, quick to score, from six kinds of reasoning."""

UNSTABLE = frozenset(
    {"isomorphic_strings", "knight_swap", "list_functions", "polynomial_multiplication", "ransom_note", "word_ladder"}
)
"""Generators that make other puzzles from the same seed in another process (they walk sets, or draw beside their own
source of chance), seen with 0.1.25. Their tasks are kept by writing them to a file, and by nothing else."""

PINNED = {"0.1.25": "50c6e083e9c23de696eaba3ca9d6f403ffdaeff2bdc61e5f2a4960bad5ac56bc"}
"""SHA-256 of the tasks that the default settings make, by version of the package."""

PROMPT = "{question}\n\nGive the final answer, and nothing else, between <answer> and </answer> at the end."


class ReasoningGymSuite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Puzzles of one or more generators, as many of each."""

    generators: tuple[str, ...] = MIXTURE
    """Their names; `tierwise workload make reasoning-gym --list` prints all."""
    count: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 120
    """Of tasks altogether."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    difficulty: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    """The level of the generator's curriculum, from 0, for all that it can vary; its own settings when not given."""
    settings: dict[str, dict[str, Any]] = {}
    """Settings of single generators: `{chain_sum: {min_terms: 4}}`."""
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
            f"{name} makes other puzzles from the same seed in every process; keep the file, it cannot be made again"
            for name in names
            if name in UNSTABLE
        ]
        version = metadata.version(PACKAGE)
        if self == ReasoningGymSuite():
            notes += _compared(tasks, version)
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
                raise SpecError(f"{name} has no levels of difficulty; leave --difficulty out", field="difficulty")
            curriculum = create_curriculum(name)
            curriculum.set_global_level(self.difficulty)
            return kind(config=dataclasses.replace(curriculum.generate_configuration(), **more))
        except (TypeError, ValueError, AssertionError) as error:
            raise SpecError(f"{name} cannot be set like that: {error}", field="settings") from error

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


def _compared(tasks: list[Task], version: str) -> list[str]:
    """Hold the default tasks against those that are pinned; a note where nobody has pinned this version's."""
    if version not in PINNED:
        return [f"reasoning-gym {version} is not among the versions whose tasks are pinned: {', '.join(PINNED)}"]
    found = hashlib.sha256(msgspec.json.Encoder().encode_lines(tasks)).hexdigest()
    if found != PINNED[version]:
        raise SpecError(
            f"reasoning-gym {version} made other tasks here than those that are pinned: SHA-256 {found} instead of "
            f"{PINNED[version]}; is the package changed?"
        )
    return []


def generators() -> list[str]:
    """The names of all generators that stand for themselves."""
    from reasoning_gym.factory import DATASETS  # noqa: PLC0415 - it imports for seconds

    return sorted(set(DATASETS) - {"composite"})


def _check(name: str, entry: dict[str, Any], dataset: Any) -> ReasoningGym:
    """What grades a puzzle, once it is known that the generator's own answer passes it as it will be read back."""
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
        raise SpecError(f"{name}: a puzzle cannot be kept in a file: {error!r}", field="generators") from error
    if score < RIGHT:
        raise SpecError(f"{name}: its own answer scores {score:.2f} once it is read from a file", field="generators")
    return ReasoningGym(
        generator=name,
        answer=answer if isinstance(answer, str) else None,
        scorer=f"{kind.__module__}:{kind.__name__}:{type(config).__name__}",
        settings=settings,
        entry=held,
    )
