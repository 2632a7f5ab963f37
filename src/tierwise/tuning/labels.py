"""What tells whether a route's answer is a loss: the workload's checks, agreement with the reference, or a judge.

By agreement, an answer that differs from the reference's on the same draws is a loss. Harm is at most that: an answer
that is the reference's cannot be wrong where the reference is right, as long as what counts as equal is graded alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.certificate import by_agreement
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.certificate import Labels
    from tierwise.workloads.files import Workload


def labels_of(text: str) -> Labels:
    """Read `--labels`.

    Raises:
        SpecError: it is none of those.
    """
    kind, _, tier = text.partition(":")
    if text not in ("check", "agreement") and not (kind == "judge" and tier):
        raise SpecError(f"{text!r} is not known; allowed: check, agreement, judge:TIER", field="--labels")
    return text


def judge_of(labels: Labels) -> str:
    """The tier that judges; empty if none does."""
    kind, _, tier = labels.partition(":")
    return tier if kind == "judge" else ""


def require_kind(labels: Labels, kind: str) -> None:
    """Refuse a promise that these labels say nothing about.

    Raises:
        SpecError: says why, and what is possible.
    """
    if judge_of(labels) and kind != "harm":
        raise SpecError(
            f"{kind} is not promised by a judge: what its error does to gains is not bounded here. Promise harm, or "
            "give all tasks checks",
            field="--promise",
        )
    if by_agreement(labels) and kind != "harm":
        why = {
            "net": "gains are answers that are right where the reference is wrong, and agreement tells neither",
            "selective": "it is about wrong answers, and one that differs from the reference's may be right",
        }
        raise SpecError(
            f"{kind} has no meaning with --labels agreement: {why[kind]}. Promise harm, or give the tasks checks",
            field="--promise",
        )


def require_labelled(workload: Workload, labels: Labels) -> None:
    """Refuse tasks that do not have what tells a loss.

    Raises:
        SpecError: names tasks without a check, and what to do.
    """
    without = workload.unlabelled
    if labels == "check" and without:
        ids = ", ".join(task.id for task in without[:3])
        raise SpecError(
            f"{len(without)} of {len(workload.tasks)} tasks of {workload.path} have no `check` ({ids}"
            f"{', …' if len(without) > 3 else ''}), so nothing says whether an answer to them is right. Give them "
            "checks, or promise how often the route's answer differs from the reference's, which needs none and bounds "
            "harm from above: --labels agreement",
            field="--labels",
        )
