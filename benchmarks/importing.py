"""The time of `tierwise import` for logs of 10,000 samples, made from the logs that the tests read.

    python benchmarks/importing.py [--samples 10000]

Prints wall and CPU seconds of the whole command, process start included. Exits with 1 if one takes more than 10 s of
CPU: it has one thread, and other load is not its own time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backports.zstd import zipfile

LOGS = Path(__file__).parents[1] / "tests" / "runs" / "fixtures"
MOST_SECONDS = 10.0


def inspect_log(folder: Path, samples: int) -> list[str]:
    """Epoch 1 of the graded samples, over and over with other ids."""
    with (
        zipfile.ZipFile(LOGS / "inspect" / "fast.eval") as old,
        zipfile.ZipFile(folder / "big.eval", "w", zipfile.ZIP_ZSTANDARD) as new,
    ):
        header = json.loads(old.read("header.json"))
        names = [name for name in old.namelist() if name.startswith("samples/") and name.endswith("_epoch_1.json")]
        given = [json.loads(old.read(name)) for name in names if "word-2" not in name]
        for number in range(samples):
            new.writestr(
                f"samples/s{number}_epoch_1.json", json.dumps(given[number % len(given)] | {"id": f"s{number}"})
            )
        header["eval"]["dataset"]["sample_ids"] = [f"s{number}" for number in range(samples)]
        header["eval"]["config"]["epochs"] = 1
        new.writestr("header.json", json.dumps(header))
    return [str(folder / "big.eval")]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")


def lm_eval_samples(folder: Path, samples: int) -> list[str]:
    given = [one for one in lines(next(LOGS.glob("lm_eval/fast/samples_*.jsonl"))) if one["filter"] == "strict"]
    path = folder / "samples_big.jsonl"
    write_lines(path, [given[number % len(given)] | {"doc_id": number} for number in range(samples)])
    return [str(path)]


def nemo_bundle(folder: Path, samples: int) -> list[str]:
    path = next(LOGS.glob("nemo/fast/*/eval-*.json"))
    bundle = json.loads(path.read_text(encoding="utf-8"))
    bundle["n_results"] = bundle["benchmark"]["samples"] = samples
    (folder / "eval-big.json").write_text(json.dumps(bundle), encoding="utf-8")
    for name in ("results.jsonl", "inference_log.jsonl"):
        given = [one for one in lines(path.with_name(name)) if "problem_idx" in one]
        made = [given[number % len(given)] | {"problem_idx": number, "repeat": 0} for number in range(samples)]
        write_lines(folder / name, made)
    return [str(folder / "eval-big.json")]


def promptfoo_results(folder: Path, samples: int) -> list[str]:
    value = json.loads((LOGS / "promptfoo" / "results.json").read_text(encoding="utf-8"))
    found = value["results"]
    given = [one for one in found["results"] if one["promptIdx"] == 0 and one["failureReason"] == 0]
    made = [given[number % len(given)] | {"testIdx": number} for number in range(samples)]
    for number, one in enumerate(made):
        one["testCase"] = one["testCase"] | {"description": f"t{number}"}
    found["results"], found["stats"] = made, {"successes": samples, "failures": 0, "errors": 0}
    (folder / "big.json").write_text(json.dumps(value, indent=2), encoding="utf-8")
    return [str(folder / "big.json")]


def harbor_job(folder: Path, samples: int) -> list[str]:
    """A job of so many trials, each in a folder of its own."""
    job = LOGS / "harbor" / "fast"
    given = [json.loads(path.read_text(encoding="utf-8")) for path in job.glob("*-1__*/result.json")]
    for number in range(samples):
        name = f"t{number}__x"
        trial = given[number % len(given)] | {"task_name": f"t{number}", "trial_name": name}
        (folder / "job" / name).mkdir(parents=True)
        (folder / "job" / name / "result.json").write_text(json.dumps(trial, indent=4), encoding="utf-8")
        (folder / "job" / name / "config.json").write_text(json.dumps(trial["config"], indent=4), encoding="utf-8")
    for name in ("config.json", "lock.json", "result.json"):
        value = json.loads((job / name).read_text(encoding="utf-8"))
        (folder / "job" / name).write_text(json.dumps(value | {"n_total_trials": samples}), encoding="utf-8")
    return [str(folder / "job")]


def evalscope_reviews(folder: Path, samples: int) -> list[str]:
    """Reviews with predictions, and the report that counts them."""
    old = LOGS / "evalscope" / "fast"
    for name in ("reviews", "predictions"):
        given = lines(old / name / "fast" / "gsm8k_default.jsonl")
        made = [given[number % len(given)] | {"index": number} for number in range(samples)]
        for number, one in enumerate(made):
            if name == "reviews":
                one["sample_score"] = one["sample_score"] | {"group_id": number, "generation_index": 0}
        (folder / "run" / name / "fast").mkdir(parents=True)
        write_lines(folder / "run" / name / "fast" / "gsm8k_default.jsonl", made)
    report = (
        (old / "reports" / "fast" / "gsm8k.json").read_text(encoding="utf-8").replace('"num": 6', f'"num": {samples}')
    )
    (folder / "run" / "reports" / "fast").mkdir(parents=True)
    (folder / "run" / "reports" / "fast" / "gsm8k.json").write_text(report, encoding="utf-8")
    return [str(folder / "run")]


def livecodebench_evaluation(folder: Path, samples: int) -> list[str]:
    """Problems with ten samples each."""
    given = json.loads(next(LOGS.glob("livecodebench/fast*_eval_all.json")).read_text(encoding="utf-8"))
    keys = ("output_list", "code_list", "graded_list", "metadata")
    made = [given[number % len(given)] | {"question_id": f"q{number}"} for number in range(samples // 10)]
    value = [one | {key: one[key] * 5 for key in keys} for one in made]
    path = folder / "big_Scenario.codegeneration_10_0.2_eval_all.json"
    path.write_text(json.dumps(value, indent=4), encoding="utf-8")
    return [str(path)]


def aiperf_records(folder: Path, samples: int) -> list[str]:
    """Half as many questions as requests."""
    old = LOGS / "aiperf" / "fast"
    given = [one for one in lines(old / "profile_export.jsonl") if "error" not in one]
    made = [json.loads(json.dumps(given[number % len(given)])) for number in range(samples)]
    for number, one in enumerate(made):
        one["metadata"] |= {"x_request_id": f"r{number}", "conversation_id": f"c{number // 2}"}
    (payload,) = json.loads((old / "inputs.json").read_text(encoding="utf-8"))["data"][0]["payloads"]
    texts = [[{"role": "user", "content": f"What is {number} + 1?"}] for number in range(samples // 2)]
    asked = [{"session_id": f"c{at}", "payloads": [payload | {"messages": text}]} for at, text in enumerate(texts)]
    summary = json.loads((old / "profile_export_aiperf.json").read_text(encoding="utf-8"))
    summary |= {"request_count": {"avg": float(samples)}, "error_request_count": {"avg": 0.0}}
    (folder / "run").mkdir()
    write_lines(folder / "run" / "profile_export.jsonl", made)
    (folder / "run" / "inputs.json").write_text(json.dumps({"data": asked}, indent=2), encoding="utf-8")
    (folder / "run" / "profile_export_aiperf.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    return [str(folder / "run")]


def guidellm_report(folder: Path, samples: int) -> list[str]:
    value = json.loads((LOGS / "guidellm" / "fast.json").read_text(encoding="utf-8"))
    (benchmark,) = value["benchmarks"]
    given = benchmark["requests"]["successful"]
    made = [given[number % len(given)] | {"request_id": f"r{number}"} for number in range(samples)]
    benchmark["requests"] |= {"successful": made, "errored": []}
    benchmark["scheduler_metrics"]["requests_made"] |= {"successful": samples, "errored": 0}
    (folder / "big.json").write_text(json.dumps(value, indent=4), encoding="utf-8")
    return [str(folder / "big.json")]


MADE: dict[str, Callable[[Path, int], list[str]]] = {
    "inspect": inspect_log,
    "lm-eval": lm_eval_samples,
    "nemo": nemo_bundle,
    "promptfoo": promptfoo_results,
    "harbor": harbor_job,
    "evalscope": evalscope_reviews,
    "livecodebench": livecodebench_evaluation,
    "aiperf": aiperf_records,
    "guidellm": guidellm_report,
}


def cpu_seconds() -> float:
    """User and system seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--only", default=",".join(MADE), help="comma-separated names")
    chosen = parser.parse_args()
    samples = chosen.samples
    slowest = 0.0
    print(f"load {os.getloadavg()[0]:.1f}, {samples} samples")
    for tool in chosen.only.split(","):
        make = MADE[tool]
        with tempfile.TemporaryDirectory() as folder:
            files = make(Path(folder), samples)
            command = [sys.executable, "-m", "tierwise", "import", *files, "--out", str(Path(folder, "runs"))]
            began, before = time.monotonic(), cpu_seconds()
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            took, used = time.monotonic() - began, cpu_seconds() - before
            slowest = max(slowest, used)
            size = sum(
                path.stat().st_size for path in Path(folder).rglob("*") if path.is_file() and "runs" not in path.parts
            )
            print(
                f"{tool:10} {took:5.2f} s, {used:5.2f} s of CPU, {size / 1e6:6.1f} MB: {said.rpartition('  ')[2]}",
                end="",
            )
    raise SystemExit(1 if slowest > MOST_SECONDS else 0)


if __name__ == "__main__":
    main()
