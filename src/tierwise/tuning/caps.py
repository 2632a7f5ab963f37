"""Tiers that think, with less of it: with thinking off, and with caps at quantiles of what they thought.

A cap is kept by the engine's sampler. It changes nothing before it is reached, and then forces the end of thinking. So
a recorded draw that ended its thinking within a cap is what the capped tier draws with the same seed, and it is taken
over; only longer ones are asked again. That is exact where an engine repeats a draw with its seed, and it is checked:
a draw that is asked again has to reach the cap. One that does not is another draw. If such draws stood in for long
ones, short thinking would be counted twice; so all draws of that tier are then asked again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import yaml

from tierwise import plan as planning
from tierwise.engines import row_of
from tierwise.run.recovery import LOST
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.tuning.writing import with_tier

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from tierwise.plan import Plan
    from tierwise.runs.records import TrialRecord

QUANTILES = (0.25, 0.5)
"""Of the thinking tokens of a tier's draws on the tuning tasks: its caps."""
LEAST_CAP = 16
"""Thinking tokens. A shorter thought is hardly one."""
GUARD = 4
"""Tokens below a cap from which on a draw is asked again: engines count the marks around thinking differently."""
_SLACK = 1.1
_SLACK_TOKENS = 16
"""An engine may write this much more than a cap, to end a sentence and the block."""
_LEAST_THINKING = 0.5
"""Share of the draws on the tuning tasks that think, from which on a tier is said to."""
_MOST_UNKNOWN = 0.2
"""Share of these draws whose thinking could not be counted, up to which there are caps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capped:
    """A tier of the config file with less thinking."""

    name: str
    of: str
    """The tier of the config file, through which its deployment and sampling were recorded."""
    cap: int | None
    """Thinking tokens; None for thinking off."""
    repeats: bool
    """Whether the engine says that a seed repeats a draw, so that short draws are taken over."""


def thought(record: TrialRecord) -> int | None:
    """Thinking tokens of a draw, the marks that end it included; None if they are not known."""
    facts = record.draw
    if facts is None:
        return None
    if not facts.reasoning:
        return 0
    first = next(iter(record.passes or ()), None)
    if first is not None and first.outcome == LOST:  # its answer is that of a pass after it
        return first.completion_tokens
    if not record.answer:
        return record.completion_tokens
    trace = facts.tokens
    if trace is None or trace.answer is None or sum(trace.lengths[: trace.answer]) < len(facts.reasoning.strip()):
        return None  # not all tokens of the thinking are there
    return trace.answer


def with_caps(
    plan: Plan, text: str, tiers: Sequence[str], records: Iterable[TrialRecord], tuning: Collection[str]
) -> tuple[str, list[Capped], list[str]]:
    """A config file's text with the tiers that think less.

    Args:
        plan: the config file.
        text: of it.
        tiers: through which draws were recorded.
        records: their draws.
        tuning: ids of the tuning tasks, whose draws choose the caps.

    Returns:
        The text, the tiers that were added, and why others were not.
    """
    lengths: defaultdict[str, list[int | None]] = defaultdict(list)
    for record in records:
        if record.is_graded and record.task in tuning:
            lengths[record.tier].append(thought(record))
    found: list[Capped] = []
    notes: list[str] = []
    for tier in tiers:
        for one in _wanted(plan, tier, lengths[tier], notes):
            try:
                longer = with_tier(text, one.name, _entry(text, one))
                planning.parse(longer, plan.path)
            except ConfigErrors as error:
                notes.append(f"tier {tier!r} is not tried {_said(one)}: {'; '.join(map(str, error.errors))}")
                continue
            text = longer
            found.append(one)
    return text, found, notes


def _wanted(plan: Plan, tier: str, lengths: Sequence[int | None], notes: list[str]) -> Iterator[Capped]:
    """The tiers to add for one that was recorded, in the order in which they are recorded.

    Caps come first: what an engine has cached of a prompt may change a draw in spite of its seed, and other prompts of
    the same tasks have not been asked then.
    """
    settings = plan.file.deployments[plan.runs_as[plan.deployment_of(tier)]]
    able, sampling = row_of(settings).capabilities(settings), plan.tiers[tier].sampling
    if sampling.thinking is False or sum(one != 0 for one in lengths) < _LEAST_THINKING * max(1, len(lengths)):
        return
    known = [one for one in lengths if one is not None]
    if not able.thinking_end:
        notes.append(f"tier {tier!r} is tried without thinking, and with no cap: its engine has none")
    elif len(known) < (1 - _MOST_UNKNOWN) * len(lengths):
        notes.append(
            f"tier {tier!r} is tried without thinking, and with no cap: its draws do not show how long they thought "
            "(the engine gave no log-probabilities of them)"
        )
    else:
        own = sampling.thinking_tokens or max(known) + 1
        caps = {_rounded(float(cut)) for cut in np.quantile(known, QUANTILES, method="higher")}
        for cap in sorted(one for one in caps if LEAST_CAP <= one < own):
            yield Capped(name=_named(plan, f"{tier}-thinking-{cap}"), of=tier, cap=cap, repeats=bool(able.seed))
    yield Capped(name=_named(plan, f"{tier}-no-thinking"), of=tier, cap=None, repeats=bool(able.seed))


def _named(plan: Plan, name: str) -> str:
    """The name of a new tier.

    Raises:
        SpecError: the config file has it.
    """
    if name in plan.file.tiers or name in plan.file.routes:
        raise SpecError(
            f"the config file has a tier or route {name!r}, and a tier that thinks less gets this name; rename it",
            field="--caps",
        )
    return name


def _rounded(tokens: float) -> int:
    """Up to two significant digits."""
    digit = 10 ** max(0, len(str(int(tokens))) - 2)
    return int(np.ceil(tokens / digit) * digit)


def _said(one: Capped) -> str:
    return "without thinking" if one.cap is None else f"with {one.cap} thinking tokens"


def _entry(text: str, one: Capped) -> dict[str, Any]:
    """As the config file has it: the tier, asked once."""
    tier = dict(yaml.safe_load(text)["tiers"][one.of])
    less = {"thinking": False} if one.cap is None else {"thinking_tokens": one.cap}
    sampling = {name: value for name, value in (tier.get("sampling") or {}).items() if name != "thinking_tokens"}
    return {**tier, "policy": "single", "sampling": {**sampling, **less}}


def _text(record: TrialRecord) -> tuple[str, str]:
    return "" if record.draw is None else record.draw.reasoning, record.answer


# ── draws that hold ─────────────────────────────────────────────────────
def taken_over(capped: Iterable[Capped], records: Iterable[TrialRecord]) -> Iterator[TrialRecord]:
    """The draws that ended their thinking within a cap, as draws of the capped tiers."""
    tiers: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for one in capped:
        if one.cap is not None and one.repeats:
            tiers[one.of].append((one.name, one.cap))
    for record in records:
        tokens = thought(record) if record.is_graded and record.tier in tiers else None
        for name, cap in tiers[record.tier] if tokens is not None else ():
            if tokens is not None and tokens <= cap - GUARD:
                passes = [msgspec.structs.replace(one, tier=name) for one in record.passes or ()]
                yield msgspec.structs.replace(record, tier=name, mode="both", taken="tier", passes=passes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the draws of the capped tiers show."""

    stale: Mapping[str, str]
    """Why draws that were taken over do not hold, by tier."""
    notes: tuple[str, ...]
    """What a reader should know of the other tiers."""


