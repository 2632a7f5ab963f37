"""What a user wrote becomes typed values, or all that is wrong with it at once."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.plan import ConfigFile
from tierwise.policies import BestOfN, PolicyChoice, Single
from tierwise.spec.choice import OneOf
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.reading import Reading, allowed


class Wheel(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    inches: Annotated[int, msgspec.Meta(ge=1, le=30)]
    name: str = "wheel"


class Car(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag="car", tag_field="kind"):
    wheels: dict[str, Wheel] = {}
    spare: Wheel | None = None
    colours: list[str] = []


class Boat(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag="boat", tag_field="kind"):
    length: float

    def __post_init__(self) -> None:
        if self.length > 100:
            raise ValueError("a boat of more than 100 metres is a ship")


class Harbour(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    things: dict[str, Car | Boat]
    open: bool = True


class Finish(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    matt: Wheel | None = None
    gloss: Boat | None = None


def read(kind, value):
    reading = Reading()
    return reading.read(kind, value, ""), [(error.field, str(error)) for error in reading.errors]


def fields(kind, value) -> list[str]:
    found, errors = read(kind, value)
    assert found is None
    return [field for field, _ in errors]


def message(kind, value) -> str:
    (error,) = read(kind, value)[1]
    return ": ".join(part for part in error if part)


def test_what_is_right_becomes_a_value():
    harbour, errors = read(
        Harbour,
        {"things": {"a": {"kind": "car", "wheels": {"left": {"inches": 15}}}, "b": {"kind": "boat", "length": 9}}},
    )
    assert errors == []
    assert harbour == Harbour(things={"a": Car(wheels={"left": Wheel(inches=15)}), "b": Boat(length=9)})


def test_everything_that_is_wrong_is_found_in_one_reading_with_its_path():
    wrong = {
        "opne": True,
        "things": {
            "a": {
                "kind": "car",
                "wheels": {"left": {"inches": 0}, "right": {"inch": 15}},
                "spare": 3,
                "colours": ["red", 5],
            },
            "b": {"kind": "boat"},
            "c": {"kind": "plane"},
            "d": {"length": 1},
            "e": 7,
            "f": {"kind": "boat", "length": 101},
        },
    }
    assert set(fields(Harbour, wrong)) == {
        "opne",
        "things.a.wheels.left.inches",
        "things.a.wheels.right",
        "things.a.wheels.right.inch",
        "things.a.spare",
        "things.a.colours[1]",
        "things.b",
        "things.c.kind",
        "things.d",
        "things.e",
        "things.f",
    }


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Wheel, {"inchs": 3, "inches": 3}, "inchs: unknown key; did you mean 'inches'? allowed: inches, name"),
        (Wheel, {"zzz": 3, "inches": 3}, "zzz: unknown key; allowed: inches, name"),
        (Wheel, {}, "the key 'inches' is missing"),
        (Wheel, {"inches": 31}, "inches: Expected `int` <= 30"),
        (Wheel, {"inches": "15"}, "inches: Expected `int`, got `str`"),
        (Wheel, [], "Expected `object`, got `array`"),
        (Boat, {"length": 101}, "a boat of more than 100 metres is a ship"),
        (Harbour, {"things": {"a": {}}}, "things.a: the key 'kind' is missing; allowed: boat, car"),
        (
            Harbour,
            {"things": {"a": {"kind": "cra"}}},
            "things.a.kind: there is no kind 'cra'; did you mean 'car'? allowed: boat, car",
        ),
        (Harbour, {"things": {1: {"kind": "car"}}}, "things.1: the name 1 is not text; put it in quotes"),
        (Finish, {}, "nothing is given; give exactly one of: matt, gloss"),
        (Finish, {"mat": {}}, "mat: unknown key; did you mean 'matt'? allowed: gloss, matt"),
        (Finish, "glos", "glos: unknown key; did you mean 'gloss'? allowed: gloss, matt"),
    ],
)
def test_a_message_says_what_was_seen_and_what_is_allowed(kind, value, said):
    assert message(kind, value) == said


def test_two_members_of_a_choice_are_one_too_many():
    both = {"matt": {"inches": 3}, "gloss": {"kind": "boat", "length": 3}}
    assert message(Finish, both) == "matt, gloss is given; give exactly one of: matt, gloss"


def test_a_choice_may_be_just_its_name():
    assert read(PolicyChoice, "single") == (PolicyChoice(single=Single()), [])
    assert read(PolicyChoice, {"best_of_n": {"n": 3}}) == (PolicyChoice(best_of_n=BestOfN(n=3)), [])


def test_a_choice_knows_its_member_and_its_name():
    choice = PolicyChoice(best_of_n=BestOfN(n=3))
    assert (choice.kind, choice.member) == ("best_of_n", BestOfN(n=3))


def test_what_a_member_does_not_allow_is_found_however_deep_it_stands():
    value = {"best_of_n": {"n": 1, "verifier": {"choice": {"options": ["a"]}}}}
    assert fields(PolicyChoice, value) == ["best_of_n.n", "best_of_n.verifier.choice"]


def test_names_are_looked_up_with_a_hint():
    reading = Reading()
    assert reading.known("fast", ["fast"], "a", "tier")
    assert not reading.known("fsat", ["fast", "max"], "routes.auto", "tier")
    assert not reading.known("x", [], "routes.auto", "tier")
    assert [str(error) for error in reading.errors] == [
        "there is no tier 'fsat'; did you mean 'fast'? allowed: fast, max",
        "there is no tier 'x'; allowed: none, because none is declared",
    ]
    with pytest.raises(
        ConfigErrors, match=r"routes\.auto: there is no tier 'fsat'.*\nroutes\.auto: there is no tier 'x'"
    ):
        reading.done()


def test_nothing_wrong_is_nothing_raised():
    Reading().done()


def test_an_error_keeps_its_field():
    assert SpecError("no", field="a.b").field == "a.b"
    assert allowed("x", ["b", "a"]) == "allowed: a, b"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "deployments",
                    "tiers",
                    "routes",
                    "prices",
                    "engine",
                    "http",
                    "policy",
                    "single",
                    "majority",
                    "best_of_n",
                    "n",
                ]
            )
            | st.integers()
            | st.text(max_size=6),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_value_breaks_the_reading(value):
    found, errors = read(ConfigFile, value)
    assert (found is None) == bool(errors)
