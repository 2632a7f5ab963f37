"""What an answer says, whatever words surround it, and who accepts it."""

from __future__ import annotations

import asyncio
import json
import time
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tierwise.spec.call import Completion
from tierwise.verifiers import Choice, Exact, Number, Regex, Verifier
from tierwise.verifiers.answers import (
    answer_key,
    canonical,
    fenced,
    json_in,
    marked,
    normalised,
    number_in,
    spoken,
)
from tierwise.verifiers.options import options_of

EQUALITIES = ("auto", "number", "choice", "json", "text")
MINUS = "\N{MINUS SIGN}"


def verdict(verifier: Verifier, text: str):
    return asyncio.run(verifier.verify(Completion(text=text)))


def accepts(verifier: Verifier, text: str) -> bool:
    return verdict(verifier, text).ok


def key(text: str, equality: str = "auto") -> str | None:
    return answer_key(Completion(text=text), equality)


# ── numbers ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("It is 42.", 42),
        ("about $1,234.50 in all", Fraction("1234.5")),
        ("$-5 or -$5", -5),
        (f"{MINUS}3", -3),
        ("+7", 7),
        ("1e3", 1000),
        ("2.5E-2 m", Fraction("0.025")),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("-1/3 of it", Fraction(-1, 3)),
        ("1 1/2 cups", Fraction(3, 2)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"2\frac{3}{4}", Fraction(11, 4)),
        (r"$-\dfrac{1}{2}$", Fraction(-1, 2)),
        ("10/12/2024", None),
        ("on 2024-01-15", None),
        ("It was 42 on 2024-01-15", 42),
        ("50%", 50),
        ("5km", 5),
        ("1,2,3", None),
        ("12,345,678 people", 12_345_678),
        (r"1{,}234", 1234),
        ("- 5 apples", 5),
        ("10-3", None),
        ("first 3, then 4", 4),
        ("x2 is 5 and y7", 5),
        ("0.1", Fraction(1, 10)),
        ("no number at all", None),
        ("", None),
        ("1e999999999999", None),
        ("9" * 5000, None),
        ("1/0", None),
    ],
)
def test_the_last_number_counts_however_it_is_written(text, number):
    assert number_in(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 18 dollars for 7 days", 18),
        ("The answer is 3 * 6 = 18", 18),
        ("3 apples and 4 pears.\n#### 7\nWe are 100% sure", 7),
        (r"so \boxed{12} it is, by 3 steps", 12),
        (r"\boxed{\frac{1}{2}} and not 7", Fraction(1, 2)),
        (r"\boxed{1}, no: \boxed{2}. Done in 3.", 2),
        (r"The final answer is \boxed{4}. 5 stars!", 4),
        ("**Answer:** 42\nThat took 7 steps.", 42),
        ("answer = -8 (of 9)", -8),
        ("The answer isn't 5 but 6", 6),
        ("The answer is obvious: 6", 6),
        (r"\boxed{", None),
    ],
)
def test_the_number_that_is_marked_counts_more_than_the_last(text, number):
    assert number_in(text) == number


@given(st.integers(-(10**12), 10**12))
def test_any_whole_number_is_read_back_in_every_way_of_writing_it(number):
    sign = "-" if number < 0 else ""
    for text in (
        f"{number}",
        f"{number:,}",
        f"{sign}${abs(number):,}.00",
        f"{number}.0",
        f"so #### {number}",
        f"{number}/1",
    ):
        assert number_in(text) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6))
def test_equal_numbers_are_equal_votes(number):
    assert key(f"it is {number}", "number") == key(f"{number:,} in all", "number") == key(f"{number}0", "number")


