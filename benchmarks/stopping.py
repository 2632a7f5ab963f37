"""Share of votes and points lost of every stopping rule, beside the majority of 16, on simulated tasks.

    python benchmarks/stopping.py [--tasks 20000] [--json FILE] [--plot FILE] [--write]

A task has one right and four wrong answers. Its share of right draws is Beta-distributed around the workload's mean,
with a + b = 1.5, and the wrong draws are shared out by a uniform Dirichlet distribution. Confidences are drawn
independently of each other, with a stated AUROC within questions, and calibrated. The rules are those of the product;
their decisions are looked up once per distinct state. A sample is repeated with the policy itself.

The reservation value ends the draws of best-of-n. Its scorer gives each draw the probability that it is right, with a
stated AUROC within questions. It is compared with the best of all draws, and with fixed n. `scores` are the quantiles
of another sample of the workload.

`--write` replaces the figures that `tierwise policies` and docs/stopping.md show. The exit code is 1 if a goal is
missed: at most 37, 52 and 63 % of the votes (easy, mixed, hard) within .4 points by votes alone, at most 45 % on mixed
with a confidence of AUROC .6.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy import stats

from tierwise.policies import Majority
from tierwise.stats import clusters
from tierwise.stopping import StopChoice, StoppingRule, VotesSoFar
from tierwise.stopping.confidence import posterior
from tierwise.stopping.curves import Curve, Point, Simulated
from tierwise.stopping.reservation import Reservation, reservation_value
from tierwise.testing import solve

DRAWS, ANSWERS, SPREAD = 16, 5, 1.5
ORDERS = 5
"""Orders of each task's draws that a rule which counts is run on, to make the intervals narrower."""
MEANS = {"easy": 0.80, "mixed": 0.60, "hard": 0.38}
GOALS = {"easy": 0.37, "mixed": 0.52, "hard": 0.63}
WITHIN, WITH_CONFIDENCE = 0.4, 0.45
Ends = Callable[[Any], Any]
"""Given the scores, tasks × draws: after which draws to stop, of the same shape."""

SCORERS = (0.7, 0.85)
"""AUROC within questions."""
COSTS = (0.005, 0.01, 0.02, 0.05)
"""Of a draw, for the reservation value."""
FIXED = (2, 3, 4, 6, 8)
"""Numbers of candidates that the reservation value is compared with."""
QUANTILES = 200
SHORTER = 0.6
"""Length of a wrong answer relative to a right one, where lengths matter."""
DATA = Path(__file__).parents[1] / "src" / "tierwise" / "stopping" / "curves.json"

COUNTING: list[dict[str, dict[str, Any]]] = [
    {"curtailment": {}},
    *({"predictive": {"probability": one}} for one in (0.9, 0.97, 0.98, 0.99, 0.999)),
    *({"beta": {"probability": one}} for one in (0.9, 0.95, 0.99)),
    *({"esc": {"window": one}} for one in (3, 4, 5, 6)),
    {"e_value": {"alpha": 0.05}},
]
CONFIDENT: list[tuple[dict[str, dict[str, Any]], float]] = [
    ({"cges": {"probability": one}}, auroc) for auroc in (0.6, 0.7) for one in (0.95, 0.99)
]


@dataclass(frozen=True)
class Votes:
    """Simulated draws of a workload.

    answers: tasks × draws, 0 is right; seconds: when each finishes; signal: higher where it is rather right.
    """

    answers: Any
    seconds: Any
    signal: Any

    def first(self, rows: int) -> Votes:
        return Votes(self.answers[:rows], self.seconds[:rows], self.signal[:rows])


@dataclass(frozen=True)
class Ended:
    """Per task: the number of draws, and whether the answer is right."""

    draws: Any
    right: Any

    def first(self, rows: int) -> Ended:
        return Ended(self.draws[:rows], self.right[:rows])


def draw(mean: float, tasks: int, seed: int) -> Votes:
    """The draws of each task in `ORDERS` orders, one after the other."""
    rng = np.random.default_rng(seed)
    right = rng.beta(mean * SPREAD, (1 - mean) * SPREAD, (tasks, 1))
    wrong = (1 - right) * rng.dirichlet([1.0] * (ANSWERS - 1), tasks)
    edges = np.concatenate([right, wrong], axis=1).cumsum(axis=1)
    answers = (rng.random((tasks, DRAWS, 1)) > edges[:, None, :]).sum(axis=2).clip(0, ANSWERS - 1)
    answers = np.concatenate([rng.permuted(answers, axis=1) for _ in range(ORDERS)])
    length = rng.lognormal(0.0, 0.5, answers.shape) * np.where(answers == 0, 1.0, SHORTER)
    return Votes(answers, length, rng.normal(size=answers.shape))


