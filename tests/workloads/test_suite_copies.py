"""Copies of suites as users have them: caches with links, half downloads, two versions, other splits and formats."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.workloads.suites import Aime, GpqaDiamond, Gsm8k, LiveCodeBenchSuite, Mbpp, found_in
from tierwise.workloads.suites.part import release_of

COMMIT, OTHER = "2024" * 10, "b" * 40
GSM8K = [{"question": f"What is {number}+1?", "answer": f"It is #### {number + 1}"} for number in range(5)]
AIME = [{"id": str(n), "problem": f"What is {n} plus 1?", "answer": str(n + 1)} for n in range(30)]
GPQA = "Record ID,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n" + "".join(
    f"r{n},Which number is {n}?,{n},{n + 1},{n + 2},{n + 3}\n" for n in range(4)
)
WHOLE = b"PAR1" + b"\0" * 16 + b"PAR1"
MBPP = [{"task_id": n, "text": "Double a number.", "test_list": ["assert double(2) == 4"]} for n in (601, 602, 603)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.fixture
def cached(tmp_path):
    """A dataset's folder in the Hub's cache: a file under the snapshot of a commit, which links to a blob."""

    def cached(dataset, name, content, *commits, main=""):
        folder = tmp_path / "hub" / f"datasets--{dataset.replace('/', '--')}"
        (folder / "blobs").mkdir(parents=True)
        for commit in commits or (COMMIT,):
            blob = folder / "blobs" / commit[::-1]
            blob.write_text(content)
            link = folder / "snapshots" / commit / name
            link.parent.mkdir(parents=True)
            link.symlink_to(blob)
        if main:
            (folder / "refs").mkdir()
            (folder / "refs" / "main").write_text(main)
        return folder

    return cached


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


def made(suite):
    return suite.make(Path())


def error_of(suite, *errors):
    with pytest.raises(errors or (SpecError, ConfigErrors)) as caught:
        made(suite)
    found = getattr(caught.value, "errors", [caught.value])
    return [f"{one.field} {one}" for one in found]


# ── the Hub's cache ──────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["--file", "snapshot", "dataset"])
def test_a_file_of_the_hubs_cache_keeps_its_name(cached, tmp_path, way):
    folder = cached("Idavidrein/gpqa", "gpqa_diamond.csv", GPQA)
    snapshot = folder / "snapshots" / COMMIT
    given = {"--file": ("--file", snapshot / "gpqa_diamond.csv"), "snapshot": ("--data-dir", snapshot)}
    done = run(
        "workload", "make", "gpqa-diamond", *given.get(way, ("--data-dir", folder)), "--out", tmp_path / "out.jsonl"
    )
    assert done.exit_code == 0, done.output
    assert "4 tasks of gpqa-diamond (gpqa_diamond.csv)" in done.output


def test_a_file_that_is_named_like_many_is_named_after_its_dataset(cached):
    path = cached("math-ai/aime25", "test.jsonl", lines(AIME)) / "snapshots" / COMMIT / "test.jsonl"
    found = made(Aime(file=str(path)))
    assert found.version == "aime25-test.jsonl"
    assert found.tasks[0].id == "aime/aime25-test/0"


def test_the_year_is_the_datasets_and_not_in_the_hash_of_a_commit():
    assert release_of("aime", [f"/hub/datasets--math-ai--aime25/snapshots/{COMMIT}/test.jsonl"]) == "2025"
    assert release_of("aime", [f"/hub/datasets--a--b/snapshots/{COMMIT}/test.jsonl"]) == ""


def test_the_newest_snapshot_is_read_and_without_one_the_user_chooses(cached):
    folder = cached("x/gpqa", "gpqa_diamond.csv", GPQA, COMMIT, OTHER, main=OTHER)
    (found,) = found_in(folder, GpqaDiamond.FILES, "GPQA-Diamond")
    assert Path(found).parent.name == OTHER
    (folder / "refs" / "main").unlink()
    with pytest.raises(SpecError, match=rf"has several versions or none \({COMMIT}, {OTHER}\); give the folder of one"):
        found_in(folder, GpqaDiamond.FILES, "GPQA-Diamond")


def test_a_link_to_a_blob_that_is_gone_is_named(cached):
    folder = cached("x/gpqa", "gpqa_diamond.csv", GPQA)
    (folder / "blobs" / COMMIT[::-1]).unlink()
    with pytest.raises(NotFound, match=r"gpqa_diamond\.csv is a link to a file that is not there; download it again"):
        found_in(folder, GpqaDiamond.FILES, "GPQA-Diamond")


def test_a_folder_one_level_below_is_searched(write, tmp_path):
    path = write("main/test.jsonl", lines(GSM8K))
    assert found_in(tmp_path, Gsm8k.FILES, "GSM8K", is_one=True) == [path]


def test_a_folder_without_the_suite_says_what_it_has(write, tmp_path):
    write("other.txt", "x")
    with pytest.raises(
        NotFound, match=r"none is named test\.jsonl or gsm8k\*\.jsonl or .*; it has other\.txt; name the file"
    ):
        found_in(tmp_path, Gsm8k.FILES, "GSM8K")
    write("main/train-00000-of-00001.parquet", WHOLE)
    with pytest.raises(
        NotFound, match=r"it has main/train-00000-of-00001\.parquet, other\.txt; name the file with --file"
    ):
        found_in(tmp_path, Gsm8k.FILES, "GSM8K")


# ── versions and duplicates ──────────────────────────────────────────────


@pytest.mark.parametrize(
    ("suite", "names", "content"),
    [("gsm8k", ("test.jsonl", "gsm8k_2.jsonl"), GSM8K), ("mbpp", ("mbpp.jsonl", "sanitized-mbpp.json"), MBPP)],
)
def test_two_versions_of_one_file_are_named(write, tmp_path, suite, names, content):
    paths = [write(f"data/{name}", lines(content)) for name in names]
    out = tmp_path / "out.jsonl"
    done = run("workload", "make", suite, "--data-dir", tmp_path / "data", "--out", out)
    assert "has several versions of" in str(done.exception)
    assert f"{names[0]} and {names[1]}; name one with --file" in str(done.exception)
    done = run("workload", "make", suite, "--file", paths[0], "--file", paths[1], "--out", out)
    assert "is one file; give --file once" in str(done.exception)
    assert not out.exists()


def test_the_same_year_in_two_formats_is_refused(write):
    table = "problem,answer\n" + "".join(f"{row['problem']},{row['answer']}\n" for row in AIME)
    paths = (write("aime_2024.jsonl", lines(AIME)), write("aime2024.csv", table))
    (said,) = error_of(Aime(file=paths))
    assert "every task of aime2024.csv is in aime_2024.jsonl too; give one of them" in said


def test_a_problem_that_is_there_twice_is_noted_with_both_rows(write):
    again = [*AIME[:29], {**AIME[0], "id": "99"}]
    notes = made(Aime(file=write("aime_2025.jsonl", lines(again)))).notes
    assert any("the first aime_2025.jsonl:30 as aime_2025.jsonl:1; remove them" in one for one in notes)
    table = f"{GPQA}r9,Which number is 1?,1,2,3,4\n"
    notes = made(GpqaDiamond(file=write("gpqa_diamond.csv", table))).notes
    assert any("the first gpqa_diamond.csv:6 as gpqa_diamond.csv:3" in one for one in notes), "in another order"


def test_an_id_that_is_there_twice_is_named_with_both_rows(write):
    (said,) = error_of(GpqaDiamond(file=write("gpqa_diamond.csv", f"{GPQA}r1,Which?,1,2,3,4\n")))
    assert "two rows make the task 'gpqa-diamond/r1/0': gpqa_diamond.csv:3 and gpqa_diamond.csv:6" in said


def test_files_of_one_name_are_told_apart_by_their_folders(write):
    other = [{**row, "problem": f"{row['problem']} Really?"} for row in AIME]
    paths = (write("aime24/test.jsonl", lines(AIME)), write("aime25/test.jsonl", lines(other)))
    found = made(Aime(file=paths))
    assert len({task.id for task in found.tasks}) == len(found.tasks) == 2 * len(AIME)
    assert sorted(found.files) == ["aime24-test.jsonl", "aime25-test.jsonl"]
    (said,) = error_of(Aime(file=(paths[0], write("old/aime24/test.jsonl", lines(other)))))
    assert "two files are named aime24-test.jsonl" in said


def test_a_list_without_a_file_is_refused():
    (said,) = error_of(Aime(file=()))
    assert "the list names no file; give at least one" in said


def test_parquet_without_pyarrow_names_the_extra_and_the_way_without_it(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (said,) = error_of(Gsm8k(file=write("test.parquet", WHOLE)))
    assert "test.parquet is Parquet, which needs pyarrow (" in said
    assert "pip install 'tierwise[parquet]'; or save its rows as JSON Lines, where pandas and pyarrow are:" in said
    assert "test.parquet').to_json('test.jsonl', orient='records', lines=True)" in said


def test_what_is_not_parquet_is_read_without_pyarrow(write):
    code = (
        "import sys; from pathlib import Path; from tierwise.workloads.suites import Gsm8k; "
        f"made = Gsm8k(file={write('test.jsonl', lines(GSM8K))!r}).make(Path()); "
        "sys.exit(len(made.tasks) != 5 or 'pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("words", [("workload", "check"), ("import", "--out", "runs")], ids=" ".join)
def test_parquet_that_is_no_suite_says_what_reads_it(write, words):
    done = (
        run(words[0], write("tasks.parquet", WHOLE), *words[1:])
        if words[0] == "import"
        else run(*words, write("tasks.parquet", WHOLE))
    )
    assert "tasks.parquet is Parquet, not text; save its rows as JSON Lines" in str(done.exception)
    assert "is read as Parquet by `tierwise workload make SUITE --file`" in str(done.exception)


# ── half downloads ───────────────────────────────────────────────────────

PACKED = gzip.compress(lines(GSM8K).encode(), mtime=0)  # the same in every process: the tests' names hold it


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        (
            "a.jsonl",
            lines(GSM8K)[:-20],
            "a.jsonl:5 not JSON: column 30: unterminated string starting at; the file",
        ),
        ("a.json", json.dumps(GSM8K)[:-20], "a.json:1 not JSON"),
        ("a.jsonl", lines(GSM8K) + "\0" * 9, "a.jsonl:6 has zero bytes, as half a download does; download it again"),
        ("a.gz", PACKED, "is compressed; unpack it with gunzip"),
        ("a.gz", PACKED[:40], "cut off or damaged: download it again, then unpack it"),
        ("a.parquet", b"PAR1\x15\x04", "is half of a Parquet file; download it again"),
        ("a.parquet", b"PAR1\x15\x04PAR1", "is half of a Parquet file; download it again"),
        ("a.parquet", b"PARE" + b"\0" * 16 + b"PARE", "is encrypted Parquet; save its rows as Parquet without"),
        ("a.arrow", b"\xff\xff\xff\xff\x08\x01", "is an Arrow stream"),
        ("a.jsonl.xz", b"\xfd7zXZ\x00\x00", "unpack it with unxz"),
        ("a.jsonl", "", "is empty; is the download complete?"),
        ("a.csv", "question,answer\n", "a.csv has no rows; is the download complete?"),
    ],
)
def test_half_a_download_says_so_and_what_to_do(write, name, content, why):
    said = error_of(Gsm8k(file=write(name, content)))
    assert any(why in one for one in said), said
    assert len(said) == 1


def test_an_error_within_a_whole_file_is_no_cut_off_one(write):
    broken = lines(GSM8K[:1]) + '{"question": \n' + lines(GSM8K[1:])
    (said,) = error_of(Gsm8k(file=write("test.jsonl", broken)))
    assert said.startswith("test.jsonl:2 not JSON")
    assert "download" not in said


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + lines(GSM8K).replace("\n", "\r\n").encode(), lines(GSM8K)[:-1]])
def test_a_byte_order_mark_crlf_and_a_last_line_without_end_are_read(write, content):
    assert len(made(Gsm8k(file=write("test.jsonl", content))).tasks) == 5


# ── other splits and suites ──────────────────────────────────────────────


def test_another_file_is_said_once_with_its_columns(write):
    (said,) = error_of(Gsm8k(file=write("test.jsonl", lines(AIME))))
    assert said == (
        "test.jsonl:1 the key 'question' is missing; so in all 30 rows, which have 'id', 'problem', 'answer': "
        "is this a file of GSM8K?"
    )
    (said,) = error_of(GpqaDiamond(file=write("gpqa_diamond.csv", GPQA.replace(",", ";"))))
    assert said.startswith("gpqa_diamond.csv:2 has no text 'Question'; it has 'Record ID;Question;")


def test_errors_of_some_rows_are_each_named(write):
    rows = [GSM8K[0], {"question": "?"}, {"question": "?"}, {"question": "?"}]
    assert [one.partition(" ")[0] for one in error_of(Gsm8k(file=write("test.jsonl", lines(rows))))] == [
        *("test.jsonl:2", "test.jsonl:3", "test.jsonl:4")
    ]


def test_another_number_of_tasks_than_the_suite_has_is_noted(write):
    assert any("the test split has 1,319" in one for one in made(Gsm8k(file=write("test.jsonl", lines(GSM8K)))).notes)
    rows = [{**row, "task_id": 11 + at} for at, row in enumerate(MBPP)]
    assert any("MBPP has 500, sanitized 257" in one for one in made(Mbpp(file=write("mbpp.jsonl", lines(rows)))).notes)


def test_rows_of_another_split_say_which_are_asked(write):
    (said,) = error_of(Mbpp(file=write("mbpp.jsonl", lines(MBPP))))
    assert "0 tasks, fewer than the 1 requested; its ids are not 11 to 510, the test split; `split: all`" in said


@pytest.mark.parametrize(("problems", "is_whole"), [(175, True), (174, False)])
def test_a_release_of_livecodebench_with_fewer_problems_is_noted(write, problems, is_whole):
    cases = json.dumps([{"input": "1\n", "output": "1\n", "testtype": "stdin"}])
    row = {"contest_date": "2025-02-01T00:00:00", "public_test_cases": cases, "private_test_cases": "[]"}
    rows = [{**row, "question_content": f"Print {n}.", "question_id": f"q{n}"} for n in range(problems)]
    notes = made(LiveCodeBenchSuite(file=write("test6.jsonl", lines(rows)))).notes
    assert any("test6.jsonl has 174 problems; 175 are published in it" in one for one in notes) != is_whole
