"""What holds for every stopping rule: it looks at nothing but the votes, and a lossless one is lossless."""

from __future__ import annotations

from collections import Counter
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.stopping import Cges, Esc, StopChoice, VotesSoFar, fewest_more
from tierwise.stopping.curtailment import is_settled

RULES = [msgspec.convert({name: {}}, StopChoice).member for name in StopChoice.__struct_fields__]
answers = st.lists(st.sampled_from("ABCD"), max_size=12)
any_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)


def votes_of(answers: list[str], left: int, sure: list[float] | None = None) -> VotesSoFar:
    return VotesSoFar(tuple(answers), left, tuple(sure or [0.6] * len(answers)))


def elected(votes: list[str]) -> str:
    """The most frequent; of those that are tied, the one that was drawn first."""
    return max(votes, key=lambda one: (votes.count(one), -votes.index(one)))


@any_rule
@given(answers, st.integers(0, 12), st.permutations("ABCD"))
def test_what_answers_are_called_does_not_matter(rule, answers, left, names):
    renamed = [names["ABCD".index(one)] for one in answers]
    assert rule.stops(votes_of(answers, left)) == rule.stops(votes_of(renamed, left))


@pytest.mark.parametrize("rule", [one for one in RULES if not one.is_lossless and not isinstance(one, Esc)])
@given(answers, st.integers(0, 12), st.data())
def test_a_rule_depends_only_on_counts_and_confidences(rule, answers, left, data):
    sure = data.draw(st.lists(st.floats(0, 1), min_size=len(answers), max_size=len(answers)))
    order = data.draw(st.permutations(range(len(answers))))
    shuffled = votes_of([answers[place] for place in order], left, [sure[place] for place in order])
    here = votes_of(answers, left, sure)
    if isinstance(rule, Cges):  # sums of floats in another order
        nudged = [Cges(probability=rule.probability + by) for by in (1e-9, -1e-9)]
        assert nudged[0].stops(here) <= rule.stops(shuffled) <= nudged[1].stops(here)
    else:
        assert rule.stops(here) == rule.stops(shuffled)


@given(st.lists(st.sampled_from("ABC"), max_size=20), st.integers(2, 6))
def test_esc_looks_at_the_last_votes_only(answers, window):
    stops = Esc(window=window).stops
    assert stops(votes_of(answers, 3)) == stops(votes_of(["D", *answers][-window:], 3))


@given(st.lists(st.sampled_from("ABC"), min_size=1, max_size=7), st.integers(0, 6), st.data())
def test_curtailment_stops_exactly_when_every_way_to_cast_the_rest_elects_the_same(answers, left, data):
    """In any order: the open draws may be anywhere between those that are in."""
    left = min(left, 10 - len(answers))
    open_draws = set(data.draw(st.permutations(range(len(answers) + left)))[:left])
    places = [place for place in range(len(answers) + left) if place not in open_draws]
    tallied: dict[str, tuple[float, int]] = {}
    for place, answer in zip(places, answers, strict=True):
        count, first = tallied.get(answer, (0, place))
        tallied[answer] = (count + 1, first)
    outcomes = set()
    for rest in product("ABCD", repeat=left):
        cast = dict(zip(places, answers, strict=True)) | dict(zip(sorted(open_draws), rest, strict=True))
        outcomes.add(elected([cast[place] for place in sorted(cast)]))
    first_open = min(open_draws, default=len(places))
    assert is_settled(list(tallied.values()), left=left, first_open=first_open) == (len(outcomes) == 1)


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0.1, 3)), min_size=1, max_size=8), st.integers(0, 5), st.data()
)
def test_a_settled_vote_with_weights_keeps_its_leader_whatever_comes(votes, left, data):
    tallied: dict[str, tuple[float, int]] = {}
    for place, (answer, weight) in enumerate(votes):
        total, first = tallied.get(answer, (0.0, place))
        tallied[answer] = (total + weight, first)
    rest = data.draw(st.lists(st.tuples(st.sampled_from("ABCD"), st.floats(0.1, 3)), min_size=left, max_size=left))
    if is_settled(list(tallied.values()), left=left, first_open=len(votes), heaviest=3):
        leader = max(tallied, key=lambda one: tallied[one][0])
        after = {answer: total for answer, (total, _) in tallied.items()}
        for answer, weight in rest:
            after[answer] = after.get(answer, 0) + weight
        assert after[leader] >= max(after.values()) - 1e-6


@any_rule
def test_no_rule_stops_before_the_first_vote(rule):
    assert not rule.stops(votes_of([], 5))


@any_rule
@given(answers, st.integers(1, 12))
def test_fewest_more_is_the_first_number_of_agreeing_votes_at_which_it_stops(rule, answers, left):
    votes = votes_of(answers, left)
    more = fewest_more(rule, votes)
    assert 1 <= more <= left
    if answers:
        assert not any(rule.stops(votes.then(fewer)) for fewer in range(1, more))
        assert more == left or rule.stops(votes.then(more))


@given(answers)
def test_counts_are_those_of_the_answers_largest_first(answers):
    assert sorted(votes_of(answers, 0).counts) == sorted(Counter(answers).values())
    assert list(votes_of(answers, 0).counts) == sorted(votes_of(answers, 0).counts, reverse=True)
