"""What users and models said: kept only where that was asked for, and read back whole."""

from __future__ import annotations

import msgspec
import old
import pytest

from ledger.scenes import PRICES, PROMPT, SECRET, Heard, a_pass, a_record
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger
from tierwise.spec.call import Completion
from tierwise.spec.prompt import Prompt
from tierwise.verifiers import Number


def said(**changes):
    fields = {"prompt": PROMPT, "answers": (Completion(text="42"),), **changes}
    return a_record(a_pass(), **fields)


@pytest.fixture
def kept_of(place):
    """Writes records, and gives what can be read of their content."""

    def write(*records, content=True, **asked):
        heard = Heard()
        with Ledger.open(place.where, PRICES, heard, content=content) as ledger:
            for record in records:
                ledger.write(record)
        assert not heard
        with Reader(place.where) as reader:
            return reader.stored_content(**asked)

    return write


def test_content_is_not_kept_unless_that_is_asked_for(kept_of, place, tmp_path):
    assert kept_of(said(), content=False) == []
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert place.execute("select * from contents") == []


def test_content_is_what_was_asked_and_answered(kept_of):
    prompt = Prompt(messages=PROMPT.messages, fields={"temperature": 0.5}, seed=7)
    (kept,) = kept_of(said(prompt=prompt, verifier=Number(equals=42)))
    assert msgspec.json.decode(kept.content.request) == {
        "messages": [{"role": "user", "content": SECRET}],
        "temperature": 0.5,
        "tierwise": {"verifier": {"number": {"equals": 42}}},
    }
    assert msgspec.json.decode(kept.content.answers) == [{"role": "assistant", "content": "42"}]


def test_the_newest_come_first_and_may_be_chosen_by_model_and_time(kept_of):
    records = [said(action=f"a{number}", started_at=float(number), model=f"m{number % 2}") for number in range(4)]
    assert [one.action.id for one in kept_of(*records)] == ["a3", "a2", "a1", "a0"]
    assert [one.action.id for one in kept_of(model="m1", limit=1)] == ["a3"]
    assert [one.action.id for one in kept_of(since=2.0, model="m0")] == ["a2"]


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        Prompt(messages=({"role": "user", "content": "x" * 5_000_000},)),
        Prompt(messages=({"role": "user", "content": "\ud800"},)),
    ],
)
def test_content_that_cannot_be_kept_never_costs_the_action(kept_of, place, prompt):
    assert kept_of(said(action="a", prompt=prompt)) == []
    with Reader(place.where) as reader:
        assert reader.action("a").spent.passes == 1


def test_a_ledger_from_before_there_was_content_gets_a_place_for_it(kept_of, place):
    old.put(place, old.WITHOUT_CONTENTS)
    with Reader(place.where) as reader:
        assert reader.stored_content() == []
    assert len(kept_of(said())) == 1