@pytest.mark.parametrize(
    ("equals", "text", "ok"),
    [
        (12, "12", True),
        (12, "12.0000001", True),
        (12, "12.1", False),
        (0.1, "0.1", True),
        (0.75, "3/4", True),
        (0, "0.0000001", False),
        (0, "0.000", True),
        (1e9, "1000000500", False),
        (1e9, "1000005000", False),
        (1000000, "1000001", False),
        (10**30, str(10**30 + 1), False),
        (10**30, str(10**30), True),
        (3.14159265, "3.141592", False),
        (1 / 3, "0.333333", True),
        (1 / 3, r"\frac13", True),
        (1 / 3, "0.3333", False),
        (1.6e-19, "0", False),
        (1.6e-19, "1.6e-19", True),
        (-3, f"{MINUS}3", True),
        (None, "any 7", True),
        (None, "none", False),
    ],
)
def test_a_number_is_accepted_within_its_tolerance(equals, text, ok):
    assert accepts(Number(equals=equals), text) is ok


def test_no_tolerance_at_all_means_the_number_as_it_is_written():
    assert accepts(Number(equals=0.1, tolerance=0), "0.1")
    assert not accepts(Number(equals=0.1, tolerance=0), "0.1000000001")


def test_a_number_is_decisive_only_when_it_knows_the_right_one():
    assert (Number(equals=1).decisive, Number().decisive) == (True, False)


@pytest.mark.parametrize("settings", [{"equals": float("inf")}, {"equals": float("nan")}, {"tolerance": float("inf")}])
def test_only_finite_numbers_can_be_right(settings):
    with pytest.raises(ValueError, match="finite"):
        Number(**settings)


# ── choices ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "options", "choice"),
    [
        ("It is red.", ("red", "blue"), "red"),
        ("RED", ("red", "blue"), "red"),
        ("dark red", ("red", "dark red"), "dark red"),
        ("dark\n red, I think", ("red", "dark red"), "dark red"),
        ("red", ("red", "dark red"), "red"),
        ("Not red but dark red", ("red", "dark red"), "dark red"),
        ("Not dark red, but red", ("red", "dark red"), "red"),
        ("a bored reddish thing", ("red", "blue"), None),
        ("First red, then blue", ("red", "blue"), "blue"),
        ("The answer is blue because red is wrong", ("red", "blue"), "blue"),
        (r"\boxed{blue} and not red", ("red", "blue"), "blue"),
        ("B is a good choice", ("A", "B"), "B"),
        ("b", ("A", "B"), "B"),
        ("(b)", ("A", "B"), "B"),
        ("**B**", ("A", "B"), "B"),
        ("The answer is (B) 5 metres. A is too short.", ("A", "B"), "B"),
        ("I like C++ best", ("C", "C++"), "C++"),
        ("yes!", ("yes", "no"), "yes"),
        ("no idea, so: yes", ("yes", "no"), "yes"),
        ("", ("yes", "no"), None),
        ("NEW\tYORK", ("new york", "york"), "new york"),
        ("Straße", ("straße", "weg"), "straße"),
    ],
)
def test_an_option_is_named_as_a_whole_word_the_longest_first(text, options, choice):
    chosen = options_of(options).chosen(text)
    assert (options[min(chosen)] if len(chosen) == 1 else None) == choice


@given(st.lists(st.text("ab ", min_size=1, max_size=4).filter(str.strip), min_size=2, max_size=5), st.data())
def test_every_option_names_itself_whatever_the_others_are(options, data):
    try:
        choice = Choice(options=tuple(options))
    except ValueError:
        return
    option = data.draw(st.sampled_from(options))
    assert choice.key(Completion(text=option)) == option
    assert choice.key(Completion(text=f"I choose: {option}.")) is not None


def test_a_choice_is_accepted_when_it_is_the_right_one():
    right = Choice(options=("yes", "no"), equals="yes")
    assert [accepts(right, text) for text in ("Yes.", "No.", "maybe")] == [True, False, False]
    assert verdict(right, "no").why == "no instead of yes"
    assert accepts(Choice(options=("yes", "no")), "no")


