"""Totals are the sums of the passes, one action is a tree, and a wrong question gets a helpful answer."""

from __future__ import annotations

import math
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import PRICES, PROMPT, Heard, a_cascade, a_check, a_pass, a_record, asked

from tierwise.ledger.by import By
from tierwise.ledger.database import connect
from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger
from tierwise.ledger.totals import rebuild
from tierwise.spec.call import Call, Usage
from tierwise.spec.errors import LedgerError, NotFound, SpecError

OTHER_PRICES = PriceBook({"small": Price(prompt=3.0, completion=7.0), "large": Price(dollars_per_hour=12.0)})


def written(where, *records):
    heard = Heard()
    with Ledger.open(where, PRICES, heard) as ledger:
        for record in records:
            ledger.write(record)
    assert heard == []
    return where


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def cascade(place):
    with Reader(written(place.where, a_cascade())) as reader:
        yield reader.action("cascade")


counts = st.integers(0, 10**9)
moments = st.floats(0, 1e5)
passes = st.builds(
    a_pass,
    tier=st.sampled_from(["fast", "max"]),
    deployment=st.sampled_from(["small", "large", "free"]),
    call=st.builds(
        lambda role, draw: Call(prompt=PROMPT, role=role, draw=draw), st.sampled_from(["draft", "vote", "x é"]), counts
    ),
    outcome=st.sampled_from(["finished", "cut", "aborted", "failed"]),
    usage=st.builds(Usage, prompt=counts, cached=counts, completion=counts, reasoning=counts, exact=st.booleans()),
    seconds=moments,
    busy_seconds=moments,
)
actions = st.lists(
    st.tuples(st.lists(passes, max_size=4), st.sampled_from(["auto", "max"]), st.floats(0, 4e9)), max_size=6
)

KEYS = {
    By.TIER: lambda record, done: done.tier if done else record.tier,
    By.MODEL: lambda record, done: record.model,
    By.REASON: lambda record, done: record.reason,
    By.DEPLOYMENT: lambda record, done: done.deployment if done else "",
    By.ROLE: lambda record, done: done.call.role if done else "",
    By.OUTCOME: lambda record, done: done.outcome if done else "",
    By.DAY: lambda record, done: f"{datetime.fromtimestamp(math.floor(record.trace.started_at), UTC):%Y-%m-%d}",
    By.KEY: lambda record, done: record.trace.key,
    By.TEAM: lambda record, done: record.trace.team,
    By.TAG: lambda record, done: ",".join(record.trace.tags),
    By.SESSION: lambda record, done: record.trace.session,
}


def asked_by(number, record):
    """The record, of one of three callers, two of whom name sessions."""
    trace = record.trace
    trace.key, trace.team = (("", ""), ("0a", "red"), ("0b", "red"))[number % 3]
    trace.tags, trace.session = ((), ("ci",))[number % 2], ("", "one", "other")[number % 3 * (number % 2)]
    return record


def assert_adds_up(total, pairs, prices):
    """`total` is what the obvious loop over (record, pass) finds: whole numbers exactly, the others up to rounding."""
    done = [one for _, one in pairs if one]
    assert total.actions == len({record.trace.action for record, _ in pairs})
    assert total.passes == len(done)
    assert total.estimated == sum(not one.usage.exact for one in done)
    for name in ("prompt", "cached", "completion", "reasoning"):
        assert getattr(total, name) == sum(getattr(one.usage, name) for one in done)
    costs = [prices.cost(one) for one in done]
    for found, parts in (
        (total.seconds, [one.seconds for one in done]),
        (total.busy_seconds, [one.busy_seconds for one in done]),
        (total.dollars_tokens, [cost.tokens for cost in costs]),
        (total.dollars_time, [cost.time for cost in costs]),
    ):
        # Numbers below the smallest normal one have fewer digits, down to one.
        least = sys.float_info.min
        assert math.isclose(found, math.fsum(parts), rel_tol=1e-12, abs_tol=max(least, 1e-12 * sum(map(abs, parts))))


