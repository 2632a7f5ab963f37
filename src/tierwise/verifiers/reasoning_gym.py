"""Answers to the puzzles of reasoning-gym (Open-Thought, Apache-2.0), scored by their generator.

Its scorers `eval` model output, so they run in the sandbox, and only if needed: half of the generators compare texts,
and an answer equal to the generator's own needs no scorer.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.spec.errors import TierwiseError
from tierwise.verifiers.answers import marked, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.contained import LimitExceeded, run_contained

PACKAGE = "reasoning-gym"

RIGHT = 0.999
"""Minimum score of a correct answer; generators give partial scores for well-formed answers."""

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)

# The package imports all of its 106 generators at once, which takes six seconds on a busy machine. Stub packages in
# their place import one in 30 ms. If that fails, for instance with a later version, all are imported.
_SCORE = """
import importlib, types
path, kind, settings = given["scorer"].split(":")
def hollow(name):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [f"/packages/{name.replace('.', '/')}"]
    return module
def coaching(name):
    parts = [importlib.import_module(f"reasoning_gym.coaching.{part}") for part in ("base_curriculum", "attributes")]
    return next(getattr(part, name) for part in parts if hasattr(part, name))
try:
    for name in ("reasoning_gym", path.rpartition(".")[0]):
        hollow(name)
    hollow("reasoning_gym.coaching").__getattr__ = coaching
    module = importlib.import_module(path)
except Exception:
    for name in [name for name in sys.modules if name.partition(".")[0] == "reasoning_gym"]:
        del sys.modules[name]
    module = importlib.import_module(path)
begin()
dataset = getattr(module, kind)(config=getattr(module, settings)(**given["settings"]))
report(float(dataset.score_answer(given["said"], given["entry"])))
"""


class ReasoningGym(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    """The puzzle's generator gives the answer its full score."""

    kind = "reasoning_gym"
    package = PACKAGE
    decisive = True
    runs_code = True

    generator: str
    """The generator's name: `chain_sum`, `countdown`."""
    answer: str | None = None
    """The generator's own answer; None if it can only score."""
    scorer: Annotated[str, msgspec.Meta(pattern=r"^reasoning_gym(\.\w+)+:\w+:\w+$")] | None = None
    """Module, class and settings class of the scorer; None if only the generator's own answer is correct."""
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    """Settings of the generator."""
    entry: dict[str, Any] = msgspec.field(default_factory=dict)
    """Input of the scorer, mainly `metadata`."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 20.0
    """CPU seconds of the scorer, imports not counted; an answer that takes longer is rejected."""

    def __post_init__(self) -> None:
        if self.answer is None and self.scorer is None:
            raise ValueError("neither `answer` nor `scorer` is given; give at least one")

    def key(self, completion: Completion) -> str | None:
        return answer_in(spoken(completion)) or None

    async def verify(self, completion: Completion) -> Verdict:
        said = answer_in(spoken(completion))
        if self.answer is not None and said == self.answer.strip():
            return accepted(said)
        if not said:
            return rejected("says nothing")
        if self.scorer is None:
            return rejected(f"{said[:90]!r} instead of {str(self.answer)[:90]!r}")
        given = {"scorer": self.scorer, "settings": self.settings, "said": said, "entry": self.entry}
        try:
            score = await run_contained(_SCORE, given, distribution=PACKAGE, extra="workloads", seconds=self.seconds)
        except LimitExceeded as error:
            return rejected(str(error))
        if not isinstance(score, int | float):
            raise TierwiseError(f"{self.generator} returned {score!r} instead of a score")
        why = f"{said[:120]!r} scores {score:.2f}"
        return (accepted if score >= RIGHT else rejected)(why, min(1.0, max(0.0, float(score))))


def answer_in(said: str) -> str:
    """The text in the last `<answer>` tags, else the marked result, else the whole text."""
    tagged = _TAGGED.findall(said)
    return str(tagged[-1]).strip() if tagged else (marked(said) or said).strip()
