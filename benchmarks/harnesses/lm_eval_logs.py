"""lm-eval: `samples_*.jsonl` and `results_*.json` of a generative task, graded by exact match and by a pattern."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harnesses.answers import QUESTIONS
from harnesses.tier import run
from peers.environments import default_folder, installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harnesses.tier import Fixture, Place

TASK = """
task: questions
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: target
generation_kwargs: {max_gen_toks: 32, until: ["\\n\\n"]}
metric_list: [{metric: exact_match}]
filter_list:
  - {name: strict, filter: [{function: take_first}]}
  - {name: number, filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]}
metadata: {version: 1}
"""
QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OPENAI_API_KEY": "none"}
ANSWERED = [question for question in QUESTIONS if question.replies]
"""lm-eval ends with the first request that is refused, and logs nothing."""


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers. Yields the files, and where they belong."""
    rows = [{"id": one.id, "question": one.text, "target": one.target, "group": one.group} for one in ANSWERED]
    (place.folder / "questions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (place.folder / "questions.yaml").write_text(TASK, encoding="utf-8")
    program = installed("lm-eval", default_folder()) / "lm-eval"
    for tier in ("fast", "max"):
        how = f"model={tier},base_url={place.url}/chat/completions,num_concurrent=1,max_retries=1"
        into = place.folder / tier
        command: list[str | Path] = [
            program,
            "run",
            "--model",
            "local-chat-completions",
            "--model_args",
            how,
            "--apply_chat_template",
        ]
        command += ["--tasks", "questions", "--include_path", place.folder, "--output_path", into, "--log_samples"]
        said = run(command, place.folder, QUIET)
        found = sorted(into.rglob("*.json*"))
        if not found:
            raise SystemExit(f"lm-eval wrote nothing:\n{said[-3000:]}")
        yield from ((path, f"lm_eval/{tier}/{path.name}") for path in found)
