"""Suites whose data only the user has. The files are made for these tests, in the exact format of each suite."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
from pathlib import Path

import pytest

from tierwise.spec.call import Completion
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.verifiers.packages import is_installed
from tierwise.workloads.suites import Aime, GpqaDiamond, Mbpp, SuiteChoice, found_in
from tierwise.workloads.task import Task

needs_math_verify = pytest.mark.skipif(not is_installed("math-verify"), reason="tierwise[workloads] is not installed")

AIME_ROWS = [
    {"id": "0", "problem": "What is 6 times 7?", "answer": "42"},
    {"id": "1", "problem": "What is 10 less 3?", "answer": "007"},
    {"id": "2", "problem": "What is half a turn, in degrees?", "answer": r"180^\circ"},
]
GPQA_COLUMNS = (
    *("Record ID", "Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
    *("High-level domain", "Subdomain"),
)
GPQA_ROWS = [
    (
        "recA",
        "Which is a metal?\nName one.",
        "iron",
        "sulphur",
        "neon, a gas",
        'the "light" gas',
        "Chemistry",
        "General",
    ),
    ("recB", "Which is a planet?", "Mars", "Moon", "Sun", "Io", "Physics", "Astrophysics"),
    ("recC", "Which is a cell?", "neuron", "atom", "quark", "virus", "Biology", "Genetics"),
]
MBPP_ROWS = [
    {
        "text": "Write a function to double a number.",
        "code": "def double(x):\r\n    return 2 * x",
        "task_id": number,
        "test_setup_code": "",
        "test_list": ["assert double(2) == 4", "assert double(-1) == -2", "assert double(0) == 0"],
        "challenge_test_list": [],
    }
    for number in (2, 11, 510, 511)
]
SANITIZED = [
    {
        "source_file": "made for this test",
        "task_id": 12,
        "prompt": "Write a function to take a square root.",
        "code": "import math\ndef root(x):\n    return math.sqrt(x)",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(root(2), math.sqrt(2))"],
    }
]


@pytest.fixture
def lines(tmp_path):
    def write(rows, name="aime_2025.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


@pytest.fixture
def gpqa(tmp_path):
    def write(rows=GPQA_ROWS, columns=GPQA_COLUMNS, name="gpqa_diamond.csv"):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        return str(tmp_path / name)

    return write


def hash_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def made(suite):
    return suite.make(Path())


def is_right(task: Task, text: str) -> bool:
    return asyncio.run(task.check.member.verify(Completion(text=text))).ok


# ── AIME ─────────────────────────────────────────────────────────────────


@needs_math_verify
def test_a_problem_of_aime_is_an_integer_in_a_box(lines):
    found = made(Aime(file=lines(AIME_ROWS)))
    assert [task.id for task in found.tasks] == ["aime/aime_2025/0", "aime/aime_2025/1", "aime/aime_2025/2"]
    assert [task.check.math_verify.equals for task in found.tasks] == ["42", "7", "180"]
    assert "What is 6 times 7?" in found.tasks[0].messages[0]["content"]
    assert is_right(found.tasks[1], r"So it is \boxed{7}.")
    assert is_right(found.tasks[1], r"So it is \boxed{007}.")
    assert not is_right(found.tasks[1], r"It is 7, no: \boxed{8}.")


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"ID": "2024-I-1", "Problem": "6·7?", "Solution": "…", "Answer": 42}, "2024-I-1"),
        ({"problem_idx": 5, "problem": "6·7?", "answer": 42, "problem_type": ["Algebra"]}, "5"),
        ({"question": "6·7?", "answer": "42"}, "00"),
    ],
)
def test_every_published_form_of_aime_is_read(lines, row, name):
    (task,) = made(Aime(file=lines([row]))).tasks
    assert (task.id, task.check.math_verify.equals) == (f"aime/aime_2025/{name}", "42")


def test_several_years_are_one_workload_in_which_ids_do_not_meet(lines):
    files = (lines(AIME_ROWS[:1], "aime24.jsonl"), lines(AIME_ROWS[1:], "aime25.jsonl"))
    found = made(Aime(file=files, sha256=tuple(map(hash_of, files))))
    assert [task.id for task in found.tasks] == ["aime/aime24/0", "aime/aime25/1", "aime/aime25/2"]
    assert found.files == {"aime24.jsonl": hash_of(files[0]), "aime25.jsonl": hash_of(files[1])}
    assert found.notes == ("3 problems; a year of AIME has 30: a part of one, or half a download",)


@pytest.mark.parametrize("answer", ["1000", "-1", "3.5", "n/a", None, [1], True])
def test_an_answer_that_no_problem_of_aime_can_have_is_named_with_its_line(lines, answer):
    with pytest.raises(ConfigErrors) as caught:
        made(Aime(file=lines([AIME_ROWS[0], {**AIME_ROWS[1], "answer": answer}])))
    assert caught.value.errors[0].field.startswith("aime_2025.jsonl:2")


# ── pins, and files that are no copy ─────────────────────────────────────


def test_data_that_nobody_pinned_is_noted_with_its_hash(lines):
    path = lines(AIME_ROWS)
    assert made(Aime(file=path)).notes[0].endswith(f"aime_2025.jsonl {hash_of(path)}")


@pytest.mark.parametrize(
    ("sha256", "why"),
    [("0" * 64, "is not the pinned AIME: its SHA-256 is"), (("0" * 64, "1" * 64), "1 files need 1 hashes, not 2")],
)
def test_another_file_than_the_pinned_one_is_refused(lines, sha256, why):
    with pytest.raises(SpecError, match=why):
        made(Aime(file=lines(AIME_ROWS), sha256=sha256))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (b"PAR1\x15\x04PAR1", "is half of a Parquet file"),
        (b"PK\x03\x04\x00", "is an archive"),
        (b"\n<!DOCTYPE html><title>Log in</title>", "is a web page"),
        (b"\n", "is empty"),
        (b"\xff\xfe{\x00", "it looks like UTF-16"),
    ],
)
def test_a_file_that_is_no_copy_is_named(tmp_path, content, why):
    (tmp_path / "aime.jsonl").write_bytes(content)
    with pytest.raises(SpecError, match=why):
        made(Aime(file=str(tmp_path / "aime.jsonl")))


def test_half_a_download_is_named_with_its_line(lines):
    path = Path(lines(AIME_ROWS))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigErrors) as caught:
        made(Aime(file=str(path)))
    assert caught.value.errors[0].field.startswith("aime_2025.jsonl:3")
    assert "not JSON" in str(caught.value.errors[0])


def test_a_file_of_another_suite_says_which_columns_it_lacks(lines):
    with pytest.raises(ConfigErrors, match="has no text 'problem' or 'question'; it has 'text', 'code'"):
        made(Aime(file=lines(MBPP_ROWS)))


def test_one_problem_in_two_rows_is_refused(lines):
    with pytest.raises(SpecError, match="two rows make the task 'aime/aime_2025/0'"):
        made(Aime(file=lines([AIME_ROWS[0], AIME_ROWS[0]])))


def test_a_file_that_is_given_twice_is_refused(lines):
    with pytest.raises(SpecError, match="has the same content as a file before it"):
        made(Aime(file=(lines(AIME_ROWS), lines(AIME_ROWS, "again.jsonl"))))


def test_more_tasks_than_there_are_cannot_be_chosen(lines):
    assert len(made(Aime(file=lines(AIME_ROWS), count=2)).tasks) == 2
    with pytest.raises(SpecError, match="3 tasks, fewer than the 4 requested"):
        made(Aime(file=lines(AIME_ROWS), count=4))


def test_the_files_of_a_folder_are_found_by_the_names_that_they_are_published_with(tmp_path, gpqa):
    path = gpqa()
    assert found_in(tmp_path, GpqaDiamond.FILES, "GPQA") == [str(Path(path).resolve())]
    with pytest.raises(NotFound, match=r"has no file of MBPP: none is named mbpp\.jsonl or sanitized-mbpp\.json"):
        found_in(tmp_path, Mbpp.FILES, "MBPP")


# ── GPQA-Diamond ─────────────────────────────────────────────────────────


def test_the_choices_are_shuffled_by_a_seed_that_the_id_holds(gpqa):
    path = gpqa()
    orders = [[task.check.choice.equals for task in made(GpqaDiamond(file=path, seed=seed)).tasks] for seed in range(8)]
    assert len({tuple(order) for order in orders}) > 1
    assert {letter for order in orders for letter in order} == {"A", "B", "C", "D"}
    assert made(GpqaDiamond(file=path, seed=3)).tasks == made(GpqaDiamond(file=path, seed=3)).tasks
    assert [task.id for task in made(GpqaDiamond(file=path, seed=3)).tasks] == [
        *("gpqa-diamond/recA/3", "gpqa-diamond/recB/3", "gpqa-diamond/recC/3")
    ]


def test_the_order_of_the_choices_never_changes(gpqa):
    asked = made(GpqaDiamond(file=gpqa())).tasks[1].messages[0]["content"]
    assert asked.endswith("Which is a planet?\n\nA) Mars\nB) Moon\nC) Sun\nD) Io")


def test_the_letter_of_the_correct_choice_is_right(gpqa):
    for task, row in zip(made(GpqaDiamond(file=gpqa())).tasks, GPQA_ROWS, strict=True):
        letter = task.check.choice.equals
        assert f"\n{letter}) {row[2]}" in task.messages[0]["content"]
        assert is_right(task, f"It cannot be the others.\n\nAnswer: {letter}")
        assert not is_right(task, f"I thought of {letter}.\n\nAnswer: {'ABCD'['BCDA'.index(letter)]}")
    assert task.tags == ["gpqa-diamond", "Biology", "Genetics"]


def test_the_subset_with_other_questions_is_noted(gpqa):
    notes = made(GpqaDiamond(file=gpqa(), sha256=hash_of(gpqa()))).notes
    assert notes == ("3 questions; GPQA-Diamond has 198: another subset, or half a download",)


def test_a_table_that_is_cut_off_in_a_cell_is_refused(gpqa):
    path = Path(gpqa())
    path.write_text(path.read_text().partition("Name one")[0])
    with pytest.raises(SpecError, match=r"cannot be read as CSV \(unexpected end of data\); is it cut off\?"):
        made(GpqaDiamond(file=str(path)))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (GPQA_ROWS[1][:3], "has not the 8 cells of the first line"),
        (("recD", "?", "Mars", "Mars", "Sun", "Io", "", ""), "two choices are the same text"),
        (("recD", "?", "Mars", "", "Sun", "Io", "", ""), "has no text 'Incorrect Answer 1'"),
    ],
)
def test_a_row_that_is_no_question_is_named_with_its_line(gpqa, row, why):
    with pytest.raises(ConfigErrors, match=why) as caught:
        made(GpqaDiamond(file=gpqa([GPQA_ROWS[0], row])))
    assert caught.value.errors[0].field == "gpqa_diamond.csv:4"  # the question before it takes two lines


# ── MBPP ─────────────────────────────────────────────────────────────────


def test_the_test_split_is_asked_with_its_assertions(lines):
    found = made(Mbpp(file=lines(MBPP_ROWS, "mbpp.jsonl")))
    assert [task.id for task in found.tasks] == ["mbpp/11", "mbpp/510"]
    assert "assert double(-1) == -2" in found.tasks[0].messages[0]["content"]
    assert found.tasks[0].verifier is None
    assert len(made(Mbpp(file=lines(MBPP_ROWS, "mbpp.jsonl"), split="all")).tasks) == 4


@pytest.mark.sandbox
@pytest.mark.parametrize("rows", [MBPP_ROWS, SANITIZED], ids=["mbpp.jsonl", "sanitized-mbpp.json"])
def test_the_programs_of_the_file_pass_and_others_do_not(tmp_path, rows):
    (tmp_path / "mbpp.json").write_text(json.dumps(rows))
    task = made(Mbpp(file=str(tmp_path / "mbpp.json"))).tasks[0]
    assert is_right(task, f"```python\n{rows[0]['code']}\n```")
    assert not is_right(task, f"```python\n{rows[0]['code'].replace('return', 'return 1 +')}\n```")


def test_assertions_that_do_not_compile_are_named_with_their_row(lines):
    broken = {**MBPP_ROWS[1], "test_list": ["assert double(2) =="]}
    with pytest.raises(ConfigErrors) as caught:
        made(Mbpp(file=lines([broken], "mbpp.jsonl")))
    assert caught.value.errors[0].field == "mbpp.jsonl:1: test_list"


def test_a_workload_names_its_suite_with_its_settings(gpqa):
    choice = SuiteChoice(gpqa_diamond=GpqaDiamond(file=gpqa(), seed=1, count=1))
    assert choice.kind == "gpqa_diamond"
    assert len(made(choice.member).tasks) == 1
