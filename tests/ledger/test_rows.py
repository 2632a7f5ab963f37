"""A pass is described once: columns, wire and records follow."""

from __future__ import annotations

import msgspec
import pytest
from scenes import a_pass, asked

from tierwise.ledger.rows import ActionRow, CheckRow, ContentRow, DecisionRow, PassFacts, PassRow, facts
from tierwise.ledger.tables import metadata, passes
from tierwise.runs.records import PassSpend
from tierwise.spec.call import Call, Completion
from tierwise.spec.prompt import Prompt

FACTS = set(PassFacts.__struct_fields__)


@pytest.mark.parametrize(
    ("row", "table", "more"),
    [
        (ActionRow, "actions", {"date"}),
        (PassRow, "passes", {"action"}),
        (CheckRow, "checks", {"action"}),
        (DecisionRow, "decisions", {"action"}),
        (ContentRow, "contents", {"action"}),
    ],
)
def test_every_field_of_a_row_is_a_column(row, table, more):
    assert set(metadata.tables[table].c.keys()) == set(row.__struct_fields__) | more


def test_a_column_may_be_null_where_a_field_may_be_none():
    assert {column.name for column in passes.c if column.nullable} == {"candidate", "retry_of", "first_token"}


def test_facts_are_read_from_usage_pass_call_and_completion():
    done = a_pass(3, call=asked(3, role="critique", candidate=False, after=(1, 2)))
    assert facts(done) == {
        "number": 3,
        "role": "critique",
        "candidate": False,
        "tier": "fast",
        "outcome": "finished",
        "draw": 3,
        "after": (1, 2),
        "finish": "stop",
        "started": 0.75,
        "first_token": 0.1,
        "seconds": 0.5,
    }


def test_the_wire_the_protocol_and_the_records_have_every_fact():
    pb = pytest.importorskip("tierwise.gateway.grpc.tierwise_pb2")
    assert set(pb.Pass.DESCRIPTOR.fields_by_name) >= FACTS
    assert set(PassSpend.__struct_fields__) >= FACTS


@pytest.mark.parametrize(
    ("outcome", "finish"), [("finished", "stop"), ("cut", "stop"), ("aborted", ""), ("failed", "")]
)
def test_only_a_pass_that_ended_by_itself_or_was_cut_has_a_reason_to_have_ended(outcome, finish):
    assert facts(a_pass(outcome=outcome))["finish"] == finish


def test_texts_of_others_are_kept_in_brief_and_without_what_no_database_holds():
    done = a_pass(call=Call(prompt=Prompt(messages=()), role="r" * 3000), completion=Completion(finish="a\0b\ud800"))
    assert (len(facts(done)["role"]), facts(done)["finish"]) == (2000, "a?b?")


@pytest.mark.parametrize(
    ("told", "answers", "is_draw"),
    [
        ({"role": "draft"}, True, True),
        ({"role": "refine"}, True, False),
        ({"role": "critique"}, False, False),
        ({"role": "refine", "candidate": True}, True, True),
        ({"role": "debate", "candidate": True}, True, True),
        ({"role": "debate", "candidate": True, "after": [0]}, True, False),
        ({"role": "draft", "candidate": False}, False, False),
    ],
)
def test_records_of_earlier_versions_told_by_the_role_what_answers_the_prompt(told, answers, is_draw):
    numbers = {"prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 1, "seconds": 1.0, "dollars": 0.0}
    spend = msgspec.convert({"outcome": "finished", **numbers, **told}, PassSpend)
    assert (spend.answers_prompt, spend.is_draw) == (answers, is_draw)
