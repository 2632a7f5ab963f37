"""The option that an answer chooses, whatever else it names."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.call import Completion
from tierwise.verifiers import Choice
from tierwise.verifiers.options import options_of

L = ("A", "B", "C", "D")
T = ("Paris", "London", "Rome", "Madrid")
YN = ("yes", "no")
J = tuple("ABCDEFGHIJ")
CASES = [
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
    ("yes!", YN, "yes"),
    ("no idea, so: yes", YN, "yes"),
    ("", YN, None),
    ("NEW\tYORK", ("new york", "york"), "new york"),
    ("Straße", ("straße", "weg"), "straße"),
    ("B. A triangle has three sides.", L, "B"),
    ("The best option is C. I hope this helps!", L, "C"),
    ("The correct option is B. (A is wrong because it is too small.)", L, "B"),
    ("The answer is not A but B.", L, "B"),
    ("选B", L, "B"),
    ("**Answer**: B\nA would be too small.", L, "B"),
    ("### Answer\nB\n\nOption A fails.", L, "B"),
    ("Yes. There is no doubt about it.", YN, "yes"),
    ("Sentiment: Positive\nReason: it has no negative words.", ("positive", "negative"), "positive"),
    ("I don't know.", J, None),
    ("_B_", L, "B"),
    ("I think the answer is D.", L, "D"),
    ("A or B", L, None),
    ("It could be A or B.", L, None),
    ("The answer is either A or B.", L, None),
    ("The answer is A or B", L, None),
    ("I ruled out A and C, so B remains... but D fits best.", L, "D"),
    ("This rules out C. It must be D", L, "D"),
    ("It might be B.", L, None),
    ("Maybe A, but the correct answer is C.", L, "C"),
    ("I was leaning towards A, but B is correct.", L, "B"),
    ("A is wrong. B is wrong. C is right. D is wrong.", L, "C"),
    ("A. wrong\nB. wrong\nC. right: the answer\nD. wrong", L, "C"),
    ("\\boxed{\\text{B}}", L, "B"),
    ("<answer>C</answer> A is bad", L, "C"),
    ("[B]", L, "B"),
    ("【答案】B", L, "B"),
    ("答案是B。因为A太小", L, "B"),
    ("正确答案是 C", L, "C"),
    ("La respuesta correcta es B.", L, "B"),
    ("Die richtige Antwort ist C, nicht B.", L, "C"),
    ("La bonne réponse est D", L, "D"),
    ("Правильный ответ: B", L, "B"),
    ("正解はBです", L, "B"),
    ("정답은 C입니다", L, "C"),
    ("I would choose B because A is too small", L, "B"),
    ("Answer: (C) Rome", L, "C"),
    ("Option B", L, "B"),
    ("option b", L, "B"),
    ("B)", L, "B"),
    ("B: since", L, "B"),
    ("The answer is I.", J, "I"),
    ("I believe the answer is C", J, "C"),
    ("I think so", J, None),
    ("(I)", J, "I"),
    ("The answer: **I**", J, "I"),
    ("I. Because", J, "I"),
    ("\\boxed{I}", J, "I"),
    ("B", T, "London"),
    ("(C)", T, "Rome"),
    ("The answer is B.", T, "London"),
    ("B) London", T, "London"),
    ("B) Rome", T, None),
    ("London", T, "London"),
    ("The capital is Paris, not London.", T, "Paris"),
    ("The answer is D. Madrid", T, "Madrid"),
    ("A city like London", T, "London"),
    ("\\boxed{\\text{Rome}}", T, "Rome"),
    ("Not Paris. Rome.", T, "Rome"),
    ("I'd say Rome rather than Madrid", T, "Rome"),
    ("None of these.", T, None),
    ("The answer is none of the above", T, None),
    ("B", ("A) Paris", "B) London"), "B) London"),
    ("Paris", ("A) Paris", "B) London"), "A) Paris"),
    ("2", ("1. x y", "2. z w"), "2. z w"),
    ("No, it is not.", YN, "no"),
    ("Yes, there is no reason to doubt", YN, "yes"),
    ("No. Yes would be wrong.", YN, "no"),
    ("The answer is yes, no doubt.", YN, "yes"),
    ("It is not true", ("true", "false"), None),
    ("True", ("true", "false"), "true"),
    ("That statement is false.", ("true", "false"), "false"),
    ("5", ("5", "-5"), "5"),
    ("-5", ("5", "-5"), "-5"),
    ("The answer is -5.", ("5", "-5"), "-5"),
    ("The answer is 1.5", ("5", "1.5"), "1.5"),
    ("The final answer is B. If x were 3, the answer would be C.", L, "B"),
    ("The answer is \\boxed{", L, None),
    ("\\boxed{}", L, None),
    ("\\boxed{E}", L, None),
    ("The answer isn't A. It is D.", L, "D"),
    ("A, B and C are all wrong; D", L, "D"),
    ("C is the correct answer. A fails since B holds", L, "C"),
    ("The correct answer is **C) Rome**.\n\nExplanation: A) Paris is wrong.", L, "C"),
    ("Final answer: B\n\nWhy not A? Because A is small.", L, "B"),
    ("Both A and B are correct", L, None),
    ("A is not correct; neither is B. C might be, but D is.", L, "D"),
    ("The answer is probably B", L, "B"),
    ("I'm not sure, but I think it's B", L, "B"),
    ("The answer is B, not C.", L, "B"),
    ("Choose C", L, "C"),
    ("My choice: D", L, "D"),
    ("I choose: a b.", ("a", "a b"), "a b"),
    ("entailment", ("entailment", "neutral", "contradiction"), "entailment"),
    ("The premise does not entail... so the label is neutral.", ("entailment", "neutral", "contradiction"), "neutral"),
    ('{"answer": "C"}', L, "C"),
    ("Ｂ", L, "B"),
    ("Answer:B", L, "B"),
    ("ANSWER: B.", L, "B"),
    ("So the answer is:\n\n**C**", L, "C"),
    ("a", L, "A"),
    ("A", L, "A"),
    ("A good question", L, None),
    ("The answer is A because it fits", L, "A"),
    ("U.S.A. is big so B", L, "B"),
    ("wait, A is wrong. Actually B. No: C!", L, "C"),
    ("The answer is A. Wait, no, the answer is B.", L, "B"),
]

SEVERAL = [
    ("A, C", {0, 2}),
    ("AC", {0, 2}),
    ("A and C", {0, 2}),
    ("The answer is A and C.", {0, 2}),
    ("\\boxed{A, C}", {0, 2}),
    ("The correct options are A, C and D.", {0, 2, 3}),
    ("A, B, but not C", {0, 1}),
    ("A", {0}),
    ("Both A and D are right", {0, 3}),
    ("答案：ACD", {0, 2, 3}),
    ("Answer: (A), (C)", {0, 2}),
]


def chosen(text: str, options) -> str | None:
    found = options_of(tuple(options)).chosen(text)
    return options[next(iter(found))] if len(found) == 1 else None


@pytest.mark.parametrize(("text", "options", "option"), CASES)
def test_an_option_is_chosen_or_not(text, options, option):
    assert chosen(text, options) == option


@pytest.mark.parametrize(("text", "options"), SEVERAL)
def test_several_options_are_chosen_together(text, options):
    assert options_of(L).chosen(text, several=True) == options


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Paris and Rome", {0, 2}),
        ("A, C", {0, 2}),
        ("A) Paris, C) Rome", {0, 2}),
        ("The answer is Paris, Rome and Madrid; not London", {0, 2, 3}),
    ],
)
def test_several_texts_are_chosen_by_their_words_or_letters(text, options):
    assert options_of(T).chosen(text, several=True) == options


PROSE = [json.loads(line) for line in Path(__file__).with_name("choice_cases.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("case", PROSE, ids=lambda case: case["answer"][:60])
def test_what_an_answer_says_of_the_options_decides(case):
    options = tuple(case["options"])
    found = options_of(options).chosen(case["answer"], several=case.get("several", False))
    assert [options[place] for place in sorted(found)] == case["chosen"]


@pytest.mark.parametrize(
    "unit", ["A is correct. ", "the answer is A. ", "wait, A ", "> A\n", "| A | x |\n", "~~A", "first option ", "- A\n"]
)
@pytest.mark.parametrize("several", [False, True])
def test_reading_a_long_text_of_claims_takes_no_time(unit, several):
    began = time.process_time()
    options_of(L).chosen(unit * (100_000 // len(unit)), several=several)
    assert time.process_time() - began < 5


FORMS = [
    "{}", "({})", "[{}]", "**{}**", "_{}_", "{}.", "{})", "Answer: {}", "**Answer:** {}", "### Answer\n{}",
    "Answer\n\n{}",
    r"\boxed{{{}}}", r"$\boxed{{\text{{{}}}}}$", "<answer>{}</answer>", "The answer is {}.",
    "The correct option is ({}).",
    "{}. Because of this.", "{}: because of this", "So I choose {}.", "#### {}", "答案是{}。", "故选{}", "正解は{}です",
    "정답은 {}입니다", "La respuesta es {}.", "Die Antwort ist {}.", "La réponse est {}.", "Ответ: {}",
    '{{"answer": "{}"}}',
    "My final answer: {}", "Option {}", "I would go with {}.", "{} is correct.", "{} is the right answer.",
]  # fmt: skip
NOISE = ["", "\nA is too small.", "\n\nExplanation: B is wrong, and so is C.", "\nNot D."]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("letter", L)
def test_every_form_of_naming_a_letter_is_seen(form, letter):
    assert chosen(form.format(letter), L) == letter


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form not in ("{}", "({})", "[{}]", "_{}_", "Option {}", "#### {}")]
)
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("letter", ["A", "B"])
def test_what_denies_other_options_afterwards_changes_nothing(form, noise, letter):
    assert chosen(form.format(letter) + noise.replace(letter, "E"), L) == letter


@given(st.sampled_from(L), st.sampled_from(L))
def test_a_denied_option_is_never_chosen(one, other):
    if one != other:
        for text in (
            f"The answer is not {one} but {other}.",
            f"It isn't {one}. It is {other}.",
            f"{one} is wrong, so {other}.",
            f"I rule out {one}; {other} is right.",
            f"{other}, not {one}",
            f"The answer is {other} rather than {one}.",
        ):
            assert chosen(text, L) == other, text
        for text in (f"{one} or {other}", f"The answer is {one} or {other}.", f"It could be {one} or {other}."):
            assert chosen(text, L) is None, text


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"equals": "A", "any_of": ("B",)}, "equals and any_of: give one of them"),
        ({"any_of": ("A",), "all_of": ("B",)}, "any_of and all_of: give one of them"),
        ({"all_of": ("E",)}, "all_of: 'E' is not one of the options"),
    ],
)
def test_a_choice_has_one_kind_of_right_answer(settings, why):
    with pytest.raises(ValueError, match=why):
        Choice(options=L, **settings)


def test_several_answers_are_a_vote_of_their_own():
    check = Choice(options=L, all_of=("A", "C"))
    assert check.decisive
    assert check.key(Completion(text="A and C")) == check.key(Completion(text="C, A")) == "A, C"


@given(st.text(alphabet="ABCDI .,:()*_\n#'\"or not is answer", max_size=80))
def test_no_text_raises(text):
    for options in (L, T, YN, J):
        options_of(options).chosen(text)
        options_of(options).chosen(text, several=True)


@pytest.mark.parametrize("unit", ["A or ", "(A", "not ", "*", "_", "[", "(", "A, ", "B. ", "answer ", "if A "])
def test_reading_a_long_text_takes_no_time(unit):
    began = time.process_time()
    options_of(L).chosen(unit * (100_000 // len(unit)))
    assert time.process_time() - began < 5
