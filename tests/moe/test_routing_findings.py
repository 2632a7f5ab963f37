"""What is claimed of a recording, and what is not."""

from __future__ import annotations

from tierwise.moe.routed import RoutedPass
from tierwise.moe.routing_findings import findings
from tierwise.runs.durations import Durations
from tierwise.spec.routing import Routing


def passes(count: int = 24) -> list[RoutedPass]:
    """Code goes to the first expert, text to the second."""
    return [
        RoutedPass(
            task=f"t{number}",
            tags=["code" if number % 2 else "text"],
            number=0,
            began=float(number),
            first_token=0.1,
            seconds=1.0,
            gaps=Durations.of([0.01, 0.02]),
            prompt_tokens=5,
            completion_tokens=3,
            routing=Routing(
                source="transformers",
                layers=[0, 1],
                counts=[[90, 10] if number % 2 else [10, 90]] * 2,
                tokens=50,
                active=2,
                entropy=[0.6, 0.5],
            ),
        )
        for number in range(count)
    ]


def test_kinds_of_tasks_that_are_routed_differently_are_named():
    found = findings(passes())
    assert {one.name: one.verdict for one in found.strata} == {
        "code": "routed differently",
        "text": "routed differently",
    }
    assert found.over_time is not None
    assert found.over_time.verdict == "no difference shown"


def test_with_few_tasks_nothing_is_claimed():
    assert {one.verdict for one in findings(passes(4)).strata} == {"too few tasks to tell"}


def test_another_recording_is_held_against_this_one():
    found = findings([one for one in passes() if "code" in one.tags], [one for one in passes() if "text" in one.tags])
    assert found.other is not None
    assert found.other.verdict == "routed differently"
