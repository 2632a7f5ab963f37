"""A log that is damaged, incomplete or of another version is refused with file and line, and leaves nothing behind."""

from __future__ import annotations

import json
import zipfile

import pytest
from logs_of_tools import PROMPTFOO, copied, inspect_log, lm_eval_samples, nemo_bundle
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.runs import importers
from tierwise.runs.importers import ImportOptions
from tierwise.spec.errors import SpecError

STRICT = ImportOptions(metric="exact_match,strict")
LOGS = {
    "inspect": lambda: inspect_log("fast"),
    "nemo": lambda: nemo_bundle("fast"),
    "promptfoo": lambda: PROMPTFOO,
    "lm-eval": lambda: lm_eval_samples("fast"),
}


def refused(path, match, options=None):
    with pytest.raises(SpecError, match=match):
        importers.read(path, "", options or ImportOptions())


def edited(path, edit):
    """Change the lines of a file."""
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(edit(lines)), encoding="utf-8")
    return path


def members(log):
    """The JSON files of a log of Inspect."""
    opens = pytest.importorskip("backports.zstd.zipfile")
    with opens.ZipFile(log) as file:
        return {name: json.loads(file.read(name)) for name in file.namelist()}


def written(path, files):
    """A log of Inspect, compressed as earlier versions did it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in files.items():
            file.writestr(name, json.dumps(value))
    return path


@pytest.mark.parametrize("tool", LOGS)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_half_a_file_is_refused_and_nothing_is_written(tool, share, tmp_path):
    log = copied(LOGS[tool](), tmp_path)
    raw = log.read_bytes()
    log.write_bytes(raw[: int(len(raw) * share)])
    out = tmp_path / "runs"
    words = ["import", str(log), "--out", str(out), *(["--metric", STRICT.metric] if tool == "lm-eval" else [])]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, SpecError)
    assert log.name in f"{done.exception} {done.exception.field}"
    assert not out.exists()


@pytest.mark.parametrize("tool", ["nemo", "promptfoo", "lm-eval"])
def test_a_foreign_encoding_is_named(tool, tmp_path):
    log = copied(LOGS[tool](), tmp_path)
    log.write_bytes(log.read_text(encoding="utf-8").encode("utf-16"))
    refused(log, r"line 1 is not UTF-8 \(it looks like UTF-16\); save it as UTF-8")


def test_a_byte_order_mark_is_no_error(tmp_path):
    log = copied(lm_eval_samples("fast"), tmp_path)
    log.write_bytes(b"\xef\xbb\xbf" + log.read_bytes())
    assert len(importers.read(log, "", STRICT)[0].results) == 3


def test_a_sample_that_is_there_twice_is_refused_with_both_lines(tmp_path):
    log = copied(lm_eval_samples("fast"), tmp_path)
    refused(
        edited(log, lambda lines: [*lines[:2], lines[0], *lines[2:]]),
        r"jsonl:3: task '0-\w+' is already in .*:1",
        STRICT,
    )


def test_samples_that_are_missing_are_counted(tmp_path):
    log = copied(lm_eval_samples("fast"), tmp_path)
    refused(
        edited(log, lambda lines: [line for line in lines if '"doc_id": 2' not in line]), "has 2 of 3 samples", STRICT
    )


def test_a_score_between_0_and_1_is_refused_with_its_line(tmp_path):
    log = copied(lm_eval_samples("fast"), tmp_path)
    log = edited(log, lambda lines: [line.replace('"exact_match": 0.0', '"exact_match": 0.5') for line in lines])
    refused(log, r"jsonl:2: 'exact_match' is 0.5; allowed are 0 and 1", STRICT)


def test_samples_without_the_file_of_figures_have_the_name_of_their_folder(tmp_path):
    log = copied(lm_eval_samples("fast"), tmp_path)
    next(log.parent.glob("results_*")).unlink()
    (found,) = importers.read(log, "", STRICT)
    assert (found.tier, found.size) == ("copy", None)


def test_results_without_their_bundle_are_those_of_a_harness_that_died(tmp_path):
    log = copied(nemo_bundle("fast"), tmp_path)
    log.unlink()
    refused(
        log.with_name("results.jsonl"), r"give the bundle.*Without one the run did not end: `nel eval run --resume`"
    )
    with pytest.raises(SpecError, match="Without one the run did not end"):
        [importers.read(path) for path in importers.logs([log.parent]) if path.name == "results.jsonl"]


@pytest.mark.parametrize(("category", "outcome"), [("system", "error"), ("graceful", "incorrect")])
def test_an_error_that_is_not_the_model_s_is_no_wrong_answer(category, outcome, tmp_path):
    log = copied(nemo_bundle("fast"), tmp_path)
    edited(
        log.with_name("results.jsonl"), lambda lines: [one.replace('"infra_error"', f'"{category}"') for one in lines]
    )
    (run,) = importers.read(log)
    assert {one.outcome for one in run.results if one.task == "word-2"} == {outcome}


def test_a_bundle_with_fewer_results_than_it_says_is_refused(tmp_path):
    log = copied(nemo_bundle("fast"), tmp_path)
    edited(log.with_name("results.jsonl"), lambda lines: lines[1:])
    refused(log, r"results.jsonl: has 7 results, and eval-\S+ says 8")


def test_a_bundle_without_a_log_of_requests_has_no_tokens(tmp_path):
    log = copied(nemo_bundle("fast"), tmp_path)
    log.with_name("inference_log.jsonl").unlink()
    (found,) = importers.read(log)
    assert {result.prompt_tokens for result in found.results} == {None}
    assert len(found.results) == 8


def test_a_line_of_another_shape_is_named(tmp_path):
    log = copied(nemo_bundle("fast"), tmp_path)
    edited(log.with_name("results.jsonl"), lambda lines: [lines[0].replace('"repeat"', '"again"'), *lines[1:]])
    refused(log, r"results.jsonl:1: the key 'repeat' is missing")


@pytest.mark.parametrize(("version", "shown"), [(2, "2"), (4, "4")])
def test_another_version_of_promptfoo_is_refused(version, shown, tmp_path):
    log = copied(PROMPTFOO, tmp_path)
    log = edited(log, lambda lines: [line.replace('"version": 3', f'"version": {version}') for line in lines])
    refused(log, f"has results of version {shown}, and 3 is read")


def test_results_of_promptfoo_that_are_missing_are_counted(tmp_path):
    log = copied(PROMPTFOO, tmp_path)
    value = json.loads(log.read_text(encoding="utf-8"))
    value["results"]["results"].pop()
    log.write_text(json.dumps(value), encoding="utf-8")
    refused(log, "has 15 results, and its sums say 16")


def test_a_log_of_inspect_in_the_earlier_compression_is_read(tmp_path):
    log = written(tmp_path / "old.eval", members(inspect_log("fast")))
    assert len(importers.read(log)[0].results) == 8


@pytest.mark.parametrize("status", ["started", "cancelled", "error"])
def test_an_evaluation_that_did_not_end_is_refused(status, tmp_path):
    files = members(inspect_log("fast"))
    files["header.json"]["status"] = status
    refused(
        written(tmp_path / "x.eval", files), rf"its status is '{status}' after 8 samples.*`inspect eval-retry x.eval`"
    )


def test_an_evaluation_that_was_killed_is_refused(tmp_path):
    files = members(inspect_log("fast"))
    del files["header.json"]
    refused(written(tmp_path / "x.eval", files), "its status is 'started' after 8 samples")


def test_a_log_of_inspect_that_lacks_a_sample_is_refused(tmp_path):
    files = members(inspect_log("fast"))
    del files["samples/sum-2_epoch_2.json"]
    refused(written(tmp_path / "x.eval", files), "has 7 samples, and its header lists 4, 2 times")


@pytest.mark.parametrize(
    ("value", "outcome"), [("C", "correct"), (0.0, "incorrect"), ("N", "no_answer"), (True, "correct")]
)
def test_scores_of_inspect_are_outcomes(value, outcome, tmp_path):
    files = members(inspect_log("fast"))
    files["samples/word-1_epoch_1.json"]["scores"]["match"]["value"] = value
    (found,) = importers.read(written(tmp_path / "x.eval", files))
    assert {one.outcome.value for one in found.results if (one.task, one.repeat) == ("word-1", 0)} == {outcome}


@pytest.mark.parametrize("value", ["P", 0.5, {"a": 1}])
def test_a_score_of_inspect_that_is_no_outcome_is_refused(value, tmp_path):
    files = members(inspect_log("fast"))
    files["samples/word-1_epoch_1.json"]["scores"]["match"]["value"] = value
    refused(
        written(tmp_path / "x.eval", files),
        r"x.eval/samples/word-1_epoch_1.json: score 'match' is .*; allowed are C, I",
    )


def test_a_sample_without_usage_has_no_tokens_and_one_without_a_price_no_dollars(tmp_path):
    files = members(inspect_log("fast"))
    files["samples/word-1_epoch_1.json"]["model_usage"] = {}
    del files["samples/word-1_epoch_2.json"]["model_usage"]["openai-api/tierwise/fast"]["total_cost"]
    (found,) = importers.read(written(tmp_path / "x.eval", files))
    first, second = sorted((one for one in found.results if one.task == "word-1"), key=lambda one: one.repeat)
    assert (first.prompt_tokens, first.dollars) == (None, None)
    assert (second.prompt_tokens, second.dollars) == (21, None)


def test_what_a_grader_spent_is_not_the_answers(tmp_path):
    files = members(inspect_log("fast"))
    sample = files["samples/word-1_epoch_1.json"]
    grader = {"input_tokens": 100, "output_tokens": 9, "total_cost": 0.5}
    sample["model_usage"]["judge"] = grader
    sample["role_usage"] = {"grader": grader}
    (found,) = importers.read(written(tmp_path / "x.eval", files))
    (one,) = (one for one in found.results if (one.task, one.repeat) == ("word-1", 0))
    assert (one.prompt_tokens, one.completion_tokens) == (21, 1)
    assert one.dollars == pytest.approx(25e-6)


def test_a_damaged_sample_is_named(tmp_path):
    log = copied(inspect_log("fast"), tmp_path)
    raw = bytearray(log.read_bytes())
    for at in range(len(raw) // 2, len(raw) // 2 + 200):
        raw[at] ^= 0xFF
    log.write_bytes(raw)
    refused(log, r"fast\.eval(/samples/\S+ is damaged| is not a whole zip file)")


def test_one_bad_log_among_good_ones_leaves_nothing(tmp_path):
    log = copied(inspect_log("fast"), tmp_path)
    (log.parent / "zz.eval").write_bytes(log.read_bytes()[:1000])
    done = CliRunner().invoke(app, ["import", str(log.parent), "--out", str(tmp_path / "runs")])
    assert isinstance(done.exception, SpecError)
    assert not (tmp_path / "runs").exists()


def test_a_zip_file_of_something_else_is_no_log(tmp_path):
    refused(
        written(tmp_path / "x.eval", {"a.json": {}}), "not a result file of a known tool.*a zip file of something else"
    )


def test_lines_of_something_else_are_no_log(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    refused(tmp_path / "x.jsonl", r"not a result file of a known tool.*It holds an object with 'a'")
