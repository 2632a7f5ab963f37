"""GPQA-Diamond (Rein et al., 2023; CC-BY-4.0): graduate-level multiple choice in biology, chemistry and physics.

The authors ask never to post items in clear, so the user brings `gpqa_diamond.csv`. It lists the correct answer first:
the choices of each question are shuffled by a seed, which is part of the task's id.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from tierwise.verifiers import Choice
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.data import DataFile, FromFiles, column, refuse
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.suites.suite import MadeTasks
from tierwise.workloads.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.spec.errors import SpecError

ROW = SuiteRow(
    name="gpqa-diamond",
    title="GPQA-Diamond",
    tasks=198,
    size="198 questions with four choices: the subset on which experts agree",
    average=Convention(
        how="mean of 4 askings a question, each with its choices in another order",
        samples=4,
        temperature=0.5,
        source="openai/simple-evals, gpqa_eval.py: n_repeats 4; inspect-evals 0.26: 4 epochs",
    ),
    maximum=Convention(
        how="majority vote; no number of samples is usual",
        source="cons@64 of DeepSeek-R1's README is for AIME alone",
    ),
    runner="here",
    how="tierwise workload make gpqa-diamond --file gpqa_diamond.csv --out gpqa.jsonl",
    licence="CC-BY-4.0; the authors ask never to post items in clear",
    caveats=(
        "a guess is right in 25 %: 198 questions with four choices",
        "the order of the choices changes answers: compare runs of the same seed only",
        "plain-text copies are in public repositories, so items may be in the training data",
    ),
)

PROMPT = (
    "Answer this multiple choice question. Think step by step. The last line of your answer must be `Answer: X`, where "
    "X is one of the letters A, B, C and D.\n\n{question}\n\nA) {A}\nB) {B}\nC) {C}\nD) {D}"
)
LETTERS = ("A", "B", "C", "D")
CHOICES = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


class GpqaDiamond(FromFiles, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Questions with four choices, in an order that a seed gives."""

    FILES: ClassVar[tuple[str, ...]] = ("gpqa_diamond.csv",)

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    """Shuffles the choices. It is the last part of each task's id."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 32_768

    def make(self, base: Path) -> MadeTasks:
        found = self.read(base, ROW.title)
        errors: list[SpecError] = []
        tasks = [task for one in found for task in self._tasks(one, errors)]
        refuse(errors)
        chosen = self.chosen(tasks, found)
        notes = self.unpinned(found)
        if len(tasks) != ROW.tasks:
            notes += (f"{len(tasks)} questions; GPQA-Diamond has {ROW.tasks}: another subset, or half a download",)
        version = ", ".join(one.name for one in found)
        return MadeTasks(tasks=chosen, version=version, notes=notes, files={one.name: one.sha256 for one in found})

    def _tasks(self, file: DataFile, errors: list[SpecError]) -> list[Task]:
        tasks = []
        for row, document in file.rows():
            if not document.errors:
                question = column(row, ("Question",), document)
                choices = [column(row, (name,), document) for name in CHOICES]
                if len(set(choices)) < len(choices) and all(choices):
                    document.wrong("", "two choices are the same text, so no letter is the correct one")
                if not document.errors:
                    tasks.append(self._task(row, question, choices))
            errors += document.placed()
        return tasks

    def _task(self, row: dict[str, Any], question: str, choices: list[str]) -> Task:
        record = str(row.get("Record ID") or "").strip() or hashlib.sha256(question.encode()).hexdigest()[:16]
        shown = shuffled(choices, f"{self.seed}/{record}")
        domains = [str(row.get(name) or "").strip()[:80] for name in ("High-level domain", "Subdomain")]
        prompt = PROMPT.format(question=question, **dict(zip(LETTERS, shown, strict=True)))
        return Task(
            id=f"gpqa-diamond/{record[:40]}/{self.seed}",
            messages=[{"role": "user", "content": prompt}],
            check=CheckChoice(choice=Choice(options=LETTERS, equals=LETTERS[shown.index(choices[0])])),
            tags=["gpqa-diamond", *dict.fromkeys(filter(None, domains))],
            max_tokens=self.max_tokens,
        )


def shuffled(choices: list[str], seed: str) -> list[str]:
    """The choices in an order that depends on the seed and on their texts alone, in every version of Python."""
    return sorted(choices, key=lambda choice: hashlib.sha256(f"{seed}\0{choice}".encode()).digest())
