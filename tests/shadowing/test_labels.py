"""What labels of two answers say of a promise, and in which order they count."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observed_routes import certificate
from tierwise.shadowing import watching
from tierwise.shadowing.labels import Label, Labels, Unsettled
from tierwise.shadowing.watching import Observed, WatchState


@pytest.mark.parametrize(
    ("kind", "served", "reference", "loss", "least"),
    [
        ("harm", None, None, None, 0.0),
        ("harm", True, None, 0.0, 0.0),
        ("harm", None, False, 0.0, 0.0),
        ("harm", None, True, None, 0.0),
        ("harm", False, None, None, 0.0),
        ("harm", False, True, 1.0, 1.0),
        ("harm", False, False, 0.0, 0.0),
        ("net", True, None, None, 0.0),
        ("net", False, None, None, 0.5),
        ("net", None, True, None, 0.5),
        ("net", None, False, None, 0.0),
        ("net", True, False, 0.0, 0.0),
        ("net", True, True, 0.5, 0.5),
        ("net", False, True, 1.0, 1.0),
        ("selective", None, True, None, 0.0),
        ("selective", True, None, 0.0, 0.0),
        ("selective", False, None, 1.0, 1.0),
    ],
)
def test_what_labels_say_of_the_promised_loss(kind, served, reference, loss, least):
    labels = Labels(served=served, reference=reference)

    assert labels.loss(kind) == loss
    assert labels.least(kind) == least
    assert bool(labels.needed(kind)) == (loss is None)


@pytest.mark.parametrize(("kind", "loss"), [("harm", 0.0), ("net", 0.5), ("selective", None)])
def test_equal_answers_are_right_or_wrong_together(kind, loss):
    assert Labels().loss(kind, differs=False) == loss


def observed(number: int, *, loss: float | None = None, at: float = 0.0) -> Observed:
    kept = Unsettled(action=f"act_{number}", at=at, loss=loss)
    return Observed(action=kept.action, differs=False, loss=loss, strata={}, unsettled=kept)


def of(number: int, answer="served", *, correct: bool) -> Label:
    return Label(action=f"act_{number}", answer=answer, correct=correct)


@given(st.lists(st.sampled_from([(True, True), (False, True), (False, False), None]), max_size=40), st.randoms())
def test_losses_count_in_the_order_of_the_actions_whatever_order_the_labels_come_in(answers, draw):
    state = told = WatchState.fresh(certificate())
    given_labels = []
    for number, one in enumerate(answers):
        loss = 0.0 if one is None else float(one == (False, True))
        told = told.after(Observed(action=f"act_{number}", differs=one is not None, loss=loss, strata={}))
        state = state.after(observed(number, loss=None if one else 0.0)).counted("harm", 0.0)
        if one is not None:
            served, reference = one
            given_labels += [of(number, correct=served), of(number, "reference", correct=reference)]
    draw.shuffle(given_labels)
    for label in given_labels:
        state = state.labelled(label, "harm").counted("harm", 0.0)
    assert (state.promise, state.harm) == (told.promise, told.harm)
    assert state.unsettled == ()
    assert state.unlabelled == 0


def test_complaints_that_come_first_wait_for_the_actions_before_them():
    state = WatchState.fresh(certificate())
    for number in range(200):
        state = state.after(observed(number))
    complaints = range(0, 200, 20)
    for number in complaints:
        state = state.labelled(of(number, correct=False), "harm")
        state = state.labelled(of(number, "reference", correct=True), "harm").counted("harm", 0.0)
    assert (state.promise.seen, state.alarm) == (1, "")  # the first action is among them
    for number in range(200):
        if number in complaints:
            continue
        state = state.labelled(of(number, correct=True), "harm").counted("harm", 0.0)
    assert (state.promise.seen, state.promise.losses) == (200, 10.0)
    assert not state.alarm


def test_what_nobody_labels_in_time_counts_as_the_least_that_its_labels_allow():
    state = WatchState.fresh(certificate("net"))
    state = state.after(observed(1, at=1.0)).after(observed(2, at=2.0)).after(observed(3, at=3.0))
    state = state.labelled(of(2, correct=False), "net").counted("net", 2.5)
    assert (state.promise.seen, state.promise.losses, state.unlabelled) == (2, 0.5, 2)
    assert state.expired == ("act_1", "act_2")
    assert [one.action for one in state.unsettled] == ["act_3"]


def test_only_so_many_wait(monkeypatch):
    monkeypatch.setattr(watching, "MOST_UNSETTLED", 3)
    state = WatchState.fresh(certificate())
    for number in range(5):
        state = state.after(observed(number)).counted("harm", 0.0)
    assert (len(state.unsettled), state.unlabelled) == (3, 2)


def test_a_stored_state_is_read_as_it_was_also_one_of_an_earlier_version():
    state = WatchState.fresh(certificate()).after(observed(1)).labelled(of(1, correct=False), "harm")
    assert msgspec.json.decode(msgspec.json.encode(state), type=WatchState) == state
    earlier = msgspec.to_builtins(WatchState.fresh(certificate()))
    for name in ("unsettled", "settled", "expired", "unlabelled", "late"):
        del earlier[name]
    assert msgspec.convert(earlier, WatchState) == WatchState.fresh(certificate())
