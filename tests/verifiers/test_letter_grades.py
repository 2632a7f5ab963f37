"""A grade is the mean over the letters' probabilities, and what is no grade is none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.call import Completion
from tierwise.verifiers.letter_grades import LETTERS, letter_grades


def worth(letter):
    return 1 - LETTERS.index(letter) / 19


def token(text, **alternatives):
    """A token with the probabilities of its alternatives."""
    said = [{"token": name, "logprob": math.log(chance)} for name, chance in alternatives.items()]
    return {"token": text, "logprob": -0.1, "top_logprobs": said}


def reply(*tokens, **fields):
    text = "".join(one["token"] for one in tokens)
    return Completion(**{"text": text, "logprobs": tokens, **fields})


@pytest.mark.parametrize(
    ("said", "grades"),
    [
        ("Draft 2: B\nDraft 5: T", {2: "B", 5: "T"}),
        ("**Draft 2**: B\n**Draft 5**: T", {2: "B", 5: "T"}),
        ("Draft 2: **B**, Draft 5: **T**.", {2: "B", 5: "T"}),
        ("draft 2 = B; draft 5 = T", {2: "B", 5: "T"}),
        ("2: B\n5: T", {2: "B", 5: "T"}),
        ("Draft 2 is B and draft 5 is T", {2: "B", 5: "T"}),
        ("Draft 2's grade: `B`\nDraft 5's grade: `T`", {2: "B", 5: "T"}),
        ("Draft 2: (B)\nDraft 5: [T]", {2: "B", 5: "T"}),
        ("Draft 2: B+\nDraft 5: T-", {2: "B", 5: "T"}),
        ("Draft 2: B\r\nDraft 5: T\r\n", {2: "B", 5: "T"}),
        ("Draft 2: D, then again.\nDraft 2: B\nDraft 5: T", {2: "B", 5: "T"}),
        ("<think>Draft 2: T\nDraft 5: A</think>Draft 2: B\nDraft 5: T", {2: "B", 5: "T"}),
        ("Draft 2: B", {2: "B"}),
        ("Draft 1: A\nDraft 2: B", {2: "B"}),
        ("B", {}),
        ("Draft 2: a good answer\nDraft 5: A bad answer", {}),
        ("Draft 2: U\nDraft 5: Z", {}),
        ("Draft 2: Because it is right, it is good. I prefer it.", {}),
        ("Both drafts are fine.", {}),
        ("<think>Draft 2: B\nDraft 5: T", {}),
        ("", {}),
    ],
)
def test_grades_are_read_from_lines_that_name_a_draft_and_from_nothing_else(said, grades):
    found = letter_grades(Completion(text=said), [2, 5])
    assert found == {draft: worth(letter) for draft, letter in grades.items()}


@pytest.mark.parametrize("said", ["C", " C.", "**C**", "Grade: C", "`C`", "C+", "Draft 4: C"])
def test_a_judge_that_is_asked_for_one_grade_may_say_the_letter_only(said):
    assert letter_grades(Completion(text=said), [4]) == {4: worth("C")}


def test_a_grade_is_the_mean_over_the_letters_weighted_by_their_probabilities():
    completion = reply(
        token("Draft"), token(" 2"), token(":"), token(" B", **{" B": 0.6, " D": 0.2, "B": 0.1, "good": 0.1}),
        token("\n"), token("Draft"), token(" 5"), token(":"), token(" T", **{" T": 0.5, " A": 0.5}),
    )  # fmt: skip
    found = letter_grades(completion, [2, 5])
    assert found[2] == pytest.approx((0.7 * worth("B") + 0.2 * worth("D")) / 0.9)
    assert found[5] == pytest.approx(0.5)


def test_the_letter_that_was_said_counts_where_the_engine_gives_no_alternatives():
    assert letter_grades(reply(token("2: B")), [2]) == {2: worth("B")}
    assert letter_grades(reply(token("2"), token(":"), token(" B")), [2]) == {2: worth("B")}


def test_probabilities_of_the_thinking_are_not_those_of_the_grade():
    thinking = [token("2"), token(":"), token(" T", **{" T": 0.5, " A": 0.5}), token("\n\n")]
    said = [token("2"), token(":"), token(" B", **{" B": 0.5, " D": 0.5})]
    completion = reply(*thinking, *said, text="2: B", reasoning="2: T")
    assert letter_grades(completion, [2]) == {2: pytest.approx((worth("B") + worth("D")) / 2)}


@pytest.mark.parametrize(
    "fields", [{"text": "B", "reasoning": "It is right."}, {"text": "It is right.</think>B"}, {"thought": 2}]
)
def test_a_letter_alone_after_thinking_is_a_mean_over_the_letters_too(fields):
    thinking = [token("It is"), token(" right.")]
    said = [*([token("</think>")] if "</think>" in fields.get("text", "") else []), token("B", B=0.5, D=0.5)]
    completion = reply(*thinking, *said, **{"text": "B", **fields})
    assert letter_grades(completion, [2]) == {2: pytest.approx((worth("B") + worth("D")) / 2)}


@pytest.mark.parametrize("broken", [None, "0.5", float("nan"), 3.0, float("-inf")])
def test_alternatives_that_are_no_log_probabilities_are_ignored(broken):
    alternatives = [{"token": " B", "logprob": broken}, {"token": " T", "logprob": broken}, {}, "B", None]
    tokens = ({"token": "2:"}, {"token": " B", "top_logprobs": alternatives})
    assert letter_grades(Completion(text="2: B", logprobs=tokens), [2]) == {2: worth("B")}


def test_a_log_probability_that_a_server_rounded_above_0_counts_as_0():
    alternatives = [{"token": one, "logprob": value} for one, value in [(" A", 1e-4), (" S", -11.0), (" T", -12.0)]]
    tokens = ({"token": "2:"}, {"token": " A", "top_logprobs": alternatives})
    assert letter_grades(Completion(text="2: A", logprobs=tokens), [2]) == {2: pytest.approx(1, abs=1e-4)}


tokens = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "token": st.none() | st.sampled_from(["Draft 1: ", "A", " T", "B", "\n2: "]) | st.text(max_size=3),
            "logprob": st.none() | st.floats(),
            "top_logprobs": st.none()
            | st.lists(st.fixed_dictionaries({"token": st.sampled_from("ABT"), "logprob": st.floats()}), max_size=4),
        },
    ),
    max_size=8,
)


@given(st.lists(st.sampled_from(["Draft ", "1", "2", ": ", "A", "T", "\n", "<think>", "é"])).map("".join), tokens)
def test_whatever_a_judge_says_gives_grades_on_the_scale_of_drafts_that_were_asked_for(text, said):
    for one in (text, "".join(str(token.get("token") or "") for token in said)):
        found = letter_grades(Completion(text=one, logprobs=tuple(said)), [1, 2])
        assert found.keys() <= {1, 2}
        assert all(0 <= grade <= 1 for grade in found.values())
