"""The score sheet of the verifiers: cases and errors per kind of check, beside the graders of other packages.

    python benchmarks/grading.py [--peers PYTHON] [--out docs/grading.md] [--json FILE]

Grades every case of tests/verifiers/grading_cases.jsonl, whose verdicts were set by hand, with the verifiers here and,
in the same run, with lm-eval's filters, math-verify, inspect_ai's scorers and jsonschema. These are installed for it in
an environment that is thrown away, unless --peers names the Python of one that has them. Ends with 1 when a verifier
passes a wrong answer, or has more than a third of the errors of the best other grader of its kind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tierwise.spec.call import Completion
from tierwise.workloads.checks import CheckChoice

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "verifiers" / "grading_cases.jsonl"
PEERS = ("lm-eval==0.4.13", "inspect-ai==0.3.285", "math-verify[antlr4_13_2]==0.9.0", "jsonschema==4.26.0")
OURS = "tierwise"
PAGE = """# How well the verifiers grade

After reading this page you can say how often each verifier errs on answers whose verdicts were set by hand, and how
often the graders of other packages err on the same answers. `make grades` measures it and writes the page.

There are {cases} cases in {languages} languages, in `tests/verifiers/grading_cases.jsonl`: numbers, choices, exact
texts, JSON, and answers with thinking left in them. The verdicts were set by hand. The verifiers were corrected on
these cases, so their rows say what is tested, and not how often they err on others. A false pass is a wrong answer
that is accepted, a false fail a correct one that is rejected. A grader of another package gets the cases that it is
made for, with the filters and settings of its own package. Checks with several correct answers are left out there.

| kind | grader | cases | errors | false passes | false fails |
|---|---|---|---|---|---|
{rows}

Versions: {used}.
In the rows of tierwise, math-verify evaluates numbers that are not plain arithmetic (`\\log_2 8`).
{wrong}"""
SHARE = 3
"""Our errors are at most one in this many of the best other grader's."""


@dataclass(frozen=True)
class Score:
    """One grader on the cases of one kind that it is made for."""

    kind: str
    grader: str
    cases: int
    false_passes: int
    false_fails: int

    @property
    def errors(self) -> int:
        return self.false_passes + self.false_fails


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]


def ours(cases: list[dict[str, Any]]) -> dict[int, bool]:
    """Line → whether our verifier passes the answer."""

    async def grade(case: Mapping[str, Any]) -> bool:
        check = msgspec.convert(case["check"], CheckChoice)
        return (await check.member.verify(Completion(text=case["answer"]))).ok

    async def all_of_them() -> dict[int, bool]:
        return {line: await grade(case) for line, case in enumerate(cases, 1)}

    return asyncio.run(all_of_them())


def theirs(python: str | None) -> dict[str, Any]:
    """What the graders of other packages say, from their own environment."""
    with tempfile.TemporaryDirectory() as folder:
        if python is None:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            python = f"{folder}/bin/python"
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        script = Path(__file__).with_name("grading_peers.py")
        done = subprocess.run([python, str(script), str(CASES)], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def scores(cases: list[dict[str, Any]], passed: Mapping[str, Mapping[int, bool]]) -> Iterator[Score]:
    for kind in dict.fromkeys(case["kind"] for case in cases):
        for grader, verdicts in passed.items():
            judged = [
                (case["correct"], verdicts[n])
                for n, case in enumerate(cases, 1)
                if case["kind"] == kind and n in verdicts
            ]
            if judged:
                false_passes = sum(found and not right for right, found in judged)
                false_fails = sum(right and not found for right, found in judged)
                yield Score(kind, grader, len(judged), false_passes, false_fails)


def broken(found: list[Score]) -> list[str]:
    """The promises that are not kept."""
    said = []
    for own in (score for score in found if score.grader == OURS):
        # A grader that sees a part of a kind only is compared by its share of errors.
        best = min((s.errors / s.cases for s in found if s.kind == own.kind and s.grader != OURS), default=None)
        if own.false_passes:
            said.append(f"{own.kind}: {own.false_passes} wrong answers pass")
        if best is not None and own.errors / own.cases > best / SHARE:
            said.append(f"{own.kind}: {own.errors} errors in {own.cases}, the best other grader has {best:.1%}")
    return said


def page(cases: list[dict[str, Any]], found: list[Score], versions: Mapping[str, str], wrong: list[str]) -> str:
    languages = len({case["language"] for case in cases})
    used = ", ".join(f"{name} {number}" for name, number in versions.items())
    failed = "".join(f"- {one}\n" for one in wrong)
    return PAGE.format(
        cases=len(cases),
        languages=languages,
        rows="\n".join(map(row, found)),
        used=used,
        wrong=f"\nAnswers that tierwise graded wrongly:\n\n{failed}" if wrong else "",
    )


def row(score: Score) -> str:
    name = f"**{score.grader}**" if score.grader == OURS else score.grader
    return f"| {score.kind} | {name} | {score.cases} | {score.errors} | {score.false_passes} | {score.false_fails} |"


def main() -> int:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("--peers", help="the Python of an environment that has the other packages")
    reads.add_argument("--out", type=Path, help="write the page here")
    reads.add_argument("--json", type=Path, help="write the scores here")
    given = reads.parse_args()
    cases = read()
    own = ours(cases)
    other = theirs(given.peers)
    passed = {OURS: own, **{name: {int(n): ok for n, ok in found.items()} for name, found in other["graders"].items()}}
    found = list(scores(cases, passed))
    wrong = [
        f"{case['answer']!r} for `{json.dumps(case['check'])}`"
        for n, case in enumerate(cases, 1)
        if own[n] != case["correct"]
    ]
    text = page(cases, found, other["versions"], wrong)
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    if given.json:
        given.json.write_text(json.dumps([vars(score) for score in found], indent=1), encoding="utf-8")
    for promise in (said := broken(found)):
        print(f"broken: {promise}", file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
