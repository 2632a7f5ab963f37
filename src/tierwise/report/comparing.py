"""A comparison of two runs, and a leaderboard of many, as text and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.report.grid import Grid, escaped
from tierwise.report.numbers import NO_CHECK, UNKNOWN, dollars, interval, percent, points, seconds, value
from tierwise.stats.estimand import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tierwise.analysis.compare import Comparison
    from tierwise.analysis.leaderboard import Leaderboard
    from tierwise.stats.estimand import Population
    from tierwise.stats.estimates import Estimate
    from tierwise.stats.paired_effects import Change, Spend

FLIPS_SHOWN = 10


def changes(found: Comparison) -> Grid:
    """One row for each metric: both values, the change, and its 95 % interval."""
    rows = [_quality(found)]
    if found.seconds is not None:
        rows.append(_spend("seconds", found.seconds, seconds))
        rows += [
            (f"{name} seconds", "", "", value(estimate, _signed(seconds)), _interval(estimate, _signed(seconds)))
            for name, estimate in (("p50", found.p50), ("p95", found.p95))
            if estimate is not None
        ]
        rows += _ratio("seconds, ratio", found.seconds)
    if found.first_output is not None:
        rows.append(_spend("first output", found.first_output, seconds))
        rows += _ratio("first output, ratio", found.first_output)
    if found.dollars is not None:
        rows.append(_spend("dollars", found.dollars, dollars))
        rows += _ratio("dollars, ratio", found.dollars)
    return Grid(("per action", found.base, found.other, "change", "95 % interval"), tuple(rows))


def _quality(found: Comparison) -> tuple[str, ...]:
    if found.quality is None or found.base_quality is None or found.other_quality is None:
        return ("solved", NO_CHECK, NO_CHECK, UNKNOWN, UNKNOWN)
    shown = found.quality.shown
    return (
        "solved",
        percent(found.base_quality.value),
        percent(found.other_quality.value),
        f"{points(shown.value)} points",
        interval(shown, points),
    )


def _spend(name: str, spend: Spend, write: Callable[[float], str]) -> tuple[str, ...]:
    shown = spend.difference.shown
    signed = _signed(write)
    return (f"{name}, mean", write(spend.base), write(spend.other), signed(shown.value), interval(shown, signed))


def _ratio(name: str, spend: Spend) -> Iterable[tuple[str, ...]]:
    if spend.ratio is not None:
        yield (name, "", "", times(spend.ratio.value), interval(spend.ratio, times))


def times(ratio: float) -> str:
    return f"× {ratio:.3g}"


def _signed(write: Callable[[float], str]) -> Callable[[float], str]:
    return lambda number: f"+{write(number)}" if number > 0 else write(number)


def _interval(estimate: Estimate, write: Callable[[float], str]) -> str:
    return interval(estimate, write)


def verdict(found: Comparison) -> str:
    """The result in one line: quality, latency and cost."""
    words = [f"quality: {found.verdict}"]
    if found.quality is not None:
        shown = found.quality.shown
        test = "clustered t test," if found.is_grouped else "exact McNemar"
        words[0] += f" ({points(shown.value)} points {interval(shown, points)}, {test} p = {found.p_value:.2g})"
    for name, spend, up, down in (
        ("latency", found.seconds, "slower", "faster"),
        ("cost", found.dollars, "more expensive", "cheaper"),
    ):
        if spend is None:
            words.append(f"{name}: unknown")
        else:
            words.append(f"{name}: {_direction(spend.difference, up, down)}")
    return "; ".join(words)


def _direction(change: Change, up: str, down: str) -> str:
    if change.shown.interval is None:
        return "the same" if change.shown.value == 0 else up if change.shown.value > 0 else down
    return {"up": up, "down": down, "": "no difference shown"}[change.direction]


def notes(found: Comparison) -> Iterable[str]:
    """Denominators, exclusions, and the population that the intervals describe."""
    pairs = found.both + found.only_base + found.only_other + found.neither
    if pairs:
        yield (
            f"{pairs} tasks were graded in both, of {found.planned} planned: both solved {found.both}, only the first "
            f"{found.only_base}, only the second {found.only_other}, neither {found.neither}."
        )
    if found.unchecked:
        of = "" if pairs else f", of {found.planned} planned"
        yield (
            f"{found.unchecked} answers have no check in one of the two{of}: nothing says whether they are right. They "
            "are in no figure of quality, and in those of seconds and dollars."
        )
    if found.not_run_base or found.not_run_other:
        yield (
            f"Not run: {found.not_run_base} in the first, {found.not_run_other} in the second; "
            "they are in no figure above."
        )
    if found.errors_base or found.errors_other:
        failed = found.quality_errors_failed
        counted = (
            "" if failed is None else f"; counted as failures: {points(failed.value)} points {interval(failed, points)}"
        )
        yield (
            f"Infrastructure errors: {found.errors_base} in the first, {found.errors_other} in the second. They are "
            f"left out above{counted}."
        )
    if found.first_output is not None and found.without_first_output:
        yield f"When the first output came is not known for {found.without_first_output} pairs that have seconds."
    if found.dollars is not None and found.unreported:
        yield f"The costs of {found.unreported} pairs are unknown; they are left out of the costs above."
    yield from agents(found.agents)
    yield from changed_tasks(found.changed)
    yield population(found.population, found.clusters)
    if found.quality is not None and found.quality.clusters is not None:
        alone = found.quality.tasks
        yield f"For new tasks of the same clusters, the interval of quality would be {interval(alone, points)}."


def population(described: Population, clusters: int | None) -> str:
    """The population that the intervals describe."""
    text = f"Every interval has 95 % confidence and {SENTENCES[described]}"
    if described == "clusters":
        few = ", few enough that their spread is itself uncertain" if clusters is not None and clusters < 40 else ""
        count = "" if clusters is None else f" ({clusters} of them{few})"
        return f"{text}{count}; those of p50 and p95 describe new tasks."
    return f"{text}. On the answers that were recorded, the change is exact."


def agents(differ: tuple[str, str] | None) -> Iterable[str]:
    """That the agents of two runs differ: an agent is part of the mode that a score is measured in."""
    if differ is not None:
        yield (
            f"The agents differ: {differ[0]} in the first, {differ[1]} in the second. A difference may be theirs, and "
            "not the tiers'."
        )


def changed_tasks(changed: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """The tasks that differ between the runs, as intended."""
    if changed:
        named = ", ".join(f"{task} ({', '.join(parts)})" for task, parts in changed.items())
        yield f"Different in the two runs, as --changed-task says: {named}."


def flips(gained: Sequence[str], lost: Sequence[str], most: int | None = FLIPS_SHOWN) -> Iterable[str]:
    """The tasks whose outcome changed, by name: at most `most` of each kind; all if None."""
    for head, names in (("gained", gained), ("lost", lost)):
        if names:
            more = f", … {len(names) - most} more" if most is not None and len(names) > most else ""
            yield f"{head} ({len(names)}): {', '.join(names[:most])}{more}"


def as_markdown(found: Comparison) -> str:
    """The comparison as Markdown, for a pull request."""
    lines = [f"**{escaped(verdict(found))}**", "", changes(found).as_markdown(), ""]
    lines += [escaped(note) + "  " for note in notes(found)]
    changed = [f"- {escaped(line)}" for line in flips(found.gained, found.lost, None)]
    if changed:
        lines += ["", "<details><summary>Tasks whose outcome changed</summary>", "", *changed, "", "</details>"]
    return "\n".join(lines) + "\n"


def scores(found: Leaderboard) -> Grid:
    """Each run's score with its naive and its clustered standard error."""
    of = "" if found.size is None else f" of {found.size}"
    rows = []
    for one in found.scores:
        bounds = "" if one.interval is None else f"[{one.interval.low:.3f}, {one.interval.high:.3f}]"
        rows.append(
            (
                one.name,
                f"{one.n} of {one.n + one.errors}" if one.errors else str(one.n),
                str(one.errors),
                f"-{one.absent}" if one.absent else f"+{one.beyond}" if one.beyond else "0",
                f"{one.score:.3f}",
                UNKNOWN if one.score_of_suite is None else f"{one.score_of_suite:.3f}",
                f"{one.naive:.4f}",
                UNKNOWN if one.clustered is None else f"{one.clustered:.4f}",
                UNKNOWN if one.ratio is None else f"{one.ratio:.1f}",
                bounds,
            )
        )
    titles = (
        "run",
        "n",
        "errors",
        f"n{' -' if of else ''}{of.removeprefix(' of')}",
        "score",
        f"absent, error = fail{of}",
    )
    return Grid((*titles, "naive SE", "clustered SE", "ratio", "95 %, new clusters"), tuple(rows))