@pytest.mark.parametrize("options", [(), ("a",), ("a", "a"), ("a", "A"), ("a b", "a  b"), ("a", " ")])
def test_options_must_differ_in_what_counts(options):
    with pytest.raises(ValueError, match="give at least two that differ"):
        Choice(options=options)


def test_the_right_option_must_be_one_of_them():
    with pytest.raises(ValueError, match="'maybe' is not one of the options yes, no"):
        Choice(options=("yes", "no"), equals="maybe")


# ── JSON ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", [1, 2]),
        ("null", None),
        ('"text"', "text"),
        ('Here you are: {"a": [1]} Anything else?', {"a": [1]}),
        ('[see below] {"a": 1}', {"a": 1}),
        ('Here: [{"a": 1}]', [{"a": 1}]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('First\n```json\n{"a": 1}\n```\nthen\n```\n{"a": 2}\n```\nDone {really}', {"a": 2}),
        ('```json\n{"a": 1}', {"a": 1}),
        ('{"a": 1.0}', {"a": 1}),
    ],
)
def test_json_is_found_in_its_fences_or_in_prose(text, value):
    assert json_in(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "{",
        "}{",
        "{'a': 1}",
        "NaN",
        "[Infinity]",
        "1e400",
        "[" * 100_000,
        '{"a":' * 99_999,
        "[" * 100 + "]" * 100,
    ],
)
def test_what_is_no_json_is_refused_and_never_breaks_anything(text):
    with pytest.raises(ValueError, match="not JSON"):
        json_in(text)


def test_json_is_the_same_whatever_the_order_of_its_keys():
    assert key('{"b": [1.0, true], "a": "é"}', "json") == key('```\n{"a":"\\u00e9","b":[1,true]}\n```', "json")
    assert key('{"a": 1}', "json") != key('{"a": true}', "json")
    assert key("null", "json") == "null"
    assert key("nothing here", "json") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=8,
    )
)
def test_json_survives_being_written_and_found_again(value):
    assert json_in(json.dumps(value, indent=2)) == value
    assert canonical(value) == key(json.dumps(value), "json")


# ── texts, marks, thinking ───────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>is it 3?</think>4", "4"),
        ("<think>\nis it 3?\n</think>\n\n4", "4"),
        ("is it 3?</think>4", "4"),
        ("<think>a <think> b </think> c </think>4", "4"),
        ("<think>still at it", ""),
        ("a<think>b</think>c<think>d</think>e", "ace"),
        ("4", "4"),
    ],
)
def test_thinking_is_not_what_is_said(text, said):
    assert spoken(Completion(text=text)) == said


@pytest.mark.parametrize("equality", EQUALITIES)
def test_thinking_changes_no_vote(equality):
    assert key("<think>7? {}</think>The answer is 4", equality) == key("The answer is 4", equality)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        (r"\boxed{x^{2}}", "x^{2}"),
        (r"\boxed {4}", "4"),
        ("#### 42", "42"),
        ("  ####42 ", "42"),
        ("##### Steps", None),
        ("The answer is: **Paris**.", "Paris"),
        ("Final Answer:\n\nParis", "Paris"),
        ("ANSWER = 7", "7"),
        ("the answer is never", "never"),
        ("answers: 3", None),
        (r"\boxed{never closed", None),
        ("nothing", None),
    ],
)
def test_what_an_answer_marks_as_its_result_is_found(text, mark):
    assert marked(text) == mark


@pytest.mark.parametrize(
    ("one", "other"),
    [("Paris.", " paris "), ("*Paris*", "PARIS"), ("New  York", "new\nyork"), ('"Straße"', "STRASSE")],
)
def test_case_blanks_and_punctuation_at_the_ends_make_no_difference(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("4", "The answer is 4."),
        ("4.0", r"\boxed{4}"),
        ("$1,000", "1e3"),
        ("Paris", "The answer is **Paris**"),
        ('{"a": 1, "b": 2}', '```json\n{"b": 2, "a": 1}\n```'),
        ("0.5", "1/2"),
    ],
)
def test_votes_that_mean_the_same_are_the_same(one, other):
    assert key(one) == key(other) is not None


