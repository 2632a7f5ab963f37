"""Verifiers that are read and applied in the pool if they are large: the results are those of the verifier itself."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise.spec import limits
from tierwise.spec.call import Completion
from tierwise.verifiers import JsonSchema, Number, PythonTests, Regex, VerifierChoice, pooled
from tierwise.verifiers.answers import answer_key
from tierwise.verifiers.math_verify import can_evaluate
from tierwise.verifiers.pooled import judge, key_of, read_here, read_verifier, vote_of


def read(given):
    return asyncio.run(read_verifier(given))


def judged(verifier, text):
    return asyncio.run(judge(verifier, Completion(text=text)))


@pytest.fixture
def jobs(monkeypatch):
    """The names of the functions that ran in the pool."""
    names = []
    call = pooled.pool.call

    async def counting(function, *arguments, **how):
        names.append(function.__name__)
        return await call(function, *arguments, **how)

    monkeypatch.setattr(pooled.pool, "call", counting)
    return names


SMALL = [
    ({"number": {"equals": 12}}, "It is 12."),
    ({"number": {}}, "There were 12 on day 3. " * 12),
    ({"choice": {"options": ["red", "blue"], "equals": "red"}}, "red"),
    ({"exact": {"equals": "Paris"}}, "Paris." + " " * 500),
    ({"regex": {"pattern": r"^\d+$"}}, "12345"),
    ({"json_schema": {"schema": {"type": "object", "required": ["a"]}}}, '{"a": 1}'),
]
LARGE = [
    ({"number": {"equals": 12}}, "x " * 5_000 + "12"),
    ({"choice": {"options": [f"option number {n}" for n in range(1000)]}}, "option number 7"),
    ({"exact": {"equals": "a" * 2_000}}, "a" * 2_000),
    ({"regex": {"pattern": "(a)?" * 1000}}, "a" * 100),
    ({"regex": {"pattern": r"(?:\pL|\pN){40}"}}, "a" * 100),
    ({"json_schema": {"schema": {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}}}, "12"),
    ({"json_schema": {"schema": {"enum": list(range(1000))}}}, "999"),
]


@pytest.mark.parametrize(("given", "text"), SMALL)
def test_a_typical_check_stays_in_this_process(given, text, jobs):
    verifier = read(given)
    assert judged(verifier, text).ok
    assert asyncio.run(key_of(verifier, Completion(text=text)))
    assert jobs == []


@pytest.mark.parametrize(("given", "text"), LARGE)
def test_a_large_check_runs_in_the_pool_with_the_same_result(given, text, jobs):
    verifier = read(given)
    here = msgspec.convert(given, VerifierChoice).member
    for said in (text, "none of this"):
        completion = Completion(text=said)
        found = judged(verifier, said)
        assert found == asyncio.run(here.verify(completion))
        assert asyncio.run(key_of(verifier, completion)) == here.key(completion)
    assert "_judge" in jobs or "_try_to_read" in jobs
    assert (verifier.kind, verifier.decisive) == (here.kind, here.decisive)
    assert isinstance(verifier, type(here))
    assert msgspec.to_builtins(verifier) == msgspec.to_builtins(here)


HOSTILE = ["√" * 500, "½" * 700, "1/" * 500, "12 " * 300, "$1" * 500, r"\(Answer: " * 100]
NAMING = ["(A" * 500, "*a" * 500, "选if " * 250, "Answer: B " * 100]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        *[({"number": {"equals": 12}}, text) for text in HOSTILE],
        *[({"choice": {"options": ["A", "B", "C"]}}, text) for text in NAMING],
    ],
)
def test_a_short_text_of_many_numbers_or_options_is_read_in_the_pool_with_the_same_result(given, text, jobs):
    verifier, completion = read(given), Completion(text=text)
    assert judged(verifier, text) == asyncio.run(verifier.verify(completion))
    assert asyncio.run(key_of(verifier, completion)) == verifier.key(completion)
    assert jobs == ["_judge", "_key"]


@pytest.mark.parametrize("text", HOSTILE[:4])
def test_a_vote_of_many_numbers_is_read_in_the_pool_with_the_same_result(text, jobs):
    completion = Completion(text=text)
    assert asyncio.run(vote_of(completion, "number")) == answer_key(completion, "number")
    assert jobs == ["answer_key"]


def test_large_settings_are_read_in_the_pool_once(jobs):
    given = {"python_tests": {"tests": "a = f()\n" * 1000, "seconds": 7}}
    for _ in range(3):
        assert isinstance(verifier := read(given), PythonTests)
        assert verifier.seconds == 7
    assert jobs == ["_try_to_read"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"python_tests": {"tests": "a = 1\n" * 1000 + "b ="}}, "do not compile"),
        ({"python_tests": {"tests": "a = f()\n" * 1000, "seconds": "soon"}}, "Expected `float`, got `str`"),
        ({"regex": {"pattern": "(" + "a" * 2000}}, "does not compile"),
        ({"regex": {"pattern": r"\pL{1000}"}}, "does not compile"),
        ({"json_schema": {"schema": {"type": "wizard", "description": "x" * 2000}}}, "not a JSON Schema"),
        ({"wizard": {"spell": "x" * 2000}}, "wizard"),
        ({"number": {}, "exact": {"equals": "x" * 2000}}, "give exactly one of"),
        ({"exact": {"equals": "?" * 2000}}, "only whitespace and punctuation"),
        ({}, "give exactly one of"),
        ("number", "Expected `object`"),
        (7, "Expected `object`"),
        ({"exact": "x" * 2000}, r"Expected `object \| null`, got `str` - at `\$.exact`"),
    ],
)
def test_wrong_settings_are_refused_in_the_words_of_the_verifier(given, message):
    with pytest.raises((ValueError, msgspec.ValidationError), match=message) as here:
        read_here(given)
    with pytest.raises((ValueError, msgspec.ValidationError), match=message) as aside:
        read(given)
    assert str(here.value) == str(aside.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"python_tests": {"tests": "x" * (limits.TESTS_BYTES + 1)}},
            r"262,145 .* 262,144 - at `\$.python_tests.tests`",
        ),
        ({"python_tests": {"tests": "é" * (limits.TESTS_BYTES // 2 + 1)}}, "has 262,146 bytes"),
        (
            {"regex": {"pattern": "x" * (limits.PATTERN_BYTES + 1)}},
            r"4,097 .* 4,096 - at `\$.regex.pattern`",
        ),
        ({"choice": {"options": ["a"] * 1_001}}, r"has 1,001 options; .* 1,000 - at `\$.choice.options`"),
        ({"choice": {"options": ["a", "b" * 201]}}, r"has 201 characters; .* 200 - at `\$.choice.options\[1\]`"),
        ({"exact": {"equals": "x" * 65_537}}, "has 65,537 characters"),
        ({"json_schema": {"schema": {"enum": ["x" * 65_536]}}}, "has 65,549 bytes as JSON"),
        ({"number": {"equals": [0] * 40_000}}, "has 80,001 bytes as JSON"),
    ],
)
def test_every_part_of_a_verifier_has_a_size_that_the_error_names(given, message):
    for reader in (read, read_here):
        with pytest.raises(ValueError, match=message):
            reader(given)


def test_tests_as_long_as_the_limit_allows_are_read_whatever_they_hold():
    tests = "assert double(2) == 4\n"
    assert read({"python_tests": {"tests": tests * (limits.TESTS_BYTES // len(tests))}}).is_ready


def test_settings_at_their_limits_are_read():
    tests = "assert f()\n"
    assert read({"python_tests": {"tests": tests + "#" * (limits.TESTS_BYTES - len(tests))}}).is_ready
    assert isinstance(read({"regex": {"pattern": "x" * limits.PATTERN_BYTES}}), Regex)
    options = [f"{n:0200}" for n in range(1000)]
    assert judged(read({"choice": {"options": options}}), options[5]).ok


@pytest.mark.parametrize(
    "verifier", [Number(), Regex(pattern="a"), JsonSchema(schema=True), PythonTests(tests="assert f()")]
)
def test_an_answer_that_is_too_long_is_rejected_without_reading_it(verifier, jobs):
    text = "1" * (limits.ANSWER_CHARACTERS + 1)
    verdict = judged(verifier, text)
    assert not verdict.ok
    assert "262,145 characters" in verdict.why
    assert asyncio.run(key_of(verifier, Completion(text=text))) is None
    assert asyncio.run(vote_of(Completion(text=text), "auto")) is None
    assert jobs == []


@pytest.mark.skipif(not can_evaluate(), reason="math-verify and a sandbox are needed")
def test_a_formula_at_the_end_of_a_long_answer_is_evaluated_as_in_a_short_one():
    verifier = read({"number": {"equals": 10}})
    formula = r"\boxed{\log_2 1024}"
    assert judged(verifier, formula).ok
    assert judged(verifier, "I think. " * 1000 + formula).ok
    assert not judged(verifier, "I think. " * 1000 + r"\boxed{\log_2 1023}").ok


def test_settings_that_take_too_long_to_read_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "CODE_CPU_SECONDS", 0.001)
    with pytest.raises(
        ValueError, match=r"cannot be read: it takes more than 0\.001 s of CPU time; give a smaller one"
    ):
        read({"python_tests": {"tests": "a = f()\n" * 30_000}})


def doubling(levels):
    """A schema with two references per level: 2ⁿ steps."""
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "integer"}}}


def test_a_schema_whose_references_double_at_every_level_is_rejected_in_time():
    verdict = judged(read({"json_schema": {"schema": doubling(40)}}), "1")
    assert not verdict.ok
    assert "more than" in verdict.why


def test_a_job_of_a_cancelled_check_is_ended():
    async def main() -> None:
        verifier = await read_verifier({"json_schema": {"schema": doubling(40)}})
        task = asyncio.create_task(judge(verifier, Completion(text="1")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await judge(await read_verifier({"regex": {"pattern": "(a)?" * 300}}), Completion(text="a" * 50))).ok

    asyncio.run(asyncio.wait_for(main(), 60))


@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=40), equality=st.sampled_from(["auto", "number", "choice", "json", "text"]))
def test_a_vote_read_in_the_pool_is_the_vote_read_here(text, equality):
    padded = Completion(text=text + " " * 5_000)
    assert asyncio.run(vote_of(padded, equality)) == asyncio.run(vote_of(Completion(text=text), equality))