def assert_used(found, pairs, key, session):
    """Usage is what the obvious loop finds, of a key and a session, by day, key and model."""
    groups = defaultdict(list)
    for record, done in pairs:
        trace = record.trace
        if key in (None, trace.key) and session in (None, trace.session):
            groups[KEYS[By.DAY](record, done), trace.key, trace.team, record.model].append((record, done))
    assert [(one.day, one.key, one.team, one.model) for one in found] == sorted(groups)
    for one, group in zip(found, (groups[named] for named in sorted(groups)), strict=True):
        done = [spent for _, spent in group if spent]
        assert (one.actions, one.passes) == (len({record.trace.action for record, _ in group}), len(done))
        for name in ("prompt", "cached", "completion", "reasoning"):
            assert getattr(one, name) == sum(getattr(spent.usage, name) for spent in done)
        costs = [PRICES.cost(spent).dollars for spent in done]
        assert math.isclose(
            one.dollars, math.fsum(costs), rel_tol=1e-9, abs_tol=max(1e-300, 1e-9 * max(costs, key=abs, default=0.0))
        )


@settings(max_examples=40, deadline=None)
@given(actions, st.sampled_from([None, OTHER_PRICES]))
def test_every_total_is_the_sum_of_its_passes_at_any_price(drawn, prices):
    records = []
    for number, (some, model, started_at) in enumerate(drawn):
        numbered = [a_pass(**{**fields(one), "number": position}) for position, one in enumerate(some)]
        records.append(asked_by(number, a_record(*numbered, action=f"a{number}", model=model, started_at=started_at)))
    pairs = [(record, done) for record in records for done in record.trace.passes or [None]]
    with tempfile.TemporaryDirectory() as folder, Reader(written(Path(folder, "l.db"), *records), prices) as reader:
        assert_adds_up(reader.total(), pairs, prices or PRICES)
        for by in By:
            groups = defaultdict(list)
            for record, done in pairs:
                groups[KEYS[by](record, done)].append((record, done))
            totals = reader.totals(by)
            assert [total.key for total in totals] == sorted(groups)
            for total in totals:
                assert_adds_up(total, groups[total.key], prices or PRICES)


def test_an_instant_before_midnight_is_of_the_day_that_ends(place):
    instant = math.nextafter(1_799_971_200.0, 0)
    with Reader(written(place.where, a_record(started_at=instant, action="a"))) as reader:
        assert [total.key for total in reader.totals(By.DAY)] == ["2027-01-14"]
        assert [total.key for total in reader.totals(By.DAY, since=instant)] == ["2027-01-14"]


hours = st.one_of(
    st.integers(-1, 4).map(lambda hour: hour * 3600.0),
    st.integers(0, 4).map(lambda hour: math.nextafter(hour * 3600.0, -math.inf)),
    st.floats(0, 4 * 3600.0),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.lists(passes, max_size=3), st.sampled_from(["auto", "max"]), hours), max_size=8),
    st.integers(0, 8),
    hours,
    st.sampled_from([None, OTHER_PRICES]),
)
def test_totals_since_any_moment_are_those_of_the_rows(place, drawn, first, since, prices):
    place.clear()
    records = []
    for number, (some, model, started_at) in enumerate(drawn):
        numbered = [a_pass(**{**fields(one), "number": position}) for position, one in enumerate(some)]
        records.append(asked_by(number, a_record(*numbered, action=f"a{number}", model=model, started_at=started_at)))
    written(place.where, *records[:first])
    written(place.where, *records[first:])  # adds to totals that are there
    pairs = [(record, done) for record in records for done in record.trace.passes or [None]]
    pairs = [(record, done) for record, done in pairs if record.trace.started_at >= since]

    def check():
        with Reader(place.where, prices) as reader:
            assert_adds_up(reader.total(since), pairs, prices or PRICES)
            for by in By:
                groups = defaultdict(list)
                for record, done in pairs:
                    groups[KEYS[by](record, done)].append((record, done))
                totals = reader.totals(by, since)
                assert [total.key for total in totals] == sorted(groups)
                for total in totals:
                    assert_adds_up(total, groups[total.key], prices or PRICES)
            for key, session in ((None, None), ("0a", None), ("0b", "other")):
                assert_used(reader.usage(since, key=key, session=session), pairs, key, session)
            for session in ("one", "other", "unknown"):
                mine = {one.trace.action for one, _ in pairs if one.trace.session == session}
                assert {one.id for one in reader.session(session, since)} == mine

    check()
    engine = connect(place.location, patience=5.0)
    with engine.begin() as connection:
        rebuild(connection)
    engine.dispose()
    check()