@pytest.mark.parametrize(
    ("one", "other"), [("4", "5"), ("Paris", "London"), ('{"a": 1}', '{"a": 2}'), ("4", "-4"), ("1/2", "1/3")]
)
def test_votes_that_do_not_are_not(one, other):
    assert key(one) != key(other)


@pytest.mark.parametrize(
    "text", ["B", "(B)", "b", "**B**", "B. Paris", "The answer is B", r"\boxed{B}", "Answer: (b)", "So I choose B"]
)
def test_the_letter_of_a_choice_is_the_vote(text):
    assert key(text, "choice") == "B"


@pytest.mark.parametrize("equality", EQUALITIES)
def test_nothing_said_is_no_vote(equality):
    assert key("", equality) is None
    assert key("<think>hm", equality) is None


def test_code_is_what_stands_in_the_last_block():
    assert fenced("Try\n```python\na = 1\n```\nor better\n```py title=x\na = 2\n```\nBye") == "a = 2"
    assert fenced("a = 3\n") == "a = 3"
    assert fenced("```\na = 4") == "a = 4"
    assert fenced("Use `x` and ```y``` inline") == "Use `x` and ```y``` inline"


def called(*calls) -> Completion:
    return Completion(tool_calls=tuple({"id": f"call_{place}", "function": call} for place, call in enumerate(calls)))


@pytest.mark.parametrize("equality", EQUALITIES)
def test_tool_calls_are_compared_by_name_and_arguments(equality):
    def vote(*calls):
        return answer_key(called(*calls), equality)

    one = {"name": "add", "arguments": '{"a": 1, "b": 2.0}'}
    assert (
        vote(one)
        == vote({"name": "add", "arguments": '{"b":2,"a":1}'})
        == vote({"name": "add", "arguments": {"a": 1, "b": 2}})
    )
    assert vote(one) != vote({"name": "sub", "arguments": one["arguments"]})
    assert vote(one) != vote({"name": "add", "arguments": '{"a": 1}'})
    assert vote(one) != vote(one, one)
    assert vote({"name": "add", "arguments": "not json"}) != vote({"name": "add", "arguments": "not json either"})


def test_ids_and_odd_shapes_of_tool_calls_do_not_matter():
    deep: dict = {}
    for _ in range(500):
        deep = {"a": deep}
    for odd in ({}, {"function": None}, {"function": {"arguments": None}}, {"function": {"arguments": deep}}):
        assert answer_key(Completion(tool_calls=(odd,)), "auto") is not None


# ── exact, regex ─────────────────────────────────────────────────────────


def test_an_exact_answer_may_be_marked_or_stand_alone():
    paris = Exact(equals="Paris")
    assert all(accepts(paris, text) for text in ("paris.", "The answer is Paris", r"\boxed{Paris}"))
    assert not any(accepts(paris, text) for text in ("Paris, France", "", "London"))
    assert paris.key(Completion(text="The answer is Paris.")) == paris.key(Completion(text="paris"))


def test_an_exact_answer_of_nothing_but_punctuation_would_accept_everything_and_is_refused():
    for blank in ("", " ", "...", "!"):
        with pytest.raises(ValueError, match="only whitespace and punctuation"):
            Exact(equals=blank)


def test_a_pattern_is_searched_and_votes_for_what_it_finds():
    pattern = Regex(pattern=r"[A-Z]{2}-\d+")
    assert accepts(pattern, "it is AB-12.")
    assert not accepts(pattern, "it is ab-12.")
    assert pattern.key(Completion(text="AB-12, I say")) == "ab-12"
    assert pattern.key(Completion(text="none")) is None


