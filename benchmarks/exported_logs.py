"""Exports a run as logs of other tools, and lets the tools themselves read them.

    python benchmarks/exported_logs.py --home FOLDER [--only evalscope,inspect,nemo] [--python python3.12]

The run is the one of NeMo Evaluator among the fixtures of the tests: repeats, wrong answers and infrastructure errors.
Each tool is installed at the version of `harnesses/` in a folder of its own under `--home`. Prints what each tool read.
Exits with 1 if that is not what the run has.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from harnesses import evalscope_logs, inspect_logs, nemo_logs
from harnesses.tier import environment, run
from tierwise.runs import importers
from tierwise.runs.exporters import EXPORTERS, rows_of

BUNDLE = Path(__file__).parents[1] / "tests" / "runs" / "fixtures" / "nemo" / "fast"
PACKAGES = {"evalscope": evalscope_logs.PACKAGES, "inspect": inspect_logs.PACKAGES, "nemo": nemo_logs.PACKAGES}
READERS = {
    "evalscope": """
from evalscope.report import get_report_list
from evalscope.report.data_frames import get_model_prediction, report_model_dir, scan_report_refs

(ref,) = scan_report_refs(".")
(report,) = get_report_list([report_model_dir(".", ref)])
rows = get_model_prediction(ref.run_id, ref.model_id, report.dataset_name, "default")
seen = {}
for _, row in rows.iterrows():
    scored = row["Status"] == "success"
    seen.setdefault(row["Metadata"]["tierwise_task"], []).append(row["NScore"] if scored else None)
score, tokens = report.score, report.perf_metrics["summary"]["usage"]["total_tokens_count"]
""",
    "inspect": """
from pathlib import Path

from inspect_ai.log import read_eval_log

(path,) = Path().rglob("*.eval")
log = read_eval_log(str(path))
seen = {}
for sample in sorted(log.samples, key=lambda one: one.epoch):
    value = sample.scores["tierwise"].value if sample.scores else None
    seen.setdefault(sample.id, []).append(None if value is None else float(value == "C"))
score = log.results.scores[0].metrics["accuracy"].value
tokens = sum(usage.total_tokens for usage in log.stats.model_usage.values())
""",
    "nemo": """
from pathlib import Path

from nemo_evaluator.engine.comparison import compare_runs
from nemo_evaluator.reports.eval import build_table, discover_bundle_paths, load_bundles_for_export

(folder,) = Path().iterdir()
(path,) = discover_bundle_paths([folder])
(bundle,) = load_bundles_for_export([path])
assert compare_runs(path, path)["verdict"] == "PASS"
seen, rewards = {}, []
for row in bundle["_results"]:
    failed = "error_category" in row["scoring_details"]
    rewards.append(row["reward"])
    seen.setdefault(row["metadata"]["id"], []).append(None if failed else row["reward"])
(figures,) = build_table([bundle])["benchmarks"].values()
assert figures["pass@1"]["value"] == sum(rewards) / len(rewards)
graded = [one for repeats in seen.values() for one in repeats if one is not None]
score, tokens = sum(graded) / len(graded), figures["total_tokens"]
""",
}
"""Programs that find what a tool reads: `seen`, by task and repeat 1, 0 or None, the `score` of these, and `tokens`."""
PRINTED = """
import json

print(json.dumps({"seen": seen, "score": round(score, 4), "tokens": tokens}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="folder for the environments")
    parser.add_argument("--only", default=",".join(READERS), help="comma-separated names")
    parser.add_argument("--python", default=sys.executable, help="a Python from 3.12 on")
    args = parser.parse_args()
    home = args.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        (path,) = importers.logs([BUNDLE])
        (imported,) = importers.read(path)
        directory = importers.write(imported, Path(folder, "run"))
        expected = _expected(imported)
        for name in args.only.split(","):
            logs = Path(folder, name)
            for row in rows_of(directory):
                for file, content in EXPORTERS[name].files(row).items():
                    (logs / file).parent.mkdir(parents=True, exist_ok=True)
                    (logs / file).write_bytes(content)
            python_there = environment(home / name, *PACKAGES[name], python=args.python) / "python"
            said = run([python_there, "-c", READERS[name] + PRINTED], logs, {"HF_HUB_OFFLINE": "1"})
            is_right = _found(said) == expected
            wrong |= not is_right
            print(f"{name}: {'read as the run has it' if is_right else said}")
    raise SystemExit(1 if wrong else 0)


def _expected(imported: importers.Imported) -> dict[str, object]:
    seen: dict[str, list[float | None]] = {}
    for one in sorted(imported.results, key=lambda one: one.repeat):
        seen.setdefault(one.task, []).append(float(one.is_solved) if one.is_graded else None)
    graded = [one for one in imported.results if one.is_graded]
    tokens = sum((one.prompt_tokens or 0) + (one.completion_tokens or 0) for one in graded)
    return {"seen": seen, "score": round(sum(one.is_solved for one in graded) / len(graded), 4), "tokens": tokens}


def _found(said: str) -> object:
    """The last line that a program printed; tools may print others before it."""
    try:
        return json.loads(said.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return None


if __name__ == "__main__":
    main()
