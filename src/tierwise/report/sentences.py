"""The results of a run in sentences, for the terminal and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from tierwise.analysis.duty import DUTIES
from tierwise.report.numbers import dollars, interval, p_value, percent, points, rate, seconds, unit_for
from tierwise.runs.records import TierVariant, TrialOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tierwise.analysis.agents import AgentRow
    from tierwise.analysis.contrasts import Contrast, Gain
    from tierwise.analysis.rows import ResultRow, Times
    from tierwise.analysis.selection import PassLine, Selection
    from tierwise.analysis.summary import RunSummary
    from tierwise.runs.directory import Manifest, RunSettings
    from tierwise.runs.records import Mode, TrialRecord
    from tierwise.stats.estimates import Estimate

LEAST = {"p50": 6, "p95": 72, "p99": 368}
"""The smallest number of independent tasks for which a quantile has an interval."""

SURE = 0.95

HELP = {"better": "the extra passes help", "worse": "the extra passes hurt"}
UNSHOWN = "the extra passes are not shown to help"

OUTCOMES = {outcome: outcome.value.replace("_", " ") for outcome in TrialOutcome}


def duties(summary: RunSummary) -> Iterator[str]:
    """What idle hours cost, for each row on machines that are paid by the hour."""
    for row in summary.duties:
        said = [
            f"{dollars(of.value)} {interval(of, dollars)} at {percent(duty)} duty"
            for duty, of in zip(DUTIES, row.per_solved, strict=True)
            if of is not None
        ]
        if said:
            name = TierVariant(tier=row.tier, mode=row.mode).name
            yield f"{name}, dollars per solved action: {', '.join(said)}"


def population(summary: RunSummary) -> str:
    """The population that the intervals describe."""
    who = (
        f"new clusters like these {summary.clusters}, drawn independently, with their tasks"
        if summary.population == "clusters"
        else f"tasks like these {summary.tasks}, drawn independently of each other"
    )
    again = (
        f"; each was asked {summary.repeats} times, and its repeats count as one task" if summary.repeats > 1 else ""
    )
    weighted = " Shares, means and percentiles are weighted by the tasks' weights; counts are not."
    return (
        f"Intervals have 95 % confidence and describe {who}{again}, on a machine and at a load like this run's. "
        f"They do not describe other kinds of tasks.{weighted if summary.is_weighted else ''}"
    )


def headlines(summary: RunSummary) -> Iterable[str]:
    """The results in a few sentences, the most important first."""
    measured = [(row, row.quality) for row in summary.rows if row.quality is not None]
    if not measured:
        return
    best, quality = max(measured, key=lambda one: one[1].value)
    cost = "" if best.dollars is None else f", at {dollars(best.dollars.value)} per {summary.unit}"
    yield f"Most solved: {name(best)} with {percent(quality.value)} {interval(quality, percent)}{cost}."
    surely = [name(row) for row in summary.rows if row.on_frontier is not None and row.on_frontier >= SURE]
    beaten = [name(row) for row in summary.rows if row.on_frontier is not None and row.on_frontier <= 1 - SURE]
    if surely:
        yield f"On the frontier of quality, median seconds and dollars with 95 % or more: {', '.join(surely)}."
    if beaten:
        yield f"Dominated by another row, with 95 % or more: {', '.join(beaten)}."
    for found in summary.gains:
        yield _in_short(found)
    for drawn in summary.selections:
        yield f"{drawn.tier}: {_lower(pass_gain(drawn.lines[-1]))}; its selection misses {_missed(drawn)}."
    if summary.oracle is not None:
        solved = summary.oracle.solved
        yield (
            "A perfect choice among everything that was drawn would solve "
            f"{percent(solved.value)} {interval(solved, percent)}."
        )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _missed(found: Selection) -> str:
    missed = 100 * found.missed.value
    return f"{missed:.1f} points that its candidates solved" if missed else "nothing that its candidates solved"


def _in_short(found: Gain) -> str:
    quality = found.contrast.quality
    text = f"{found.tier}: {HELP.get(found.verdict, UNSHOWN)} ({points(quality.value)} points"
    text += f" {interval(quality, points)}" if quality.interval is not None else ""
    if found.dollars is not None:
        text += f" for {_change(found.dollars, dollars)} per action"
    return f"{text})."


def gain(found: Gain) -> str:
    """What the extra passes of a tier gained and cost, in one paragraph."""
    table = found.contrast
    text = (
        f"{found.tier}: {HELP.get(found.verdict, UNSHOWN)}. Of {table.pairs} {_pairs(table)}, only max mode solved "
        f"{table.only_row} and only average mode {table.only_base}: {points(table.quality.value)} points "
        f"{interval(table.quality, points)}, p = {p_value(table.adjusted)}."
    )
    if found.dollars is not None:
        text += f" Max costs {_change(found.dollars, dollars)} per action"
        text += "." if found.seconds is None else f" and takes {_change(found.seconds, seconds)}, on average."
    return text


def _pairs(table: Contrast) -> str:
    return "tasks" if table.quality.n == table.pairs else "actions"


def gain_rate(
    estimate: Estimate | None, extra: Estimate | None, unit: Literal["dollars", "seconds"], *, at_most: bool = False
) -> str:
    """`+9.2 points per extra $0.00001 [+5.2, +13.8]`, or the reason why there is no such rate.

    Args:
        estimate: the share solved per extra dollar or second.
        extra: the extra dollars or seconds per action.
        unit: the unit of `extra`.
        at_most: whether average mode was a candidate of max mode, so that the extra seconds are underestimated.
    """
    if estimate is None or estimate.interval is None:
        return f"the extra {unit} are not separated from zero"
    if extra is not None and extra.value < 0:
        return f"max mode takes fewer {unit}, so there is no rate"
    size = unit_for(estimate.value)
    each = dollars(size, digits=1) if unit == "dollars" else seconds(size)
    bounds = interval(estimate, lambda share: rate(share, size))
    text = f"{rate(estimate.value, size)} points per extra {each} {bounds}"
    if not (estimate.interval.low > 0 or (estimate.interval.high is not None and estimate.interval.high < 0)):
        text += ", not separated from zero"
    return f"{text}, and less if average mode had run alone" if at_most else text


def selection(found: Selection) -> str:
    """The coverage of a tier's candidates, and the share that it answered correctly."""
    text = (
        f"{name(found)}: {percent(found.coverage.value)} {interval(found.coverage, percent)} of the actions had a "
        f"correct candidate, and {percent(found.selected.value)} {interval(found.selected, percent)} were answered "
        "correctly"
    )
    return f"{text}: the selection misses {100 * found.missed.value:.1f} points." if found.missed.value else f"{text}."


