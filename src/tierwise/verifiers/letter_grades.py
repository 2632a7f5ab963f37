"""Grades in letters: how a judge is asked for them, and how its reply is read.

A grade is the expectation over the probabilities of the letters A to T at the place of the letter (LLM-as-a-Verifier,
2026, arXiv 2607.05391), or the letter that was said if the engine gives no alternatives. What is no grade is none, and
never a low one.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from tierwise.spec.call import Completion
from tierwise.spec.json import Json
from tierwise.spec.logprobs import log_probability
from tierwise.verifiers.answers import spoken
from tierwise.verifiers.spans import answer_tokens

LETTERS = "ABCDEFGHIJKLMNOPQRST"
"""From best to worst: 1, 18/19, …, 0."""
SCALE = (
    "Grades are letters from A to T: A is certainly right, B to D right with small flaws, E to J rather right, K to P "
    "rather wrong, Q to S wrong with correct parts, T certainly wrong."
)

_DECORATION = " \t\n*_`\"'()[]{}<>.:,;▁Ġ"
_NAMED = re.compile(
    r"""(?<![\d.])(?P<draft>\d{1,3})(?:['’]s)?[\s*_`"')\]]*(?:(?:grade|mark|score)[\s*_`]*)?(?::|=|->|–|-|\bis\b|\bgets\b)
    [\s*_`"'(\[{<]*(?P<letter>[A-T])(?![A-Za-z'’])[+\-]?
    (?=[\s*_`"')\]}>.,;|/]*(?:\Z|\n|(?:and\s+)?(?:the\s+)?draft\b|\d))""",
    re.IGNORECASE | re.VERBOSE,
)
_BARE = re.compile(r"\A[\s*_`\"'(\[]*(?i:(?:final\s+)?grade[\s*_`]*:)?[\s*_`\"'(\[]*([A-T])[+\-]?[\s*_`\"').\]]*\Z")


def grades_of(drafts: Sequence[int]) -> str:
    """The request for the grades of these drafts: the end of a judge's prompt."""
    names = " and ".join(f"draft {number}" for number in drafts)
    lines = " and ".join(f"`Draft {number}: ` and its letter" for number in drafts)
    many = (
        f"Compare {names}. Reply with {len(drafts)} lines" if len(drafts) > 1 else f"Grade {names}. Reply with a line"
    )
    return f"{many}, {lines}, and nothing else."


def letter_grades(completion: Completion, drafts: Sequence[int]) -> dict[int, float]:
    """The grades of a judge's reply by the number of the draft, from 0 (worst) to 1.

    Args:
        completion: the reply. Its thinking is not read.
        drafts: the numbers that it was asked for. What it says about others is ignored, and one that it does not
            grade is missing in the result.
    """
    tokens = answer_tokens(completion)
    pieces = [str(token.get("token") or "") for token in tokens]
    ends = list(accumulate(map(len, pieces)))
    listed = _letters("".join(pieces), drafts)
    found = {}
    for draft, (letter, _) in _letters(spoken(completion), drafts).items():
        expected = None
        if (there := listed.get(draft)) is not None and there[0] == letter:
            expected = _expectation(tokens[bisect_right(ends, there[1])], letter)
        found[draft] = _value(letter) if expected is None else expected
    return found


def _letters(text: str, drafts: Sequence[int]) -> dict[int, tuple[str, int]]:
    """The last letter that a text gives to each draft, and where it stands."""
    found = {}
    for match in _NAMED.finditer(text):
        number = int(match["draft"])
        if number in drafts and match["letter"].isupper():
            found[number] = match["letter"], match.start("letter")
    if not found and len(drafts) == 1 and (bare := _BARE.match(text)) is not None:
        found[drafts[0]] = bare[1], bare.start(1)
    return found


def _expectation(token: Mapping[str, Json], letter: str) -> float | None:
    """The mean grade over the alternatives of a token that are letters; None if they are not known."""
    if str(token.get("token") or "").strip(_DECORATION) != letter:
        return None
    alternatives = token.get("top_logprobs")
    masses: dict[str, float] = {}
    for other in alternatives if isinstance(alternatives, list) else ():
        if not isinstance(other, dict):
            continue
        name, value = str(other.get("token") or "").strip(_DECORATION), log_probability(other.get("logprob"))
        if len(name) == 1 and name in LETTERS and value is not None:
            masses[name] = masses.get(name, 0.0) + math.exp(value)
    total = math.fsum(masses.values())
    if len(masses) < 2 or not total > 0:
        return None
    return math.fsum(_value(name) * mass for name, mass in masses.items()) / total


def _value(letter: str) -> float:
    return 1 - LETTERS.index(letter) / (len(LETTERS) - 1)