def checked(capped: Iterable[Capped], records: Sequence[TrialRecord]) -> Checked:
    """Whether draws that were asked again are those of the tiers that think freely, as far as the cap.

    Args:
        capped: the tiers.
        records: of them, and of the tiers that they are made of.
    """
    of = {(one.tier, one.task, one.repeat): one for one in records if one.is_graded}
    stale, notes = {}, []
    for one in capped:
        drawn = [record for record in records if record.tier == one.name and record.is_graded]
        again = [record for record in drawn if record.taken != "tier"]
        if one.cap is None:
            if sum(bool(record.draw and record.draw.reasoning) for record in again) > _LEAST_THINKING * len(again):
                notes.append(f"tier {one.name!r} thinks all the same: its engine has no switch for it")
            continue
        most, least = _SLACK * one.cap + _SLACK_TOKENS, one.cap - 2 * GUARD
        short = 0
        for record in again:
            free, tokens = of.get((one.of, record.task, record.repeat)), thought(record)
            is_same = free is not None and _text(free) == _text(record)
            short += not is_same and tokens is not None and tokens < least
        long = sum((thought(record) or 0) > most for record in again)
        if len(again) < len(drawn) and short:
            stale[one.name] = (
                f"{short} of {len(again)} draws that were asked again ended their thinking before the cap, so a seed "
                "does not repeat a draw here"
            )
        if long:
            notes.append(f"tier {one.name!r} does not keep its cap: {long} of {len(again)} draws thought longer")
    return Checked(stale=stale, notes=tuple(notes))