def pass_gain(line: PassLine) -> str:
    """`Pass 3 added at most +0.4 points for 31 % of the cost`; the bound is reached under perfect selection."""
    share = "" if line.share is None else f" for {percent(line.share)} of the cost"
    return f"Pass {line.k} added at most {points(line.found.value)} points{share}"


def outcomes(row: Sequence[TrialRecord]) -> str:
    """The outcome of one task in one row, or the number of correct repeats."""
    if len(row) == 1:
        return OUTCOMES[row[0].outcome]
    return f"correct {sum(record.is_solved for record in row)} of {len(row)} times"


def agent(found: AgentRow) -> str:
    """What an agent did with a tier: turns, the time and price of an action, escalations, limits."""
    parts = []
    if found.turns is not None:
        parts.append(f"{found.turns.value:.1f} turns per task {interval(found.turns, '{:.1f}'.format)}".rstrip())
    for title, of in (("p50", found.action.p50), ("p95", found.action.p95)):
        if of is not None:
            parts.append(f"{title} of an action {seconds(of.value)} {interval(of, seconds)}".rstrip())
    if found.dollars is not None:
        parts.append(f"{dollars(found.dollars.value)} per action {interval(found.dollars, dollars)}".rstrip())
    if found.escalations is not None and found.escalations.value:
        parts.append(f"{found.escalations.value:.1f} escalations per task")
    if len(found.tiers) > 1:
        parts.append("answered by " + ", ".join(f"{tier or 'none'} {count}" for tier, count in found.tiers.items()))
    if found.timed_out:
        parts.append(f"{found.timed_out} of {found.tasks} tasks ended at the time limit")
    if found.estimated:
        parts.append(f"tokens of {found.estimated} of {found.actions} actions are estimates")
    return f"{name(found)}, agent: {', '.join(parts)}."


def left_out(row: ResultRow) -> str:
    """The actions that are not in a row's share of solved ones: errors, and those that were not run."""
    counts = row.counts
    errors = f"{counts.errors} error{'s' if counts.errors > 1 else ''}, not in the share" if counts.errors else ""
    return "; ".join(part for part in (errors, f"{counts.not_run} not run" if counts.not_run else "") if part)


def cut(record: TrialRecord) -> str:
    """Whether an answer ended at its token limit."""
    return " The answer was cut at max_tokens." if record.has_answer and record.finish == "length" else ""