def paired_tests(found: Leaderboard) -> Grid:
    """Each pair of runs on the tasks that both completed; differences and errors in percentage points."""
    rows = [
        (
            f"{test.first} - {test.second}",
            str(test.n),
            str(test.only_one),
            f"{100 * test.difference:+.1f}",
            f"{100 * test.unpaired:.2f}",
            f"{100 * test.paired:.2f}",
            UNKNOWN if test.clustered is None else f"{100 * test.clustered:.2f}",
            f"{test.p_unpaired:.2g}",
            f"{test.p_mcnemar:.2g}",
            UNKNOWN if test.p_clustered is None else f"{test.p_clustered:.2g}",
        )
        for test in found.paired_tests
    ]
    titles = ("pair", "n", "in one only", "points", "SE unpaired", "SE paired", "SE clustered")
    return Grid((*titles, "p unpaired", "p McNemar", "p clustered"), tuple(rows))


def leaderboard_notes(found: Leaderboard) -> Iterable[str]:
    """Notes on the two tables."""
    few = sorted({one.clusters for one in found.scores if one.clusters})
    if few:
        yield (
            f"Clustered errors are for new clusters ({found.suite}: repositories, {'-'.join(map(str, few))} of them, "
            "so these errors are uncertain too); naive and paired errors are for new tasks of the same repositories."
        )
    uneven = {one.n for one in found.scores}
    if len(uneven) > 1:
        yield (
            f"The runs completed different tasks ({min(uneven)} to {max(uneven)}), so their scores are not directly "
            "comparable. Pairs are compared on the tasks that both completed."
        )
    if found.paired_tests:
        counts = found.significant
        yield (
            f"Of {len(found.paired_tests)} pairs, p < 0.05: unpaired {counts['unpaired']}, "
            f"McNemar {counts['mcnemar']}, clustered {counts['clustered']}."
        )
