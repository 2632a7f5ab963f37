"""Suites from Parquet, as most are published on the Hugging Face Hub: whole, in parts, and damaged."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.workloads.suites import Aime, GpqaDiamond, Gsm8k, LiveCodeBenchSuite, Mbpp, copies_in, found_in
from tierwise.workloads.suites.parquet import opened
from tierwise.workloads.suites.part import release_of
from workloads.test_livecodebench import FUNCTIONAL, problem
from workloads.test_suite_files import AIME_ROWS, GPQA_COLUMNS, GPQA_ROWS, MBPP_ROWS, SANITIZED

pyarrow = pytest.importorskip("pyarrow", reason="pip install 'tierwise[parquet]' to test Parquet")
pytest.importorskip("pyarrow.parquet", reason="pip install 'tierwise[parquet]' to test Parquet")

GSM8K = [{"question": f"What is {number}+1?", "answer": f"It is #### {number + 1}"} for number in range(7)]
GPQA = [dict(zip(GPQA_COLUMNS, row, strict=True)) for row in GPQA_ROWS]


@pytest.fixture
def write(tmp_path):
    """Writes rows, or a table, under a name; returns the path."""

    def write(name, rows, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            table = pyarrow.Table.from_pylist(rows) if isinstance(rows, list) else pyarrow.table(rows)
            pyarrow.parquet.write_table(table, path, **options)
        elif path.suffix == ".csv":
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([list(rows[0]), *(row.values() for row in rows)])
        elif path.suffix == ".json":
            path.write_text(json.dumps(rows))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def parts(write):
    """Writes rows as several parts of a split; returns their paths in order."""

    def parts(rows, count, folder="data"):
        size = -(-len(rows) // count)
        return [
            write(f"{folder}/test-{number:05}-of-{count:05}.parquet", rows[number * size : (number + 1) * size])
            for number in range(count)
        ]

    return parts


def made(suite):
    return suite.make(Path())


def errors_of(suite):
    with pytest.raises((SpecError, ConfigErrors)) as caught:
        made(suite)
    return [f"{one.field} {one}" for one in getattr(caught.value, "errors", [caught.value])]


def hash_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def rows_of(path):
    with Path(path).open("rb") as file:
        found = opened(file, Path(path))
    return [value for value, _ in found.values("x.parquet")]


# ── the same tasks ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "name", "rows"),
    [
        (Aime, "aime_2025.jsonl", AIME_ROWS),
        (Aime, "aime_2024.json", [{"problem_idx": 5, "problem": "6·7?", "answer": 42, "problem_type": ["Algebra"]}]),
        (GpqaDiamond, "gpqa_diamond.csv", GPQA),
        (Gsm8k, "test.jsonl", GSM8K),
        (LiveCodeBenchSuite, "test6.jsonl", [problem(), FUNCTIONAL]),
        (Mbpp, "mbpp.jsonl", MBPP_ROWS),
        (Mbpp, "sanitized-mbpp.json", SANITIZED),
    ],
    ids=["aime", "aime-numbers", "gpqa-diamond", "gsm8k", "livecodebench", "mbpp", "mbpp-sanitized"],
)
@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "none"])
def test_parquet_makes_the_tasks_that_the_same_rows_make_in_another_format(write, kind, name, rows, compression):
    other, parquet = write(name, rows), write(f"{Path(name).stem}.parquet", rows, compression=compression)
    before, after = (made(kind(file=path, sha256=hash_of(path))) for path in (other, parquet))
    assert before.tasks
    assert after.tasks == before.tasks
    ending = Path(name).suffix
    notes = [[re.sub(r"(\.\w+)(: row |:)\d+", ending, one) for one in found.notes] for found in (before, after)]
    assert [one.replace(".parquet", ending) for one in notes[1]] == notes[0]
    assert release_of(kind.ROW.name, [parquet]) == release_of(kind.ROW.name, [other.replace(".json", ".jsonl")[:-1]])


def test_a_file_of_the_hub_has_the_ids_that_its_json_lines_have(write):
    hub = f"hub/datasets--math-ai--aime25/snapshots/{'a' * 40}"
    before = made(Aime(file=write(f"{hub}/test.jsonl", AIME_ROWS)))
    after = made(Aime(file=write(f"{hub}/data/test-00000-of-00001.parquet", AIME_ROWS)))
    assert after.tasks == before.tasks
    assert after.tasks[0].id == "aime/aime25-test/0"
    assert after.version == "aime25-test-00000-of-00001.parquet"
    assert release_of("aime", [f"{hub}/data/test-00000-of-00001.parquet"]) == "2025"


# ── parts of a split ─────────────────────────────────────────────────────


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=str)
def test_parts_are_one_copy_in_their_order_each_with_its_hash(write, parts, order):
    paths = parts(GSM8K, 3)
    given = tuple(paths[place] for place in order)
    found = made(Gsm8k(file=given, sha256=tuple(map(hash_of, given))))
    assert found.tasks == made(Gsm8k(file=write("test.jsonl", GSM8K))).tasks
    assert found.version == "test-*-of-00003.parquet"
    assert found.files == {Path(path).name: hash_of(path) for path in paths}
    (said,) = errors_of(Gsm8k(file=given, sha256=(*map(hash_of, given[:2]), "0" * 64)))
    assert f"{Path(given[2]).name} is not the pinned GSM8K: its SHA-256 is" in said


def test_an_error_names_the_part_and_its_row(parts):
    paths = parts([*GSM8K[:3], {"question": "?", "answer": "no number"}, *GSM8K[4:6]], 3)
    (said,) = errors_of(Gsm8k(file=tuple(paths)))
    assert said.startswith("test-00001-of-00003.parquet: row 2: answer the answer does not end in `#### `")


@pytest.mark.parametrize("way", ["--file", "--data-dir"])
def test_a_part_that_is_missing_is_named(parts, tmp_path, way):
    paths = parts(GSM8K, 3)
    Path(paths[1]).unlink()
    given = [("--file", path) for path in (paths[0], paths[2])] if way == "--file" else [("--data-dir", tmp_path)]
    words = ["workload", "make", "gsm8k", *(str(word) for one in given for word in one)]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out.jsonl")])
    assert done.exception.field == way
    assert "test-*-of-00003.parquet is 3 files, of which 1 are not given or not there: test-00001-of" in str(
        done.exception
    )


def test_a_part_that_is_given_twice_is_named(parts):
    paths = parts(GSM8K, 2)
    (said,) = errors_of(Gsm8k(file=(*paths, paths[1])))
    assert said == "file test-00001-of-00002.parquet is given twice; give each part once"


def test_parts_of_the_hub_are_one_copy_at_each_commit():
    names = [f"hf:openai/gsm8k/main/test-0000{number}-of-00002.parquet" for number in (1, 0)]
    files = [f"{name}@{commit}" for commit in ("a" * 40, "b" * 40) for name in names]
    assert copies_in(files, "file") == [[1, 0], [3, 2]]
    with pytest.raises(SpecError, match=r"of which 1 are not given or not there: test-00001-of-00002\.parquet"):
        copies_in(files[1:], "file")


@pytest.mark.parametrize("kind", [Gsm8k, Mbpp, GpqaDiamond])
def test_a_suite_that_is_one_file_takes_no_second_copy(write, kind):
    paths = (write("a/test-00000-of-00001.parquet", GSM8K), write("b/test-00000-of-00001.parquet", GSM8K))
    (said,) = errors_of(kind(file=paths))
    assert f"{kind.ROW.title} is one file, not 2: {paths[0]} and {paths[1]}; give one" in said


def test_several_years_in_parts_are_told_apart_by_their_datasets(parts):
    other = [{**row, "problem": f"{row['problem']} Really?"} for row in AIME_ROWS]
    paths = (*parts(AIME_ROWS, 2, "aime24/data"), *parts(other, 3, "aime25/data"))
    found = made(Aime(file=paths))
    assert found.version == "aime24-test-*-of-00002.parquet, aime25-test-*-of-00003.parquet"
    assert [task.id for task in found.tasks[::3]] == ["aime/aime24-test/0", "aime/aime25-test/0"]
    assert sorted(found.files)[1:3] == ["aime24-test-00001-of-00002.parquet", "aime25-test-00000-of-00003.parquet"]


# ── found in a folder ────────────────────────────────────────────────────


def test_the_split_of_the_suite_is_found_under_the_name_that_it_is_published_with(write, parts, tmp_path):
    paths = parts(GSM8K, 2, "main")
    write("main/train-00000-of-00001.parquet", GSM8K)
    assert found_in(tmp_path, Gsm8k.FILES, "GSM8K", is_one=True) == paths
    write("socratic/test-00000-of-00001.parquet", GSM8K)
    with pytest.raises(SpecError) as caught:
        found_in(tmp_path, Gsm8k.FILES, "GSM8K", is_one=True)
    assert "has several versions of GSM8K: " in str(caught.value)
    assert "main/test-00000-of-00002.parquet" in str(caught.value)
    assert "socratic/test-00000-of-00001.parquet" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Aime, f"datasets--x--aime_2024/snapshots/{'a' * 40}/data/train-00000-of-00001.parquet"),
        (Aime, "AIME_2025/data/test-00000-of-00001.parquet"),
        (GpqaDiamond, "gpqa/gpqa_diamond/train-00000-of-00001.parquet"),
    ],
    ids=["cache", "folder", "part of a dataset"],
)
def test_a_dataset_is_known_by_its_folder_where_its_files_have_any_name(write, tmp_path, kind, name):
    path = write(f"data/{name}", AIME_ROWS)
    assert found_in(tmp_path / "data" / name.partition("/")[0], kind.FILES, kind.ROW.title) == [path]
    write("other/data/test-00000-of-00001.parquet", GSM8K)
    with pytest.raises(NotFound, match=r"it has data/test-00000-of-00001\.parquet; name the file with --file"):
        found_in(tmp_path / "other", kind.FILES, kind.ROW.title)


def test_a_folder_of_parquet_makes_a_workload(parts, tmp_path):
    parts(GSM8K, 3)
    out = tmp_path / "out.jsonl"
    words = ["workload", "make", "gsm8k", "--data-dir", str(tmp_path), "--out", str(out)]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "7 tasks of gsm8k (test-*-of-00003.parquet)" in done.output
    assert done.output.count("-of-00003.parquet ") == 3, "the note has the hash of each part"


# ── columns and values ───────────────────────────────────────────────────


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.timestamp("s"),
        pyarrow.timestamp("ns"),
        pyarrow.timestamp("ms", "UTC"),
        pyarrow.timestamp("us", "Nowhere/Unknown"),
        pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    ],
    ids=str,
)
def test_a_date_may_be_a_time_of_any_unit(write, kind):
    rows = [problem(name, date) for name, date in (("a", "2025-01-31T00:00:00"), ("b", "2025-02-01T00:00:00"))]
    table = pyarrow.Table.from_pylist(rows)
    at = table.schema.get_field_index("contest_date")
    dates = table.column(at) if pyarrow.types.is_dictionary(kind) else table.column(at).cast(pyarrow.timestamp("s"))
    path = write("test6.parquet", table.set_column(at, "contest_date", dates.cast(kind)))
    (task,) = made(LiveCodeBenchSuite(file=path, since=dt.date(2025, 2, 1))).tasks
    assert task.id == "livecodebench/b"


def test_values_are_those_that_json_has(write):
    nested = [{"a": 1, "b": None}, {"a": None, "b": "x"}]
    table = {
        "nested": pyarrow.array([nested, []]),
        "mapped": pyarrow.array([[("k", 1)], None], pyarrow.map_(pyarrow.string(), pyarrow.int8())),
        "texts": pyarrow.array([["a", None], None], pyarrow.list_(pyarrow.large_string())),
        "vector": pyarrow.array([[1.5, 2.0], [0.0, 0.0]], pyarrow.list_(pyarrow.float32(), 2)),
        "number": pyarrow.array([None, 3], pyarrow.int64()),
        "price": pyarrow.array([1, 2]).cast(pyarrow.decimal128(23, 2)),
        "is_new": pyarrow.array([True, None]),
        "nothing": pyarrow.nulls(2),
        "image": pyarrow.array([{"bytes": b"x", "path": "a"}, None]),
    }
    assert rows_of(write("x.parquet", table)) == [
        {
            "nested": [{"a": 1}, {"b": "x"}],
            "mapped": [["k", 1]],
            "texts": ["a", None],
            "vector": [1.5, 2.0],
            "price": 1,
            "is_new": True,
            "image": b"",
        },
        {"nested": [], "vector": [0.0, 0.0], "number": 3, "price": 2, "image": b""},
    ]


def test_a_null_is_a_missing_key(write):
    rows = [{**row, "test_imports": None, "prompt": None} for row in MBPP_ROWS]
    assert made(Mbpp(file=write("mbpp.parquet", rows))).tasks == made(Mbpp(file=write("mbpp.jsonl", MBPP_ROWS))).tasks
    said = errors_of(Gsm8k(file=write("test.parquet", [*GSM8K[:3], {"question": None, "answer": "#### 4"}])))
    assert said == ["test.parquet: row 4 the key 'question' is missing"]


def test_images_are_not_read(write):
    noise = bytes(range(256)) * 64
    rows = [{**row, "image": {"bytes": noise, "path": None}} for row in GSM8K]
    path = Path(write("test.parquet", rows, compression="none", use_dictionary=False))
    raw = path.read_bytes()
    at = raw.index(noise[:64]) - 8  # what says how many bytes follow
    path.write_bytes(raw[:at] + b"\xff" * 8 + raw[at + 8 :])
    with pytest.raises(OSError, match="corrupt data page"):
        pyarrow.parquet.read_table(path)
    assert len(made(Gsm8k(file=str(path))).tasks) == len(GSM8K)


@pytest.mark.parametrize(
    ("kind", "name", "column"), [(Gsm8k, "test.parquet", "question"), (GpqaDiamond, "gpqa_diamond.parquet", "Question")]
)
def test_a_column_of_bytes_that_must_be_text_is_named(write, kind, name, column):
    table = pyarrow.Table.from_pylist(GSM8K if kind is Gsm8k else GPQA)
    at = table.schema.get_field_index(column)
    path = write(name, table.set_column(at, column, table.column(at).cast(pyarrow.binary())))
    (said,) = errors_of(kind(file=path))
    assert column in said
    assert "bin" in said or "bytes" in said


def test_a_file_is_read_in_pieces(write):
    rows = [{"question": f"{number:06}" * 400, "answer": "#### 4"} for number in range(20_000)]
    path = Path(write("test.parquet", rows, compression="none", use_dictionary=False))
    assert path.stat().st_size > 40 * 2**20
    with path.open("rb") as file:
        found = opened(file, path)
    before = pyarrow.total_allocated_bytes()
    most = max(pyarrow.total_allocated_bytes() - before for _ in found.values("test.parquet"))
    assert most < 16 * 2**20


# ── damaged files ────────────────────────────────────────────────────────


def test_a_file_of_another_suite_says_which_columns_it_has(write):
    (said,) = errors_of(Gsm8k(file=write("test.parquet", AIME_ROWS)))
    assert said == (
        "test.parquet: row 1 the key 'question' is missing; so in all 3 rows, which have 'id', 'problem', 'answer': "
        "is this a file of GSM8K?"
    )


def test_a_file_without_rows_is_named(write):
    (said,) = errors_of(Gsm8k(file=write("test.parquet", pyarrow.Table.from_pylist(GSM8K).slice(0, 0))))
    assert said == "file test.parquet has no rows; is the download complete?"


def cut(raw):
    return raw[:-20]


def without_the_middle(raw):
    return raw[:40] + raw[-100:]


def with_noise(raw):
    return raw[:30] + b"\xff" * 40 + raw[70:]


def with_a_codec_that_nobody_reads(raw):
    """LZO (3) in place of snappy (1) in the metadata of the columns; numbers are zigzag there."""
    return re.sub(rb"(?<=question|..answer)\x15\x02", b"\x15\x06", raw)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "is half of a Parquet file; download it again"),
        (without_the_middle, "is it damaged? Download it again, or save its rows as JSON Lines"),
        (with_noise, "is it damaged? Download it again, or save its rows as JSON Lines"),
        (with_a_codec_that_nobody_reads, "save it with another compression, such as zstd, or its rows as JSON Lines"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_to_do(write, damage, why):
    path = Path(write("test.parquet", GSM8K, compression="snappy"))
    path.write_bytes(damage(path.read_bytes()))
    (said,) = errors_of(Gsm8k(file=str(path)))
    assert said.startswith(f"file {path} ")
    assert said.endswith(why)


def test_text_that_is_not_utf8_is_named(write):
    text = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\3\0\0\0"), pyarrow.py_buffer(b"ab\xff")]
    )
    (said,) = errors_of(Gsm8k(file=write("test.parquet", {"question": text, "answer": ["#### 4"]})))
    assert said.endswith("('utf-8' codec can't decode byte 0xff in position 2: invalid start byte); save it as UTF-8")


def test_two_columns_of_one_name_are_refused(write):
    table = pyarrow.table([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["question", "question"])
    (said,) = errors_of(Gsm8k(file=write("test.parquet", table)))
    assert said == "test.parquet has several columns named 'question'; rename them"


def test_a_file_that_changes_after_its_hash_was_computed_is_refused(write):
    path = Path(write("test.parquet", GSM8K))
    with path.open("rb") as file:
        found = opened(file, path)
    write("test.parquet", GSM8K[:3])
    with pytest.raises(SpecError, match=r"test\.parquet changed while it was read; is its download complete\?"):
        next(found.values("test.parquet"))
