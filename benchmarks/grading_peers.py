"""The graders of other packages on the cases of a file, in an environment that benchmarks/grading.py makes.

    python grading_peers.py CASES     prints {"versions": {package: version}, "graders": {name: {line: passed}}}

A grader is asked about the kinds of checks that it is made for, as its own package uses it. What raises has not passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
from inspect_ai import scorer
from inspect_ai.model import ModelOutput
from inspect_ai.solver import TaskState
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.api.registry import get_filter
from lm_eval.filters import extraction
from math_verify import parse, verify

Case = Mapping[str, Any]
Grader = Callable[[Any, str, str], bool]
"""Settings of the check, its right value as a text, and the answer."""

_REGISTERS = extraction
"""Importing it registers the filters."""
PACKAGES = ("lm_eval", "math-verify", "inspect_ai", "jsonschema")


def lm_eval_filter(name: str, **settings: Any) -> Callable[[str, Mapping[str, Any]], str]:
    made = get_filter(name)(**settings)
    return lambda answer, doc: next(iter(made.apply([[answer]], [doc])))[0]


def exact_match(said: str, right: str, **settings: Any) -> bool:
    return bool(exact_match_hf_evaluate([said], [right], **settings)["exact_match"])


def lm_eval_gsm8k(pattern: str, group: int) -> Grader:
    """The two filters of lm-eval's task gsm8k, with its metric."""
    extract = lm_eval_filter("regex", regex_pattern=pattern, group_select=group)
    ignored = [",", "\\$", "(?s).*#### ", "\\.$"]
    return lambda _, right, answer: exact_match(
        extract(answer, {}), right, ignore_case=True, ignore_punctuation=False, regexes_to_ignore=ignored
    )


def lm_eval_multiple_choice() -> Grader:
    """The filter `flexible-extract` of lm-eval's tasks gpqa and mmlu_flan_cot."""
    extract = lm_eval_filter(
        "multi_choice_regex",
        group_select=-1,
        ignore_case=True,
        ignore_punctuation=True,
        regex_pattern=r"(\([A-Z]\))",
    )

    def grade(settings: Any, right: str, answer: str) -> bool:
        letter = f"({chr(ord('A') + settings['options'].index(right))})"
        return exact_match(extract(answer, {"choices": settings["options"]}), letter, ignore_case=True)

    return grade


def lm_eval_exact(_: Any, right: str, answer: str) -> bool:
    return exact_match(answer.strip(), right, ignore_case=True, ignore_punctuation=True)


def math_verify(_: Any, right: str, answer: str) -> bool:
    return bool(verify(parse(f"${right}$"), parse(answer)))


def inspect_scorer(make: Callable[[], Any]) -> Grader:
    """A scorer of inspect_ai, with the state that it has after a model answered."""
    made = make()

    def grade(_: Any, right: str, answer: str) -> bool:
        output = ModelOutput.from_content("model", answer)
        state = TaskState(model="model", sample_id=1, epoch=1, input="", messages=[], output=output)
        return bool(asyncio.run(made(state, scorer.Target([right]))).value == "C")

    return grade


def jsonschema_alone(settings: Any, _: str, answer: str) -> bool:
    jsonschema.validate(json.loads(answer), settings["schema"])
    return True


def inspect_letter() -> Grader:
    letter, line = inspect_scorer(lambda: scorer.answer("letter")), inspect_scorer(lambda: scorer.answer("line"))
    return lambda settings, right, said: (letter if all(len(o) == 1 for o in settings["options"]) else line)(
        settings, right, said
    )


def graders() -> dict[str, dict[str, Grader]]:
    """Kind of check → name → grader."""
    return {
        "number": {
            "lm-eval gsm8k strict-match": lm_eval_gsm8k(r"#### (\-?[0-9\.\,]+)", 0),
            "lm-eval gsm8k flexible-extract": lm_eval_gsm8k(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1),
            "math-verify": math_verify,
            "inspect_ai match(numeric)": inspect_scorer(lambda: scorer.match(numeric=True)),
            "inspect_ai math": inspect_scorer(scorer.math),
        },
        "choice": {
            "lm-eval multi_choice_regex": lm_eval_multiple_choice(),
            "inspect_ai answer": inspect_letter(),
            "inspect_ai match": inspect_scorer(scorer.match),
            "inspect_ai includes": inspect_scorer(scorer.includes),
        },
        "exact": {
            "lm-eval exact_match": lm_eval_exact,
            "inspect_ai exact": inspect_scorer(scorer.exact),
            "inspect_ai match": inspect_scorer(scorer.match),
            "inspect_ai includes": inspect_scorer(scorer.includes),
        },
        "json_schema": {"json.loads and jsonschema": jsonschema_alone},
    }


def main() -> None:
    known = graders()
    passed: dict[str, dict[int, bool]] = {}
    cases = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    with contextlib.redirect_stdout(sys.stderr):
        for line, text in enumerate(cases, 1):
            case = json.loads(text)
            ((kind, settings),) = case["check"].items()
            if "equals" not in settings and kind != "json_schema":
                continue  # several right answers are not what these graders are for
            right = str(settings.get("equals", ""))
            for name, grader in known.get(kind, {}).items():
                try:
                    found = grader(settings, right, case["answer"])
                except Exception:  # noqa: BLE001 - whatever a package raises at an answer, it has not passed it
                    found = False
                passed.setdefault(name, {})[line] = found
    print(json.dumps({"versions": {name: version(name) for name in PACKAGES}, "graders": passed}))


if __name__ == "__main__":
    main()
