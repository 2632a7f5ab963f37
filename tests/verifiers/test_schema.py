"""A schema is a stranger's: it decides what an answer looks like, and nothing else here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.call import Completion
from tierwise.verifiers import JsonSchema

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": r"^\p{Lu}"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
EVIL, VICTIM = "(a+)+$", "a" * 5000 + "b"
DRAFTS = [f"http://json-schema.org/draft-0{number}/schema#" for number in (3, 4, 6, 7)]
DRAFTS += [f"https://json-schema.org/draft/{year}/schema" for year in ("2019-09", "2020-12")]


def verdict(schema, value):
    text = value if isinstance(value, str) else json.dumps(value)
    return asyncio.run(JsonSchema(schema=schema).verify(Completion(text=text)))


@pytest.mark.parametrize(
    "value", [{"name": "Ada"}, {"name": "Émile", "age": 36.0}, 'Here:\n```json\n{"name": "Ada"}\n```']
)
def test_what_fits_is_accepted(value):
    assert verdict(PERSON, value).ok


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"name": "ada"}, "$.name: 'ada' does not match"),
        ({"name": "Ada", "age": -1}, "$.age: -1 is less than the minimum of 0"),
        ({"name": "Ada", "job": "count"}, "$: the property 'job' is not allowed"),
        ({}, "$: 'name' is a required property"),
        ([], "$: [] is not of type 'object'"),
        ("no idea", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"name": NaN}', "not JSON"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_place_and_the_reason(value, why):
    said = verdict(PERSON, value)
    assert (said.ok, said.score, said.why.startswith(why)) == (False, 0, True), said.why


def test_json_null_is_an_answer_like_any_other():
    assert verdict({"type": "null"}, "null").ok
    assert verdict(True, "null").ok
    assert not verdict(False, "null").ok


def test_it_only_sees_the_form():
    assert not JsonSchema(schema=True).decisive


@pytest.mark.parametrize(
    "schema", [{"type": "nope"}, {"required": "name"}, {"$schema": 7}, {"properties": []}, {"minimum": "a"}]
)
def test_what_is_no_schema_is_refused_when_it_is_given(schema):
    with pytest.raises(ValueError, match="schema: "):
        JsonSchema(schema=schema)


def test_a_schema_of_an_unknown_draft_is_read_as_one_of_the_newest():
    assert verdict({"$schema": "https://example.org/mine", "type": "integer"}, 4).ok


@pytest.mark.parametrize("draft", DRAFTS)
def test_every_draft_keeps_its_own_rules(draft):
    old = draft in DRAFTS[:2]
    strict = {"minimum": 3, "exclusiveMinimum": True} if old else {"exclusiveMinimum": 3}
    assert not verdict({"$schema": draft, **strict}, 3).ok
    assert verdict({"$schema": draft, **strict}, 4).ok


# ── what it cannot do to us ──────────────────────────────────────────────


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": EVIL},
        {"patternProperties": {EVIL: {"type": "null"}}},
        {"patternProperties": {EVIL: {}}, "additionalProperties": False},
        {"propertyNames": {"pattern": EVIL}},
        {"allOf": [{"$schema": DRAFTS[3], "pattern": EVIL, "patternProperties": {EVIL: {}}}]},
        {"extends": {"pattern": EVIL}},
        {"$dynamicAnchor": "meta", "$ref": DRAFTS[-1], "pattern": EVIL},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$schema": DRAFTS[0], "pattern": EVIL}}},
        {"unevaluatedProperties": False, "patternProperties": {EVIL: {}}},
        {"unevaluatedProperties": False, "allOf": [{"$ref": "#/x"}], "x": {"patternProperties": {EVIL: {}}}},
    ],
)
@pytest.mark.parametrize("value", [VICTIM, {VICTIM: 1}])
def test_a_hostile_pattern_costs_nothing_wherever_it_hides(draft, schema, value):
    began = time.process_time()
    with contextlib.suppress(ValueError):  # some can never be applied
        verdict({"$schema": draft, **schema}, json.dumps(value))
    assert time.process_time() - began < 2  # `re` would take years


@pytest.mark.parametrize(
    "ref", ["https://example.org/a.json#/b", "file:///etc/passwd", "other.json", "#/nowhere", "#gone"]
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_schema_with_a_reference_that_leads_out_of_it_is_refused_when_it_is_given(ref, inside):
    schema = {"properties": {"a": {"items": {"$ref": ref}}}} if inside else {"$ref": ref}
    with pytest.raises(ValueError, match="schema: it can never be applied: a reference leads to nothing"):
        JsonSchema(schema=schema)


def test_nobody_is_called_for_a_schema():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for schema in (
            {"$ref": address},
            {"$id": address, "$ref": "x"},
            {"$schema": address},
            {"$dynamicRef": address},
        ):
            with contextlib.suppress(ValueError):
                verdict(schema, 4)
        with pytest.raises(TimeoutError):
            server.accept()


def test_references_within_the_schema_are_followed():
    schema = {
        "$id": "https://example.org/tree",
        "$ref": "#/$defs/node",
        "$defs": {"node": {"items": {"$ref": "#/$defs/node"}, "type": "array"}},
    }
    assert verdict(schema, [[], [[]]]).ok
    assert not verdict(schema, [[], [3]]).ok


def doubling(depth: int) -> dict:
    """A schema that takes 2ᵈᵉᵖᵗʰ steps, written in a few lines."""
    steps = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/a0", "$defs": {**steps, f"a{depth}": True}}


def nested(depth: int) -> dict:
    schema: dict = {}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "#"}, "refers to itself"),
        ({"allOf": [{"anyOf": [{"$ref": "#"}]}]}, "refers to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}}, "itself"),
        ({"pattern": "(?=look)ahead"}, "looks ahead"),
        ({"properties": {"a": {"items": {"pattern": "(?<!x)y"}}}}, "looks behind"),
        ({"patternProperties": {r"(a)\1": {}}}, "refers back"),
        ({"$ref": "#/x", "x": {"pattern": r"\Aa"}}, "which ECMA-262 has not"),
        ({"$ref": "#/x", "x": {"type": 5}}, "is no schema"),
        ({"$ref": "#/x", "x": {"minimum": "a"}}, "is no schema"),
        ({"$ref": "#/anyOf/x", "anyOf": [True]}, "schema"),
        ({"unevaluatedProperties": False, "patternProperties": {"a": {}}}, "unevaluatedProperties together with"),
    ],
)
def test_a_schema_that_can_never_be_applied_is_refused_when_it_is_given(schema, why):
    with pytest.raises(ValueError, match="schema: it can never be applied: ") as refused:
        JsonSchema(schema=schema)
    assert why in str(refused.value)


def test_what_only_looks_like_a_pattern_or_a_reference_is_data():
    for schema in (
        {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}},
        {"enum": [{"pattern": "(?=a)"}, {"$ref": "#/gone"}]},
        {"const": {"$ref": "other.json"}},
    ):
        assert verdict(schema, {"pattern": "(?=a)"} if "enum" in schema else {}).ok is ("const" not in schema)


def test_a_schema_that_takes_too_long_refuses_the_candidate_and_says_so():
    began = time.process_time()
    said = verdict(doubling(40), 4)
    assert (said.ok, "takes more than" in said.why) == (False, True), said.why
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("value", "divisor", "ok"),
    [
        (19.99, 0.01, True),
        (0.3, 0.1, True),
        (1.1, 0.1, True),
        (4.02, 0.01, True),
        (1e22, 7, False),
        (19.999, 0.01, False),
        (0.35, 0.1, False),
        (10**30, 3, False),
        (3 * 10**30, 3, True),
        (1e-7, 1e-8, True),
        (0, 0.01, True),
        (7.5, 2.5, True),
    ],
)
def test_decimals_are_multiples_as_they_are_written(value, divisor, ok):
    assert verdict({"multipleOf": divisor}, value).ok is ok
    assert verdict({"properties": {"a": {"multipleOf": divisor}}}, {"a": value}).ok is ok


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_every_decimal_is_a_multiple_of_its_last_place(digits, places):
    assert verdict({"multipleOf": float(f"1e-{places}")}, f"{digits}e-{places}").ok


def test_a_schema_that_nests_without_measure_is_refused_when_it_is_given():
    with pytest.raises(ValueError, match="is nested too deeply"):
        JsonSchema(schema=nested(900))
    assert verdict(nested(20), {"a": {"a": {}}}).ok


def test_a_schema_that_takes_too_long_to_read_is_refused_when_it_is_given():
    with pytest.raises(ValueError, match="takes more than"):
        JsonSchema(schema={"anyOf": [{"properties": {f"p{n}": {"type": "integer"}}} for n in range(100_000)]})


def test_long_lists_are_found_to_be_unique_in_no_time():
    schema = {"uniqueItems": True}
    began = time.process_time()
    assert verdict(schema, [{"a": n} for n in range(20_000)]).ok
    assert time.process_time() - began < 5  # comparing each with each takes a minute
    assert not verdict(schema, [[1], {"a": 1}, [1.0]]).ok
    assert verdict(schema, [1, True, "1", None, [1]]).ok


# ── the same as the reference implementation where that is safe to ask ──

keywords = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string", "integer", "number", "null"]),
        "pattern": st.sampled_from(["^a", "b$", "[ab]+"]),
        "minLength": st.integers(0, 3),
        "minimum": st.integers(-2, 2),
        "required": st.lists(st.sampled_from("ab"), unique=True),
        "properties": st.dictionaries(st.sampled_from("ab"), st.booleans()),
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), st.booleans()),
        "additionalProperties": st.booleans() | st.just({"type": "integer"}),
        "uniqueItems": st.booleans(),
        "enum": st.lists(st.sampled_from(["a", 1, None]), min_size=1, max_size=2),
    },
)
schemas = st.recursive(
    keywords,
    lambda inner: (
        st.dictionaries(st.sampled_from(["items", "not"]), inner)
        | st.dictionaries(st.sampled_from(["allOf", "anyOf", "oneOf"]), st.lists(inner, min_size=1, max_size=2))
    ),
    max_leaves=4,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(schemas, values)
def test_it_accepts_what_jsonschema_accepts(schema, value):
    said = verdict(schema, json.dumps(value))
    assert said.ok == jsonschema.Draft202012Validator(schema).is_valid(value), said.why


@given(
    values,
    st.sampled_from(
        ["$ref", "$schema", "$id", "$dynamicRef", "$recursiveRef", "properties", "items", "allOf", "dependentRequired"]
    ),
    values,
)
def test_no_schema_raises_anything_but_that_it_is_wrong(inner, name, value):
    for schema in ({name: inner}, {"$ref": "#/x", "x": {name: inner}}):
        try:
            checked = JsonSchema(schema=schema)
        except ValueError:
            continue
        assert isinstance(asyncio.run(checked.verify(Completion(text=json.dumps(value)))).ok, bool)
