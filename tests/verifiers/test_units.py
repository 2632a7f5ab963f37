"""Amounts with units are equal exactly if they are the same amount."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.call import Call, Completion, Pass, Usage
from tierwise.testing import ask_user, frozen
from tierwise.verifiers import quantity_words
from tierwise.verifiers.answers import answer_key
from tierwise.verifiers.units import UNITS, asked_unit, read_unit
from tierwise.verifiers.votes import key_of_vote

EQUALITIES = ["auto", "number"]
WRITTEN = ["{}", "**{}**", "{}.", r"\boxed{{{}}}", "The answer is {}", "#### {}", "about {}", "{}\r\n", "x = {}"]


def key(text: str, equality: str = "auto") -> str | None:
    return answer_key(Completion(text=text), equality)


def vote(text: str, question: str) -> str | None:
    call = Call(prompt=ask_user(question))
    said = Completion(text=text)
    times = {"started": 0.0, "first_token": 0.0, "seconds": 1.0, "busy_seconds": 1.0}
    done = Pass(
        number=0, tier="t", deployment="d", call=call, outcome="finished", completion=said, usage=Usage(), **times
    )
    return frozen(key_of_vote(done, "auto", None))


@pytest.mark.parametrize("equality", EQUALITIES)
@pytest.mark.parametrize(
    "same",
    [
        ["5 km", "5000 m", "5 kilometers", "5km", "5 kilometres", "five km", r"\boxed{5 \text{ km}}", "500000 cm"],
        ["5 km", r"\boxed{5} km", r"$\boxed{5}$ km", r"\boxed{5}\text{ km}", "x = 5 km", "5,000 m", "５ km"],
        ["50%", "50 percent", r"\boxed{50\%}", "50 per cent"],
        ["5", "$5", "5 dollars", "US$5", "5 USD", "500 cents", "$5.00"],
        ["1 hour", "60 min", "3600 s", "60 minutes"],
        ["18 km/h", "5 m/s", "18 kph", "18 kilometers per hour"],
        ["5 m²", "5 m^2", "5 square meters", "50000 cm^2"],
        ["1 L", "1000 mL", "1000 cm^3", "1 litre"],
        ["4 apples", "4", "four", "4.0", r"45^\circ - 41^\circ = 4"][:4],
    ],
)
def test_the_same_amount_is_one_answer_however_it_is_written(same, equality):
    assert len({key(text, equality) for text in same}) == 1
    assert key(same[0], equality) is not None


@pytest.mark.parametrize("equality", EQUALITIES)
def test_other_units_are_other_answers(equality):
    texts = [
        "5 km",
        "5 m",
        "5 kg",
        "5 g",
        "5 L",
        "5 s",
        "5 h",
        "£5",
        "€5",
        "5 m/s",
        "5 km^2",
        "5%",
        "5 °C",
        "5 °F",
        "5",
    ]
    texts += ["5 years", "5 months", "5 kWh", "5 N", "5 kB"]
    assert len({key(text, equality) for text in texts}) == len(texts)


def test_a_name_with_a_number_is_no_number():
    names = ["Room 5", "Gate 5", "version 4 beta", "version 5 beta", "Paris 4", "May 5", "June 5"]
    assert len({key(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "text", ["5 in total", "5 a day", "5 members", "5 meals", "5 hats", "5 most", "5 gifts", "5 litters"]
)
def test_a_word_that_begins_like_a_unit_is_none(text):
    assert key(text, "number") == "5"


numbers = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=1).filter(bool) | st.builds(
    Fraction, st.integers(-(10**6), 10**6).filter(bool), st.sampled_from([10, 100])
)
NAMES = sorted(
    name
    for name in UNITS
    if name.isalpha() and len(name) > 1 and (len(name) > 3 or name.lower() in quantity_words.UNITS)
)
named = st.sampled_from(NAMES)


def decimal(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.2f}"


def named_base(base: str) -> str:
    return "" if base == "$" else base


@given(numbers, numbers, named, named, st.sampled_from(WRITTEN), st.sampled_from(WRITTEN), st.sampled_from(EQUALITIES))
def test_two_amounts_are_equal_exactly_if_their_base_units_and_values_are(
    one, two, unit, other, as_one, as_two, equality
):
    first, second = f"{decimal(one)} {unit}", f"{decimal(two)} {other}"
    (factor, base), (their_factor, their_base) = UNITS[unit], UNITS[other]
    found = key(as_one.format(first), equality), key(as_two.format(second), equality)
    assert None not in found
    assert (found[0] == found[1]) == (named_base(base) == named_base(their_base) and one * factor == two * their_factor)


@given(st.text(max_size=60), st.sampled_from(EQUALITIES))
def test_every_text_has_a_key_or_none_and_the_same_one_again(text, equality):
    assert key(text, equality) == key(text, equality)
    crlf = text.replace("\r\n", "\n").replace("\r", "\n")
    assert key(crlf, equality) == key(crlf.replace("\n", "\r\n"), equality)


def test_a_unit_is_read_with_its_powers():
    assert read_unit("kg·m^2/s") == (1000, "g·m^2·s^-1")
    assert read_unit("apples") is None


# ── the unit that a question asks for ────────────────────────────────────
@pytest.mark.parametrize(
    ("question", "unit"),
    [
        ("How many km is it?", "km"),
        ("Give the time in minutes.", "minutes"),
        ("An egg is $2. How much does she make?", "$"),
        ("An egg is €2. How much does she make?", "€"),
        ("She has $10. How many apples can she buy?", None),
        ("How many hours is that, in minutes?", None),
        ("What is 2 + 3?", None),
        ("What percentage of them is red?", "%"),
    ],
)
def test_a_question_says_in_which_unit_a_bare_number_is(question, unit):
    assert asked_unit(question) == (None if unit is None else UNITS[unit])


def test_a_bare_number_is_equal_to_one_with_the_unit_that_was_asked_for_and_to_no_other():
    assert vote("5", "How many km is it?") == vote("5 km", "How many km is it?") == vote("5000 m", "How many km is it?")
    assert vote("5", "How many km is it?") != vote("5 m", "How many km is it?")
    assert vote("18", "An egg is €2. How much does she make?") == vote("€18", "An egg is €2. How much does she make?")
    assert vote("40", "What percentage is red?") == vote("40%", "What percentage is red?")
    assert vote("40", "What percentage is red?") != vote("0.4", "What percentage is red?")
    assert (
        vote("50%", "Which share is red?") == vote("1/2", "Which share is red?") == vote("0.5", "Which share is red?")
    )
    assert vote("5", "What is 2 + 3?") == "5"