def test_many_tags_of_a_key_are_counted_as_far_as_an_index_can_hold_them(place):
    record = a_record(a_pass())
    record.trace.tags = tuple(f"{number:0100}" for number in range(100))
    with Reader(written(place.where, record)) as reader:
        assert [total.key for total in reader.totals(By.TAG)] == list(record.trace.tags[:9])
        assert reader.action(record.trace.action).action.tags == ",".join(record.trace.tags)


def test_counts_beyond_what_a_database_calls_an_integer_stop_nobody(place):
    giant = Usage(prompt=2**62, completion=2**53 + 1)
    records = [a_record(*(a_pass(number, usage=giant) for number in range(3)), action=f"a{one}") for one in range(2)]
    with Reader(written(place.where, *records)) as reader:
        total = reader.total()
    assert total.prompt == pytest.approx(6 * 2**62)
    assert total.completion == 6 * (2**53 + 1)


def fields(one):
    return {name: getattr(one, name) for name in one.__slots__}


def test_an_action_at_other_prices_is_repriced_pass_by_pass(place):
    record = a_cascade()
    with Reader(written(place.where, record), OTHER_PRICES) as reader:
        tree = reader.action("cascade")
    expected = {done.number: OTHER_PRICES.cost(done) for done in record.trace.passes}
    assert {node.done.number: node.done.cost for node in tree.roots} == {
        node.done.number: expected[node.done.number] for node in tree.roots
    }
    assert tree.spent.dollars == pytest.approx(OTHER_PRICES.total(record.trace.passes).dollars)


def test_the_same_prices_again_change_nothing(place):
    written(place.where, a_cascade())
    with Reader(place.where) as stored, Reader(place.where, PRICES) as repriced:
        assert stored.action("cascade").roots == repriced.action("cascade").roots


def test_a_repeat_hangs_under_what_it_repeats_and_a_refinement_under_the_latest_of_its_sources(cascade):
    def shape(nodes):
        return {node.done.number: shape(node.children) for node in nodes}

    assert shape(cascade.roots) == {0: {1: {}}, 2: {4: {5: {}}}, 3: {}}


def test_a_check_stands_with_the_pass_that_it_judged_or_with_the_action_when_no_pass_said_it(cascade):
    first, second, third = cascade.roots
    assert [check.why for check in first.children[0].checks] == ["no number found"]
    assert [check.score for check in second.checks] == [0.5]
    assert (first.checks, third.checks) == ((), ())
    assert [(check.number, check.score) for check in cascade.checks] == [(None, None)]


def test_a_chain_of_a_thousand_refinements_is_a_tree_too(place):
    chain = [a_pass(number, call=asked(number, after=(number - 1,) if number else ())) for number in range(1000)]
    with Reader(written(place.where, a_record(*chain, action="long"))) as reader:
        nodes, depth = reader.action("long").roots, 0
    while nodes:
        ((_, nodes), depth) = ((nodes[0].done, nodes[0].children), depth + 1)
    assert depth == 1000


def test_a_pass_whose_sources_are_missing_is_a_root(place):
    lost = a_pass(5, call=asked(5, after=(3,)))
    with Reader(written(place.where, a_record(lost, action="a"))) as reader:
        assert [node.done.number for node in reader.action("a").roots] == [5]