def confidences(votes: Votes, auroc: float, base: float | None = None) -> Any:
    """The calibrated probability of each vote: of a normal signal that is higher by d for right answers.

    `base` is the share of right draws of the calibration, by default that of the votes.
    """
    distance = np.sqrt(2) * stats.norm.ppf(auroc)
    is_right = votes.answers == 0
    signal = votes.signal + distance * is_right
    share = is_right.mean() if base is None else base
    odds = share / (1 - share) * np.exp(distance * signal - distance**2 / 2)
    return odds / (1 + odds)


def rule_of(choice: dict[str, dict[str, Any]]) -> StoppingRule:
    return msgspec.convert(choice, StopChoice).member


def counted(votes: Any, rule: StoppingRule) -> Ended:
    """A rule that counts, on all tasks at once: each distinct state of the counts is decided once."""
    tasks = np.arange(len(votes))
    counts = np.zeros((len(votes), ANSWERS), dtype=np.int64)
    firsts = np.full((len(votes), ANSWERS), DRAWS)
    drawn, answer, is_open = np.full(len(votes), DRAWS), np.zeros(len(votes), dtype=np.int64), np.ones(len(votes), bool)
    alike = np.zeros(len(votes), dtype=np.int64)
    for place in range(DRAWS):
        cast = votes[:, place]
        counts[tasks, cast] += 1
        firsts[tasks, cast] = np.minimum(firsts[tasks, cast], place)
        alike = np.where(cast == votes[:, place - 1], alike, 0) + 1 if place else np.ones_like(alike)
        leader = (counts * (DRAWS + 1) - firsts).argmax(axis=1)
        left = DRAWS - place - 1
        ends = _settled(counts, firsts, leader, left) | _decided(counts, alike, rule, left)
        now = is_open & ends
        drawn[now], answer[now] = place + 1, leader[now]
        is_open &= ~ends
    return Ended(drawn, answer == 0)


def _settled(counts: Any, firsts: Any, leader: Any, left: int) -> Any:
    """Curtailment in draw order: a newcomer is drawn later than the leader."""
    tasks = np.arange(len(counts))
    gap = counts[tasks, leader][:, None] - counts - left
    catches_up = (gap < 0) | ((gap == 0) & (firsts < firsts[tasks, leader][:, None]))
    catches_up[tasks, leader] = False
    return ~catches_up.any(axis=1) & (counts[tasks, leader] >= left)


def _decided(counts: Any, alike: Any, rule: StoppingRule, left: int) -> Any:
    """The rule's decisions. The last votes are a run of the leader's, as long as the run is; ESC looks at no more."""
    if rule.is_lossless:
        return np.zeros(len(counts), dtype=bool)  # the order matters for it, and `_settled` is it
    ordered_counts = np.concatenate([-np.sort(-counts, axis=1), alike[:, None]], axis=1)
    powers = (DRAWS + 1) ** np.arange(ANSWERS + 1)
    _, example, which = np.unique(ordered_counts @ powers, return_index=True, return_inverse=True)
    found = []
    for *ordered, run in ordered_counts[example].tolist():
        name = next(number for number, count in enumerate(ordered) if count >= run)
        rest = [other for other, count in enumerate(ordered) for _ in range(count - run * (other == name))]
        last = next((other for other in reversed(rest) if other != name), None)
        if last is not None:
            rest.remove(last)
            rest.append(last)
        found.append(rule.stops(VotesSoFar(tuple(map(str, rest + [name] * run)), left)))
    return np.array(found)[which.ravel()]


def one_by_one(votes: Votes, rule: StoppingRule, auroc: float) -> Ended:
    """A rule that weighs, task by task; the answer is the one of the highest posterior."""
    drawn, right = [], []
    sure = confidences(votes, auroc)
    for answers, confidence in zip(votes.answers.astype(str).tolist(), sure.tolist(), strict=True):
        seen = next(
            (
                n
                for n in range(1, DRAWS)
                if rule.stops(VotesSoFar(tuple(answers[:n]), DRAWS - n, tuple(confidence[:n])))
            ),
            DRAWS,
        )
        found = posterior(answers[:seen], confidence[:seen])
        drawn.append(seen)
        right.append(max(found, key=found.__getitem__) == "0")
    return Ended(np.array(drawn), np.array(right))


