"""`tierwise tune` on input that a careless or a hostile user brings: each is refused in words, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from made_pools import question
from made_tunings import CONFIG, recording
from tierwise.certificate import read_certificate
from tierwise.cli import app
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.tuning.split import split

if TYPE_CHECKING:
    from collections.abc import Callable

BOUNDED = CONFIG.replace("policy: single,", "policy: single, budget: {dollars: 0.01},")
ASKED = 130


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("bad")
    recording(found / "pool", ASKED)
    return found


def tune(
    place: Path, *more: object, config: str = CONFIG, workload: Path | None = None, out: Path | None = None
) -> Any:
    file = place / "tierwise.yaml"
    file.write_text(config)
    pool = place / "pool"
    given = workload or pool / "workload.jsonl"
    arguments = ["tune", file, given, "--pool", pool, "--orders", "1", "--out", out or place / "out", *more]
    return CliRunner().invoke(app, [str(one) for one in arguments])


def refused(done: Any) -> str:
    """What was said instead of a decision. Options out of range are refused by the parser, with status 2."""
    assert done.exit_code != 0, done.output
    if isinstance(done.exception, SystemExit):
        assert done.exit_code == 2
        return " ".join(done.output.replace("│", " ").split())
    assert isinstance(done.exception, SpecError | ConfigErrors), repr(done.exception)
    return str(done.exception)


@pytest.mark.parametrize(
    ("given", "seen", "allowed"),
    [
        *((f"--loss={value}", value, "0.0001<=x<=0.5") for value in ("0.0", "1.0", "1e-09", "-0.1", "inf")),
        ("--loss=nan", "nan", "0.0001 to 0.5"),
        *((f"--confidence={value}", value, "0.5<=x<=0.9999") for value in ("0.0", "0.999999", "1.0", "0.49")),
        ("--confidence=nan", "nan", "0.5 to 0.9999"),
        *((f"--p95={value}", value, "positive number of seconds") for value in ("0", "0s", "-3s", "nan", "1e400")),
        ("--p95=1ms", "1ms", "such as 8s"),
        ("--dollars=-1.0", "-1.0", "x>=0"),
        ("--orders=0", "0", "1<=x<=1000"),
        ("--draws=nan", "nan", "int"),
        ("--reference=strong", "strong", "best, fast"),
    ],
)
def test_an_option_beyond_what_is_allowed_is_refused_with_what_is(place, given, seen, allowed):
    said = refused(tune(place, "--loss=0.05", given))
    assert given.partition("=")[0] in said or seen in said
    assert seen in said
    assert allowed in said
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("dollars", "says"),
    [("0", "not possible"), ("nan", "not possible"), ("inf", "kept anyway"), ("1e9", "kept anyway")],
)
def test_a_mean_cost_that_says_nothing_or_cannot_be_is_refused(place, dollars, says):
    said = refused(tune(place, "--loss=0.05", "--dollars", dollars, config=BOUNDED))
    assert says in said
    assert "$0.02" in said  # what is allowed


def test_a_promise_beyond_what_the_tasks_can_prove_says_what_they_can(place):
    said = refused(tune(place, "--loss=0.0001", "--confidence=0.9999"))
    assert "independent calibration tasks even if none of them has a loss" in said
    assert "allow --loss" in said


@pytest.mark.parametrize("kind", ["harm", "net"])
def test_the_loosest_promise_is_decided(place, tmp_path, kind):
    done = tune(place, "--loss=0.5", "--confidence=0.5", "--promise", kind, out=tmp_path / "out")
    assert done.exit_code == 0, done.exception
    assert json.loads((tmp_path / "out" / "report.json").read_text())["promise"]["limit"] == 0.5


@pytest.mark.parametrize("price", [".nan", "-1", ".inf", "null", "free", "{}"])
def test_a_price_that_is_no_amount_is_refused_with_its_line(place, price):
    config = CONFIG.replace("small: {prompt: 1, completion: 1}", f"small: {{prompt: {price}, completion: 1}}")
    assert "tierwise.yaml:12: prices.small.prompt" in refused(tune(place, "--loss=0.05", config=config))


def test_where_everything_is_free_nothing_is_certified(place, tmp_path):
    free = CONFIG.replace("{prompt: 1, completion: 1}", "{prompt: 0, completion: 0}")
    free = free.replace("{prompt: 20, completion: 20}", "{prompt: 0, completion: 0}")
    done = tune(place, "--loss=0.05", config=free, out=tmp_path / "out")
    assert done.exit_code == 0, done.exception
    assert "Not worth it" in done.output
    assert not (tmp_path / "out" / "certificate.json").exists()


def lines(place: Path) -> list[str]:
    return (place / "pool" / "workload.jsonl").read_text().splitlines()


WORKLOADS: list[tuple[str, Callable[[list[str]], list[str]], str]] = [
    ("empty", lambda _: [], "has no tasks; write one JSON object per line"),
    ("one task", lambda tasks: tasks[:1], "another workload"),
    ("cut in the middle of a line", lambda tasks: [*tasks[:-1], tasks[-1][:20]], f":{ASKED}: not JSON"),
    ("weights of zero", lambda tasks: [one[:-1] + ',"weight":0}' for one in tasks], ":1: weight: Expected `float` > 0"),
    ("a weight that is no number", lambda tasks: [tasks[0][:-1] + ',"weight":NaN}', *tasks[1:]], "NaN is not a JSON"),
    ("a weight beyond measure", lambda tasks: [tasks[0][:-1] + ',"weight":1e308}', *tasks[1:]], "<= 1000000000"),
    ("renamed", lambda tasks: [one.replace('"id":"t', '"id":"u') for one in tasks], "another workload"),
    ("twice the same task", lambda tasks: [*tasks, tasks[0]], "t0"),
]


@pytest.mark.parametrize(("change", "says"), [one[1:] for one in WORKLOADS], ids=[one[0] for one in WORKLOADS])
def test_a_workload_that_is_not_what_was_recorded_is_refused(place, tmp_path, change, says):
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text("".join(f"{one}\n" for one in change(lines(place))))
    assert says in refused(tune(place, "--loss=0.05", workload=tasks))


def damaged(place: Path, tmp_path: Path, damage: Callable[[Path], object]) -> tuple[str, bytes, bytes]:
    """What is said about a damaged pool, and its records before and after."""
    shutil.copytree(place / "pool", tmp_path / "pool")
    damage(tmp_path / "pool")
    records = tmp_path / "pool" / "records.jsonl"
    before = records.read_bytes()
    said = refused(tune(tmp_path, "--loss=0.05"))
    return said, before, records.read_bytes()


def cut(pool: Path) -> None:
    records = pool / "records.jsonl"
    content = records.read_bytes()
    records.write_bytes(content[: len(content) // 2])


def spoilt(pool: Path) -> None:
    records = pool / "records.jsonl"
    several = records.read_text().splitlines()
    several[50] = several[50][:30]
    records.write_text("".join(f"{one}\n" for one in several))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "tasks lack draws"),
        (spoilt, "records.jsonl:51: not JSON"),
        (lambda pool: (pool / "records.jsonl").write_bytes(b""), "has no draws yet; continue it with --resume"),
        (lambda pool: (pool / "manifest.json").write_text("{"), "manifest.json:1: not JSON"),
        (lambda pool: (pool / "manifest.json").unlink(), "is not a pool: it has no manifest.json"),
    ],
    ids=["cut in a line", "a spoilt line", "empty", "a cut manifest", "no manifest"],
)
def test_a_damaged_pool_is_refused_and_left_as_it_is(place, tmp_path, damage, says):
    said, before, after = damaged(place, tmp_path, damage)
    assert says in said
    assert before == after


def test_a_pool_with_half_its_tasks_in_errors_is_refused_with_how_to_go_on(tmp_path):
    pool = recording(tmp_path / "pool", ASKED)
    records = pool.read_records()
    failing = set(list(dict.fromkeys(one.task for one in records))[::2])
    pool.write_records([one for one in records if one.task not in failing])
    said = refused(tune(tmp_path, "--loss=0.05"))
    assert f"{len(failing)} of {ASKED} tasks lack draws, and at most 2% may" in said
    assert "pool record --resume" in said


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_where_the_results_should_go_is_refused_before_the_search(place, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    said = refused(tune(place, "--loss=0.05", out=tmp_path / name))
    assert "is a file, and --out is a folder" in said
    assert (tmp_path / "file").read_text() == "mine"


def test_a_cluster_of_nine_tenths_is_refused_and_one_per_task_is_as_none(tmp_path):
    many = [question(number, cluster="all" if number % 10 else f"c{number}") for number in range(ASKED)]
    recording(tmp_path / "pool", questions=many)
    said = refused(tune(tmp_path, "--loss=0.05"))
    assert "90% of the workload are one unit" in said
    assert "'all'" in said
    found = []
    for name, tasks in (("each", [question(number, cluster=f"c{number}") for number in range(ASKED)]), ("none", None)):
        recording(tmp_path / name / "pool", ASKED, questions=tasks)
        done = tune(tmp_path / name, "--loss=0.05")
        assert done.exit_code == 0, done.exception
        found.append(read_certificate(tmp_path / name / "out" / "certificate.json").evidence)
    assert found[0] == found[1]


def test_a_tag_that_only_the_test_part_has_is_said(tmp_path):
    plain = [question(number) for number in range(ASKED)]
    last = set(split(plain).test.tolist()[:10])
    recording(
        tmp_path / "pool", questions=[question(n, tags=["rare"]) if n in last else question(n) for n in range(ASKED)]
    )
    done = tune(tmp_path, "--loss=0.05")
    assert done.exit_code == 0, done.exception
    assert "no task of the tuning part has the tag 'rare'" in done.output
    assert "no task of the calibration part has the tag 'rare'" in done.output


def test_prompts_that_differ_in_unicode_forms_alone_are_near_duplicates(tmp_path):
    texts = {3: "Caf\u00e9 \uff13?", 50: "cafe\u0301  3", 70: "CAF\u00c9\u00a03!"}
    several = [
        question(number, messages=[{"role": "user", "content": texts.get(number, f"{number}+?")}])
        for number in range(ASKED)
    ]
    recording(tmp_path / "pool", questions=several)
    done = tune(tmp_path, "--loss=0.05")
    assert done.exit_code == 0, done.exception
    assert f"2 of {ASKED} tasks have the same prompt" in done.output


@pytest.mark.parametrize(
    ("cheap", "best", "says"),
    [(0.0, 0.0, "fast"), (0.1, 0.1, "fast"), (1.1, 1.1, "no answer of 'best' is right")],
    ids=["all right", "tiers that are the same", "all wrong"],
)
def test_tiers_without_a_difference_need_no_route(tmp_path, cheap, best, says):
    recording(tmp_path / "pool", ASKED, cheap_wrong=cheap, best_wrong=best)
    done = tune(tmp_path, "--loss=0.05")
    if cheap > 1:
        assert says in refused(done)
        return
    assert done.exit_code == 0, done.exception
    assert f"serve the fixed tier {says!r}" in done.output
    assert not (tmp_path / "out" / "certificate.json").exists()


def certified(tmp_path: Path, place: Path) -> Path:
    done = tune(place, "--loss=0.1", out=tmp_path / "out")
    assert done.exit_code == 0, done.exception
    return tmp_path / "out"


def test_a_certificate_that_was_touched_is_refused_wherever_it_is_read(tmp_path, place):
    out = certified(tmp_path, place)
    file = out / "certificate.json"
    whole = file.read_bytes()
    at = whole.index(b'"limit"')
    digit = next(
        place for place in range(at, at + 40) if whole[place : place + 1].isdigit() and whole[place] != ord("0")
    )
    unknown = json.dumps({**json.loads(whole), "bonus": 1}).encode()
    for changed in (whole[:digit] + b"9" + whole[digit + 1 :], unknown, whole[: len(whole) // 2], b"", b"\xff"):
        file.write_bytes(changed)
        done = CliRunner().invoke(app, ["check", str(out / "tierwise.yaml")])
        said = refused(done)
        assert "certificate" in said
        assert file.read_bytes() == changed


def test_a_certificate_of_another_file_is_said_to_be_void(tmp_path, place):
    out = certified(tmp_path, place)
    config = out / "tierwise.yaml"
    config.write_text(config.read_text().replace("model: large", "model: another"))
    said = refused(CliRunner().invoke(app, ["check", str(config)]))
    assert "routes.auto.certificate: does not hold" in said
    assert "run `tierwise tune` again" in said or "--uncertified" in said
    assert read_certificate(out / "certificate.json").route == "auto"
