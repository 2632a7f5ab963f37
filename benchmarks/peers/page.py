"""The tables of a comparison, and the page docs/peers.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from peers.calls import FIELDS, Figures
from peers.goals import Goal
from peers.graded import Graded, Interval, accuracy, at_equal_tokens, best_of, per_thousand, ratio_per_token, resampled
from peers.systems import OURS

NAMES = {
    "single": "one pass",
    "majority_of_5": "majority of 5",
    "best_of_3": "best of 3",
    "refine": "refine",
    "cascade": "cascade",
}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def goals_table(goals: Sequence[Goal]) -> str:
    header = ("goal", "limit", OURS, "best other system", "others ÷ ours", "met")
    rows = [
        (
            goal.name,
            goal.limit,
            goal.ours,
            goal.best_other,
            goal.ratio,
            "yes" if goal.is_met else f"no: {goal.why}" if goal.why else "no",
        )
        for goal in goals
    ]
    return markdown(header, rows)


def scripted_table(figures: Sequence[Figures]) -> str:
    header = (
        "policy",
        "system",
        "calls",
        "at once",
        "seconds",
        "prompt tokens sent, × the prompt",
        "usage error, of true tokens",
        "error in a stream",
        f"fields kept, of {len(FIELDS)}",
        "calls 100 ms after a hang-up, of those that ran",
        "first text of a stream, of its seconds",
    )
    return markdown(header, [_scripted_row(one) for one in sorted(figures, key=lambda one: _place(one.policy))])


def _place(policy: str) -> int:
    return list(NAMES).index(policy)


def _scripted_row(one: Figures) -> tuple[str, ...]:
    name = f"**{OURS}**" if one.system == OURS else f"{one.system} {one.way}"
    if not one.seconds:
        return (NAMES[one.policy], name, f"failed: {one.failure}", *[""] * 8)
    hung = one.hang_ups
    return (
        NAMES[one.policy],
        name,
        f"{statistics.median(one.calls):g}",
        str(max(one.peaks)),
        f"{statistics.median(one.seconds):.3f}",
        f"{statistics.median(one.prompts):.2f}",
        f"{max(one.errors)} of {max(one.true)}",
        str(max(one.stream_errors)) if one.stream_errors else "no streams",
        f"refused: {one.field_failure[:60]}" if one.field_failure else str(len(one.kept or ())),
        f"{sum(at.running for at in hung)} of {sum(at.begun for at in hung)}",
        f"{statistics.median(one.first_words):.3f} of {statistics.median(one.streams):.3f}" if one.streams else "",
    )


def lost_fields(figures: Sequence[Figures]) -> str:
    """Which fields each way lost."""
    lines = []
    for one in figures:
        lost = [name for name in FIELDS if name not in (one.kept or ())]
        if lost and one.kept is not None and not one.field_failure:
            lines.append(f"- {one.system}, {one.way}: {', '.join(lost)}")
    return "\n".join(lines) or "- none"


def graded_tables(ways: Sequence[Graded]) -> str:
    """What every way solved, and our accuracy at the tokens of the others."""
    weights = resampled(len(ways[0].solved))
    ours = [way for way in ways if way.system == OURS]
    one_prompt = next((way for way in ours if way.policy == "single"), ways[0])
    prompts = sum(map(sum, one_prompt.sent))
    rows = [
        (
            NAMES[way.policy],
            f"**{OURS}**" if way.system == OURS else f"{way.system} {way.way}",
            _percent(accuracy(way, weights)),
            f"{sum(map(sum, way.sent)) / prompts:.2f}",
            f"{sum(map(sum, way.processed)) / prompts:.2f}",
            f"{way.tokens.sum() / way.trials:.0f}",
            f"{sum(map(sum, way.told))} of {sum(map(sum, way.predicted))}",
            _shown(per_thousand(way, weights), ".2f"),
            f"{statistics.median(second for row in way.seconds for second in row):.1f}",
            str(len(way.failures)),
        )
        for way in sorted(ways, key=lambda way: _place(way.policy))
    ]
    header = (
        "policy",
        "system",
        "correct",
        "prompt tokens sent, × one pass",
        "recomputed, × one pass",
        "computed tokens per request",
        "completion tokens reported, of the engine's",
        "correct per 1,000 tokens",
        "median seconds",
        "failed requests",
    )
    number, trials = len(ways[0].solved), ways[0].trials
    tables = [f"{number} tasks, {trials} requests for each row:", markdown(header, rows)]
    if ours and len(ours) < len(ways):
        tables.append(_equal(ways, ours, weights))
    return "\n\n".join(tables)


def _equal(ways: Sequence[Graded], ours: Sequence[Graded], weights: NDArray[np.int64]) -> str:
    rows = []
    for way in ways:
        if way.system == OURS:
            continue
        mine, more = at_equal_tokens(ours, way, weights)
        same = next((own for own in ours if own.policy == way.policy), best_of(ours, weights))
        rows.append(
            (
                f"{way.system} {way.way}",
                f"{way.tokens.sum() / way.trials:.0f}",
                _percent(accuracy(way, weights)),
                _percent(mine),
                f"{100 * more.value:+.0f} [{100 * more.low:+.0f}, {100 * more.high:+.0f}]",
                _shown(ratio_per_token(same, way, weights), ".2f"),
                NAMES[same.policy],
            )
        )
    header = (
        "other system",
        "its tokens per request",
        "its correct",
        f"{OURS} at those tokens",
        "difference in points",
        "correct per token, ours ÷ its",
        "with our",
    )
    return markdown(header, rows)


def _percent(of: Interval) -> str:
    return f"{100 * of.value:.0f} % [{100 * of.low:.0f}, {100 * of.high:.0f}]"


def _shown(of: Interval, form: str) -> str:
    return f"{of.value:{form}} [{of.low:{form}}, {of.high:{form}}]"