class TestFinding:
    @pytest.fixture
    def reader(self, place):
        names = ["abc", "abcd", "abd", "zz%", "ABX"]
        records = [
            a_record(a_pass(), action=name, started_at=float(number), caller=f"ticket-{number // 4}")
            for number, name in enumerate(names)
        ]
        with Reader(written(place.where, *records)) as reader:
            yield reader

    @pytest.mark.parametrize(
        ("asked_for", "found"),
        [("abc", "abc"), ("abcd", "abcd"), ("abd", "abd"), ("zz", "zz%"), ("A", "ABX"), ("ticket-1", "ABX")],
    )
    def test_by_id_or_by_its_beginning_or_by_the_callers_id(self, reader, asked_for, found):
        assert reader.action(asked_for).action.id == found

    @pytest.mark.parametrize("asked_for", ["ab", "ticket-0"])
    def test_several_matches_are_an_error_that_lists_them(self, reader, asked_for):
        with pytest.raises(SpecError, match="abd, abcd, abc") as caught:
            reader.action(asked_for)
        assert not isinstance(caught.value, NotFound)

    @pytest.mark.parametrize("asked_for", ["x", "z_", "%", "ticket"])
    def test_no_match_is_an_error_that_names_the_newest(self, reader, asked_for):
        with pytest.raises(NotFound, match="the newest is ABX"):
            reader.action(asked_for)

    def test_the_newest_come_first_with_what_they_spent(self, reader):
        newest = reader.recent(2)
        assert [(one.action.id, one.spent.passes, one.spent.completion) for one in newest] == [
            ("ABX", 1, 12),
            ("zz%", 1, 12),
        ]

    def test_totals_since_a_moment_leave_older_actions_out(self, reader):
        assert reader.total(since=3.0).actions == 2
        assert [total.actions for total in reader.totals(By.MODEL, since=3.0)] == [2]


def test_an_empty_ledger_has_empty_answers(place):
    with Reader(written(place.where)) as reader:
        assert reader.recent() == []
        assert reader.totals(By.TIER) == []
        assert (reader.total().actions, reader.total().dollars) == (0, 0.0)
        with pytest.raises(NotFound, match="the ledger is empty"):
            reader.action("a")


class TestWrongFiles:
    def test_a_missing_file_is_not_created(self, path):
        with pytest.raises(NotFound, match="no ledger at"):
            Reader(path)
        assert not path.exists()

    @pytest.mark.parametrize("content", ["", "dear diary", "dear diary" * 1000])
    def test_a_file_that_is_no_ledger(self, path, content):
        path.write_text(content)
        with pytest.raises(SpecError, match="not a ledger"):
            Reader(path)

    def test_somebody_elses_database(self, place):
        place.execute("create table recipes (name text)")
        with pytest.raises(SpecError, match="its tables: recipes"):
            Reader(place.where)

    def test_an_empty_database(self, place):
        place.execute("select 1")
        with pytest.raises(SpecError, match="is empty and not a ledger"):
            Reader(place.where)

    def test_a_ledger_of_a_later_tierwise(self, place):
        written(place.where)
        place.execute("update ledger_version set version = 99")
        with pytest.raises(SpecError, match="update Tierwise"):
            Reader(place.where)

    def test_a_row_that_makes_no_sense(self, place):
        written(place.where, a_record(a_pass(), action="a"))
        place.execute("update passes set outcome = 'wizard'")
        with Reader(place.where) as reader, pytest.raises(LedgerError, match="wizard"):
            reader.action("a")


def test_reading_goes_on_while_a_writer_holds_the_lock(place):
    written(place.where, a_record(a_pass(), a_check(0), action="a"))
    with place.locked() as writer, Reader(place.where) as reader:
        writer.execute("delete from passes")
        assert reader.total().passes == 1


def test_a_path_with_signs_that_mean_something_in_an_address_is_a_path(tmp_path):
    path = tmp_path / "50% of?what#ever.db"
    with Reader(written(path, a_record(action="a"))) as reader:
        assert reader.action("a").action.id == "a"
    assert path.is_file()


def test_shadows_are_added_up_together_though_each_names_its_action(place):
    records = [
        a_record(a_pass(number=0), reason=f"shadow of act_{number}", model="auto (shadow)") for number in range(3)
    ]
    where = written(place.where, a_record(a_pass(number=0)), *records)
    for since in (None, 1_800_000_000.0):  # from the totals, and from the rows of the hour
        with Reader(where) as reader:
            found = {one.key: (one.actions, one.passes) for one in reader.totals(By.REASON, since)}
        assert found == {"cheapest first": (1, 1), "shadow": (3, 3)}
    engine = connect(place.location, patience=5.0)
    with engine.begin() as connection:
        rebuild(connection)
    engine.dispose()
    with Reader(where) as reader:
        assert {one.key: one.actions for one in reader.totals(By.REASON)} == {"cheapest first": 1, "shadow": 3}
