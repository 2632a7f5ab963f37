"""LiveCodeBench (Jain et al., 2024), code generation: contest problems with dates, from the user's `test*.jsonl`.

A window of dates keeps problems that are younger than a checkpoint. Hidden cases come as a pickle of one text in the
file: it is read without running any code.
"""

from __future__ import annotations

import datetime as dt
import io
import pickle
from pathlib import PurePath
from typing import Annotated, Any, ClassVar

import msgspec

from tierwise.verifiers.code.livecodebench import LiveCodeBench, packed, unpacked
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.data import FromFiles, Row
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.task import Task

ROW = SuiteRow(
    name="livecodebench",
    title="LiveCodeBench",
    tasks=1_055,
    size="1,055 contest problems up to release v6; fewer in a window of dates",
    average=Convention(
        how="mean of 10 samples a problem, over a window of contest dates",
        samples=10,
        temperature=0.2,
        source="lcb_runner's defaults (nvidia-livecodebench 26.3): n 10, top-p 0.95, 6 s a case",
    ),
    maximum=Convention(how="a selector that sees the public cases only", source="no convention"),
    runner="here",
    how="tierwise workload make livecodebench --file test6.jsonl --since 2025-01-01 --out lcb.jsonl",
    licence="problems belong to the contest sites; not redistributable",
    caveats=(
        "name the window: problems older than the checkpoint may be in its training data",
        "a window has fewer problems, so it shows less: `tierwise power --tasks` for yours",
        "the harness's own table has no standard error",
        "limits are CPU seconds here and wall seconds upstream, so a busy machine fails nobody",
    ),
)

PROMPT = (
    "Write a correct Python program for this problem. {how} Answer with one code block that holds the whole "
    "program.\n\n{question}{starter}"
)
SIZES = {
    f"test{number or ''}": problems for number, problems in ((0, 400), (2, 111), (3, 101), (4, 101), (5, 167), (6, 175))
}
"""Problems of each file: releases v1 to v6 have 400, 511, 612, 713, 880 and 1,055."""

STDIN = "It reads the input from stdin and writes the answer to stdout."
FUNCTION = "Use the starter code."


class _Case(msgspec.Struct):
    input: str
    output: str
    testtype: str


class _Problem(msgspec.Struct):
    question_content: str
    question_id: str
    contest_date: dt.datetime
    public_test_cases: str
    private_test_cases: str
    platform: str = ""
    difficulty: str = ""
    starter_code: str = ""
    metadata: str = "{}"


class LiveCodeBenchSuite(FromFiles, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contest problems of a window of dates."""

    ROW: ClassVar[SuiteRow] = ROW
    FILES: ClassVar[tuple[str, ...]] = (
        *("test.jsonl", "test[0-9].jsonl", "test[0-9][0-9].jsonl"),
        *("test.parquet", "test[0-9].parquet", "test[0-9][0-9].parquet", "test-*-of-*.parquet"),
    )
    IS_ONE_FILE: ClassVar[bool] = False
    PART: ClassVar[str] = "look at --since and --until"

    since: dt.date | None = None
    """The first contest date."""
    until: dt.date | None = None
    """The last contest date, included."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 6.0
    """CPU seconds of each case."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 32_768

    def task_of(self, row: Row) -> Task | None:
        problem = row.read(_Problem)
        if problem is None or not self._is_in_window(problem.contest_date.date()):
            return None
        try:
            return self._task(problem)
        except ValueError as error:
            row.document.wrong("", f"{problem.question_id}: {error}")
            return None

    def notes(self, tasks: int) -> tuple[str, ...]:  # noqa: ARG002 - a window has any number
        if self.since is not None:
            return ()
        return ("no --since: problems older than the checkpoint may be in its training data",)

    def notes_of(self, name: str, rows: int) -> tuple[str, ...]:
        known = SIZES.get(PurePath(name).stem.rpartition("-")[2])
        if known is None or rows == known:
            return ()
        return (f"{name} has {rows} problems; {known} are published in it: another version, or half a download",)

    def _is_in_window(self, date: dt.date) -> bool:
        return (self.since is None or self.since <= date) and (self.until is None or date <= self.until)

    def _task(self, row: _Problem) -> Task:
        metadata = msgspec.json.decode(row.metadata, type=dict[str, Any])
        function = metadata.get("func_name")
        cases = [*_cases(row.public_test_cases), *_cases(_text_of(row.private_test_cases))]
        kinds = {case.testtype for case in cases}
        if kinds != {"functional" if function else "stdin"}:
            raise ValueError(f"its cases are {' and '.join(sorted(kinds)) or 'none'}; its function is {function!r}")
        if function:
            for case in cases:
                for text in (*case.input.split("\n"), case.output):
                    msgspec.json.decode(text)
        check = LiveCodeBench(
            tests=packed([(case.input, case.output) for case in cases]), function=function, seconds=self.seconds
        )
        starter = f"\n\n```python\n{row.starter_code.strip()}\n```" if row.starter_code.strip() else ""
        how = FUNCTION if function else STDIN
        prompt = PROMPT.format(how=how, question=row.question_content.strip(), starter=starter)
        return Task(
            id=f"livecodebench/{row.question_id}",
            messages=[{"role": "user", "content": prompt}],
            check=CheckChoice(livecodebench=check),
            tags=list(dict.fromkeys(filter(None, ("livecodebench", row.difficulty, row.platform)))),
            max_tokens=self.max_tokens,
        )


def _cases(text: str) -> list[_Case]:
    return msgspec.json.decode(text, type=list[_Case])


class _TextOnly(pickle.Unpickler):
    """Reads pickles of plain data: nothing is imported, so nothing is called."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}; hidden cases are a text and nothing else")


def _text_of(written: str) -> str:
    """The JSON of hidden cases: as it is, or base64 of a zlib stream that holds a pickled text.

    Raises:
        ValueError: it is neither.
    """
    if written.lstrip().startswith("["):
        return written
    try:
        text = _TextOnly(io.BytesIO(unpacked(written))).load()
    except (ValueError, pickle.UnpicklingError, EOFError, IndexError, AttributeError) as error:
        raise ValueError(f"private_test_cases cannot be read: {error}") from error
    if isinstance(text, str):
        return text
    raise ValueError(f"private_test_cases cannot be read: they hold a {type(text).__name__}, not a text")