@dataclass(frozen=True)
class Scored:
    """Draws of every workload with the scores of one scorer, which is calibrated on another sample of the workload."""

    auroc: float
    tasks: int
    drawn: dict[str, Votes]
    base: dict[str, float]
    """Share of right draws in the other sample."""

    def ended(self, name: str, votes: Votes, ends: Ends) -> Ended:
        """The best by score of the draws until the first after which `ends` says to stop."""
        scores = confidences(votes, self.auroc, self.base[name])
        stopped = ends(scores)
        stopped[:, -1] = True
        drawn = stopped.argmax(axis=1) + 1
        seen = np.where(np.arange(DRAWS)[None, :] < drawn[:, None], scores, -1.0)
        return Ended(drawn, votes.answers[np.arange(len(drawn)), seen.argmax(axis=1)] == 0)

    def curve(self, choice: dict[str, dict[str, Any]], rules: dict[str, Ends], *, orders: int = ORDERS) -> Curve:
        on = {}
        for name, votes in self.drawn.items():
            some = votes.first(orders * self.tasks)
            on[name] = point(self.ended(name, some, rules[name]), self.ended(name, some, fixed(DRAWS)), self.tasks)
        return curve(choice, on, self.auroc)


def by_score(drawn: dict[str, Votes], tasks: int) -> list[Curve]:
    """Best of n by a scorer: fixed numbers of candidates, and the reservation value with and without `scores`."""
    others = {name: draw(mean, tasks, seed) for seed, (name, mean) in enumerate(MEANS.items(), 50)}
    base = {name: float((votes.answers == 0).mean()) for name, votes in others.items()}
    found: list[Curve] = []
    for auroc in SCORERS:
        on = Scored(auroc, tasks, drawn, base)
        scores = {name: quantiles(confidences(votes, auroc, base[name])) for name, votes in others.items()}
        found += [on.curve({"best_of": {"n": n}}, dict.fromkeys(drawn, fixed(n))) for n in FIXED]
        for cost in COSTS:
            rules = {name: reserved(Reservation(cost=cost, scores=scores[name])) for name in drawn}
            found.append(on.curve({"reservation": {"cost": cost}}, rules))
        alone = dict.fromkeys(drawn, reserved(Reservation(cost=COSTS[-1])))
        one = on.curve({"reservation": {"cost": COSTS[-1]}}, alone, orders=1)
        found.append(msgspec.structs.replace(one, without_scores=True))
    return found


def reserved(rule: Reservation) -> Ends:
    """Where the rule stops. With the scores of earlier draws, its value is the same on every task."""

    def ends(scores: Any) -> Any:
        if rule.scores:
            return np.maximum.accumulate(scores, axis=1) >= reservation_value(rule.scores, rule.cost)
        return np.array([[rule.stops(row[: n + 1]) for n in range(DRAWS)] for row in scores.tolist()])

    return ends


def fixed(n: int) -> Ends:
    return lambda scores: np.broadcast_to(np.arange(1, DRAWS + 1) >= n, scores.shape).copy()


def quantiles(scores: Any) -> tuple[float, ...]:
    return tuple(np.quantile(scores, (np.arange(QUANTILES) + 0.5) / QUANTILES).tolist())


def point(ended: Ended, whole: Ended, tasks: int) -> Point:
    """The votes that a rule drew, and its points against the whole vote. The orders of a task are one observation."""
    stopped, all_drawn = (one.right.astype(float).reshape(-1, tasks).sum(axis=0).tolist() for one in (ended, whole))
    orders = len(ended.right) / tasks
    found = clusters.difference(stopped, all_drawn, [orders] * tasks, "tasks")
    assert found is not None, "there are tasks"
    assert found.interval is not None, "there are several"
    assert found.interval.high is not None, "a share is bounded"
    return Point(
        votes=round(float(ended.draws.mean() / DRAWS), 4),
        points=round(100 * found.value, 3),
        low=round(100 * found.interval.low, 3),
        high=round(100 * found.interval.high, 3),
    )


def curve(
    choice: dict[str, dict[str, Any]], on: dict[str, Point], auroc: float | None = None, order: str = "draw"
) -> Curve:
    ((name, settings),) = choice.items()
    return Curve(
        rule=name, settings={key: float(value) for key, value in settings.items()}, auroc=auroc, order=order, on=on
    )


def simulate(tasks: int) -> Simulated:
    drawn = {name: draw(mean, tasks, seed) for seed, (name, mean) in enumerate(MEANS.items())}
    whole = {name: counted(votes.answers, rule_of({"curtailment": {}})) for name, votes in drawn.items()}
    curves = [
        curve(
            choice,
            {name: point(counted(one.answers, rule_of(choice)), whole[name], tasks) for name, one in drawn.items()},
        )
        for choice in COUNTING
    ]
    for choice, auroc in CONFIDENT:
        on = {
            name: point(one_by_one(votes.first(tasks), rule_of(choice), auroc), whole[name].first(tasks), tasks)
            for name, votes in drawn.items()
        }
        curves.append(curve(choice, on, auroc))
    return Simulated(
        written_by="benchmarks/stopping.py",
        tasks=tasks,
        draws=DRAWS,
        workloads={name: f"a draw is right in {mean:.0%} of cases on average" for name, mean in MEANS.items()},
        curves=curves,
        scored=by_score(drawn, tasks),
        finish_order=[one for order in ("draw", "finish") for one in by_order(drawn, whole, tasks, order)],
    )