@pytest.mark.parametrize(
    "pattern",
    ["(", "a{2,1}", "[b-a]", r"(a)\1", "(?=a)", "a{5000}", "(a{999}){999}", "\ud800", "(?:" * 30 + "x" + "{3,})" * 30],
)
def test_what_cannot_be_matched_in_bounded_time_is_refused_at_once_and_says_why(pattern):
    began = time.process_time()
    with pytest.raises(ValueError, match="pattern: "):
        Regex(pattern=pattern)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 50_000 + "b"),
        ("(a|a)+$", "a" * 50_000 + "b"),
        ("(x+x+)+y", "x" * 50_000),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 50_000),
        (r"(.*a){20}$", "a" * 5_000 + "b"),
        (r"[ab]*a[ab]{900}x", "ab" * 20_000),
        (r"(?i)(\pL+\s?)+$", "Straße " * 5_000 + "!"),
    ],
)
def test_a_hostile_pattern_takes_no_time(pattern, text):
    began = time.process_time()
    assert not accepts(Regex(pattern=pattern), text)
    assert time.process_time() - began < 5  # on an idle machine a tenth; `re` would take years


def test_a_pattern_that_is_too_large_for_a_text_is_a_refusal_of_the_candidate():
    large = Regex(pattern=r"^[\pL' -]{1,100}$")
    assert accepts(large, "Ada Lovelace")
    said = verdict(large, "x " * 50_000)
    assert (said.ok, "is too large for a text" in said.why) == (False, True)
    assert large.key(Completion(text="x " * 50_000)) is None


# ── nothing that a model can write breaks anything ──────────────────────

VERIFIERS = [
    Number(equals=4),
    Number(),
    Choice(options=("a", "dark red", "red")),
    Exact(equals="4"),
    Regex(pattern="a+"),
]

PIECES = (
    [
        "answer is ",
        "####",
        r"\boxed{",
        "}",
        "{",
        "[",
        "]",
        "```",
        "\n",
        "<think>",
        "</think>",
        "1",
        ",",
        ".",
        "e9",
        "/",
    ],
    ["0", "-", "$", " ", "a", "dark", "red", '"', ":", r"\frac{1}{2}", r"\frac{", MINUS, "\ud800", "\x00", "٣", "²"],
)
nasty = st.lists(st.sampled_from([*PIECES[0], *PIECES[1]]), max_size=40).map("".join)


@given(st.text() | nasty)
@example("1e99999999999999999999")
@example("[" * 5000)
def test_no_text_raises(text):
    for equality in EQUALITIES:
        assert key(text, equality) != ""
    for verifier in VERIFIERS:
        assert isinstance(verdict(verifier, text).ok, bool)
        assert verifier.key(Completion(text=text)) != ""


@given(st.text() | nasty)
def test_a_verifier_that_accepts_a_candidate_finds_an_answer_in_it(text):
    for verifier in VERIFIERS:
        if accepts(verifier, text):
            assert verifier.key(Completion(text=text)) is not None


UNITS = (
    [
        "\n",
        " ",
        "#### ",
        "####\n",
        "answer: ",
        "answer:\n",
        "answer is\n ",
        r"\boxed{",
        r"\boxed ",
        "1",
        "1,",
        "1 ",
        "1/",
    ],
    [
        "0",
        "1e",
        "- ",
        "```",
        "```a",
        "<think>",
        "</think>",
        "{",
        "[",
        "red ",
        "dark ",
        r"\frac{",
        r"\frac{1}{",
        "*",
        "(A",
    ],
)


@pytest.mark.parametrize("unit", [*UNITS[0], *UNITS[1]])
def test_reading_an_answer_takes_time_in_proportion_to_its_length(unit):
    """A pattern that backtracks would take minutes for the longer of the two."""

    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        began = time.process_time()
        for equality in EQUALITIES:
            key(text, equality)
        options_of(("a", "dark red", "red")).chosen(text)
        return time.process_time() - began

    assert seconds(100_000) < 20 * seconds(10_000) + 1
