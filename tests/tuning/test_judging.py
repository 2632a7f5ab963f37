"""Labels by a judge: its error is in the promise, and a poor judge or too few checks are refused."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy import stats

from made_evaluations import routes
from made_pools import question
from tierwise.spec.errors import SpecError
from tierwise.tuning.certify import Promises, certify
from tierwise.tuning.evaluated import Evaluated
from tierwise.tuning.judging import checks_of, judged_tasks
from tierwise.tuning.labels import judge_of, labels_of, require_kind
from tierwise.tuning.losses import missed_losses
from tierwise.workloads.files import load

SPLITS = 150
TUNING, CALIBRATION = 150, 300
CHECKED = 0.6
"""Share of the tasks that have a check."""


def population(*, seed: int = 0) -> tuple[Evaluated, np.ndarray]:
    """Many tasks with what a judge sees of each route, and what is true. It misses most where the route is sure."""
    true = routes(20_000, steps=10, seed=seed)
    rng = np.random.default_rng(seed + 1)
    sure = true.kept.mean(axis=0)  # the more routes keep an answer, the surer it is
    misses = rng.random(20_000) < 0.6 + 0.4 * sure
    alarms = rng.random(20_000) < 0.01
    seen = np.where(misses[None, :], 0.0, true.harm)
    seen = np.maximum(seen, (true.kept * (1 - true.harm) > 0) & alarms[None, :])
    missed = true.harm * (1 - seen)
    judged = replace(true, harm=seen, first_harm=seen, correct=1 - seen, missed=missed, first_missed=missed)
    return judged, true.harm.mean(axis=1)


def drawn(of: Evaluated, rng: np.random.Generator, checked: float = CHECKED) -> Evaluated:
    """A workload, of which a random part has checks."""
    tasks = rng.choice(len(of.tasks), TUNING + CALIBRATION, replace=False)
    hidden = rng.random(len(tasks)) >= checked
    missed = of.missed[:, tasks].copy()  # type: ignore[index]
    missed[:, hidden] = np.nan
    fields = ("correct", "harm", "gain", "first_harm", "disagreement", "kept", "kept_wrong", "dollars", "seconds")
    return replace(
        of,
        **{name: getattr(of, name)[:, tasks] for name in fields},
        tasks=tuple(of.tasks[index] for index in tasks),
        units=np.arange(len(tasks)),
        weights=np.ones(len(tasks)),
        missed=missed,
        first_missed=missed,
    )


def broken(promises: Promises, *, seed: int = 0) -> tuple[int, int]:
    """In how many splits the promise is broken over the whole population, and in how many something is certified."""
    of, truth = population()
    rng = np.random.default_rng(seed)
    parts = np.arange(TUNING), np.arange(TUNING, TUNING + CALIBRATION)
    found = [certify(drawn(of, rng), *parts, promises) for _ in range(SPLITS)]
    certified = [one for one in found if one is not None]
    return sum(truth[one.setting] > promises.limit for one in certified), len(certified)


def test_a_promise_by_a_judge_that_misses_most_harm_holds_and_its_verdicts_alone_do_not():
    promises = Promises(limit=0.1, labels="judge:max", missed=0.07)
    failures, certified = broken(promises)
    assert failures <= stats.binom.ppf(0.999, SPLITS, promises.delta)
    assert certified > SPLITS / 2
    trusted, _ = broken(Promises(limit=0.1))  # what the judge sees, as if it were all
    assert trusted > 0.3 * SPLITS


def test_what_a_judge_misses_is_counted_on_tasks_with_a_check_alone():
    of, _ = population()
    some = drawn(of, np.random.default_rng(0))
    part = np.arange(TUNING, TUNING + CALIBRATION)
    losses = missed_losses(some, 0, part)
    assert losses.tasks == int((~np.isnan(some.missed[0, part])).sum())  # type: ignore[index]
    assert losses.method == "exact"
    none = replace(some, missed=np.full_like(some.missed, np.nan), first_missed=np.full_like(some.missed, np.nan))
    assert missed_losses(none, 0, part).p_value(0.05) == 1


def test_harm_is_at_most_what_is_seen_and_what_is_missed():
    of, truth = population()
    assert (truth <= (of.harm + of.missed).mean(axis=1) + 1e-12).all()


def test_labels_are_read_and_others_are_refused():
    assert judge_of(labels_of("judge:max")) == "max"
    assert judge_of(labels_of("agreement")) == ""
    for wrong in ("judge", "judge:", "max"):
        with pytest.raises(SpecError, match="allowed: check, agreement, judge:TIER"):
            labels_of(wrong)
    with pytest.raises(SpecError, match="net is not promised by a judge"):
        require_kind("judge:max", "net")


def written(write_tasks, *tasks):
    return load(write_tasks(*(msgspec.to_builtins(one) for one in tasks)))


def test_a_judge_takes_the_place_of_all_checks_with_one_rubric(write_tasks):
    found = written(
        write_tasks,
        question(0),
        question(1, check=None),
        question(2, check={"judge": {"tier": "max", "rubric": "It is short."}}),
    )
    assert list(checks_of(found.tasks)) == ["t0"]
    assert {task.check.judge.rubric for task in judged_tasks(found, "max")} == {"It is short."}
    assert [task.id for task in judged_tasks(found, "max")] == ["t0", "t1", "t2"]


def test_a_judge_without_checks_or_with_several_rubrics_is_refused(write_tasks):
    with pytest.raises(SpecError, match="nothing says how often 'max' errs"):
        judged_tasks(written(write_tasks, question(0, check=None)), "max")
    several = [question(n, check={"judge": {"tier": "max", "rubric": str(n)}}) for n in (1, 2)]
    with pytest.raises(SpecError, match="2 judges or rubrics"):
        judged_tasks(written(write_tasks, question(0), *several), "max")