def by_order(drawn: dict[str, Votes], whole: dict[str, Ended], tasks: int, order: str) -> list[Curve]:
    """Rules on votes consumed in draw order, or in the order in which they finish: short ones first."""
    found = []
    for choice in ({"predictive": {"probability": 0.98}}, {"beta": {"probability": 0.95}}, {"esc": {"window": 5}}):
        on = {}
        for name, votes in drawn.items():
            sequence = np.argsort(votes.seconds, axis=1) if order == "finish" else np.arange(DRAWS)[None, :]
            ordered = np.take_along_axis(votes.answers, np.broadcast_to(sequence, votes.answers.shape), axis=1)
            on[name] = point(counted(ordered, rule_of(choice)), whole[name], tasks)
        found.append(curve(choice, on, order=order))
    return found


def check(policy_tasks: int = 60) -> None:
    """The policy itself on a sample, vote by vote: as many passes, and the same answer.

    Raises:
        AssertionError: it differs from the simulation.
    """
    votes = draw(0.6, policy_tasks, seed=99).first(policy_tasks).answers
    for choice in COUNTING:
        ended = counted(votes, rule_of(choice))
        policy = Majority(n=DRAWS, equality="text", stop=msgspec.convert(choice, StopChoice))
        for answers, count, right in zip(votes.tolist(), ended.draws, ended.right, strict=True):
            answer, trace = solve(policy, *(f"answer {one}" for one in answers), slots=1)
            assert (len(trace.passes), answer.completion.text == "answer 0") == (count, right), choice


def plot(found: Simulated, path: Path) -> None:
    import altair as alt  # noqa: PLC0415 - only for the plot

    rows = [
        {"workload": name, "rule": one.rule + ("" if one.auroc is None else f", AUROC {one.auroc:g}")}
        | {"votes": 100 * at.votes, "points": at.points, "low": at.low, "high": at.high}
        for one in found.curves
        for name, at in one.on.items()
        if at.points > -3
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("votes:Q", title="% of the votes", scale=alt.Scale(zero=False)), color=alt.Color("rule:N", title="rule")
    )
    marks = base.mark_line(point=True, strokeWidth=1).encode(y=alt.Y("points:Q", title="points against majority of 16"))
    bars = base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", title=""), y2="high:Q")
    alt.layer(bars, marks).properties(width=240, height=220).facet(
        alt.Facet("workload:N", sort=list(MEANS), title=None)
    ).save(str(path))


def missed(found: Simulated) -> list[str]:
    """The goals that no rule reaches."""

    def least(name: str, fits: Callable[[Curve], bool]) -> float:
        return min(
            (one.on[name].votes for one in found.curves if fits(one) and one.on[name].points >= -WITHIN), default=1
        )

    wrong = []
    for name, most in GOALS.items():
        if (share := least(name, lambda one: one.auroc is None)) > most:
            wrong.append(f"{name}: {share:.1%} of the votes, at most {most:.0%} by votes alone")
    if (share := least("mixed", lambda one: one.auroc == 0.6)) > WITH_CONFIDENCE:
        wrong.append(f"mixed: {share:.1%} of the votes with a confidence, at most {WITH_CONFIDENCE:.0%}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw the curves into this SVG file")
    parser.add_argument(
        "--write", action="store_true", help=f"write the figures to {DATA.relative_to(DATA.parents[3])}"
    )
    wanted = parser.parse_args()
    began = time.perf_counter()
    check()
    found = simulate(wanted.tasks)
    for title, curves in (
        ("", found.curves),
        ("\nbest of n by score:", found.scored),
        ("\nwhere wrong answers are shorter:", found.finish_order),
    ):
        print(f"{title:56}" + "".join(f"{name:>28}" for name in MEANS))
        for one in curves:
            cells = (f"{at.votes:7.1%} {at.points:+6.2f} [{at.low:+.2f}, {at.high:+.2f}]" for at in one.on.values())
            print(
                f"{one.title + (', in finish order' if one.order == 'finish' else ''):56}"
                + "".join(f"{c:>28}" for c in cells)
            )
    print(f"{wanted.tasks:,} tasks in {time.perf_counter() - began:.0f} s")
    data = msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"
    for path in [path for path in (wanted.json, DATA if wanted.write else None) if path is not None]:
        path.write_bytes(data)
    if wanted.plot is not None:
        plot(found, wanted.plot)
    for goal in missed(found):
        print(f"missed: {goal}")
    sys.exit(bool(missed(found)))


if __name__ == "__main__":
    main()