def candidate_verdicts(record: TrialRecord) -> str:
    """How many of an unsolved action's candidates were correct; empty where none was graded."""
    verdicts = [one.solved for one in record.passes or () if one.solved is not None]
    return f" {sum(verdicts)} of {len(verdicts)} candidates were correct." if verdicts and not record.is_solved else ""


def origin(row: ResultRow) -> str:
    """Whether a row's actions were requested, or taken from max mode's candidates."""
    if not row.from_candidate:
        return "each requested separately"
    return f"{row.from_candidate} of {row.counts.measured} are the first candidate of max mode"


def judging(row: ResultRow) -> str:
    """The number and cost of judge actions for a row."""
    cost = "at an unreported cost" if row.judge_dollars is None else f"for {dollars(row.judge_dollars)}"
    return f"Judging {name(row)} took {row.judged} actions {cost}, which is in no figure above."


def arrival(settings: RunSettings) -> str:
    """How actions arrived, and when their seconds begin."""
    if settings.arrival == "closed":
        return f"{settings.concurrency} actions at a time, each started when an earlier one ended"
    return (
        f"actions arrived at the times given by {settings.arrival}, whether or not earlier ones had ended, and their "
        "seconds count from the intended start"
    )


def outages(manifest: Manifest) -> str:
    """How long the endpoint was gone, and what that changed; empty if it was always there."""
    lost = sum(session.outages for session in manifest.sessions)
    if not lost:
        return ""
    after = "" if manifest.settings.arrival == "closed" else ", and later actions arrived that much later"
    return (
        f"The endpoint was gone for {seconds(lost)}. Interrupted actions were repeated, and timed from then on{after}."
    )


def too_few(times: Times, q: Literal["p50", "p95", "p99"]) -> str:
    """Why a quantile is not shown."""
    return f"needs {LEAST[q]} tasks" if times.n else ""


def _change(difference: Estimate, write: Callable[[float], str]) -> str:
    """`$0.01 more [$0.00, $0.02]`."""
    size = f"{write(abs(difference.value))} {'more' if difference.value >= 0 else 'less'}"
    return size if difference.interval is None else f"{size} {interval(difference, write)}"


def warnings(summary: RunSummary) -> Iterable[str]:
    """What limits the validity of the results."""
    for refused in summary.refusals:
        yield f"Not a result. {refused}"
    if summary.is_partial:
        missing = sum(row.counts.not_run for row in summary.rows)
        planned = summary.tasks * summary.repeats * len(summary.rows)
        yield f"Partial: {missing} of {planned} actions were not run. Rows may have different tasks."
    if summary.errors:
        errors = sum(summary.errors.values())
        verdict = "too many to trust the result" if summary.has_too_many_errors else "left out of the quality"
        yield (
            f"{errors} infrastructure error{'s' if errors > 1 else ''}, {percent(summary.error_share)} of the actions: "
            f"{verdict}. Most common: {next(iter(summary.errors))}"
        )
    if cut := [f"{name(row)} {row.cut}" for row in summary.rows if row.cut]:
        yield f"Answers cut at a token limit: {', '.join(cut)}."
    if lost := [f"{name(row)} {row.counts.lost_to_thinking}" for row in summary.rows if row.counts.lost_to_thinking]:
        yield f"Answers lost to thinking, which count as unsolved: {', '.join(lost)}."
    if unlabelled := [f"{name(row)} {row.counts.unlabelled}" for row in summary.rows if row.counts.unlabelled]:
        yield f"Answers to tasks without a check, which are in no share of solved ones: {', '.join(unlabelled)}."
    if unreported := [f"{name(row)} {row.unreported}" for row in summary.rows if row.unreported]:
        yield f"Actions without a reported cost, which are in no cost here: {', '.join(unreported)}."
    if unknown := [f"{name(one)} {one.unknown}" for one in summary.selections if one.unknown]:
        yield f"Actions with ungraded candidates, which are in no coverage here: {', '.join(unknown)}."
    if not summary.has_prices and all(row.dollars is None or row.dollars.value == 0 for row in summary.rows):
        yield "No deployment has a price in the config file, so all costs are zero."


class Named(Protocol):
    """Anything that belongs to one tier in one mode."""

    @property
    def tier(self) -> str: ...
    @property
    def mode(self) -> Mode: ...


def name(one: Named) -> str:
    """The name of a row: `fast`, `max · average`."""
    return TierVariant(tier=one.tier, mode=one.mode).name


def mode(row: ResultRow) -> str:
    """The mode of a row, with its number of passes."""
    match row.mode:
        case "average":
            return "average: 1 pass"
        case "max":
            return f"max: ≤ {row.most_passes} passes"
        case "both":
            return "always 1 pass"
