"""lm-eval's likelihoods through a tier, beside those of the engine itself.

    python benchmarks/likelihoods.py --folder SMOLLM2 --vllm-python .venv-vllm/bin/python [--gguf FILE.gguf]

lm-eval's `local-completions` asks `/v1/completions` with `echo` and `logprobs`, through `tierwise serve` and at vLLM's
own port, on two small tasks that are written here: `multiple_choice`, and `loglikelihood_rolling` (perplexity). Every
likelihood of every sample must be the same number. With `--gguf` such a request is also made to a real llama.cpp, whose
server has no `echo`: it must be refused by the name of that field. Exits with 1 otherwise.

SMOLLM2 is a folder with safetensors and a tokenizer, for instance one that `examples/dequantize.py` made.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from clients import failed_actions
from peers.environments import default_folder, installed, version
from processes import children, tierwise

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTIONS = (
    ("The capital of France is", ("Paris", "a banana", "Oslo"), 0),
    ("Water freezes at a temperature of", ("zero degrees Celsius", "ninety degrees Celsius"), 0),
    ("The opposite of hot is", ("blue", "cold", "quick"), 1),
    ("Two plus two is", ("five", "four", "a tree"), 1),
    ("Birds build", ("nests", "engines", "mountains"), 0),
    ("At night the sky is", ("made of wood", "dark"), 1),
    ("Ein Satz über Äpfel: Äpfel wachsen auf", ("Bäumen", "Schienen"), 0),
    ("def add(a, b):\n    return", ("a + b", "'hello'", "a % b"), 0),
)
TEXTS = (
    "The sun rises in the east and sets in the west.",
    "A library lends books to people who live nearby, and asks them to bring the books back.",
    "for number in range(10):\n    print(number * number)\n",
    "Été, œuf, naïve: words with accents — and a dash, “quotes”, and 3 × 4 = 12.",
)
CHOICE = """
task: tiny_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/choice.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
metadata: {{version: 1}}
"""
ROLLING = """
task: tiny_texts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/texts.jsonl}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list: [{{metric: word_perplexity}}, {{metric: byte_perplexity}}, {{metric: bits_per_byte}}]
metadata: {{version: 1}}
"""
TASKS = "tiny_choice,tiny_texts"
START_SECONDS = 400.0
QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def write_tasks(folder: Path) -> None:
    """lm-eval's task files and their data."""
    folder.mkdir()
    choices = [{"question": text, "choices": list(given), "gold": gold} for text, given, gold in QUESTIONS]
    for name, rows in (("choice", choices), ("texts", [{"text": text} for text in TEXTS])):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (folder / "choice.yaml").write_text(CHOICE.format(folder=folder), encoding="utf-8")
    (folder / "texts.yaml").write_text(ROLLING.format(folder=folder), encoding="utf-8")


def evaluated(url: str, model: str, tokenizer: Path, tasks: Path, into: Path, callers: int) -> dict[str, Any]:
    """Run lm-eval. Returns its figures, and the likelihoods of every request."""
    into.mkdir()
    how = f"base_url={url}/completions,model={model},tokenizer={tokenizer},tokenizer_backend=huggingface"
    how += f",num_concurrent={callers},max_retries=1"
    program = installed("lm-eval", default_folder()) / "lm-eval"
    command = [program, "run", "--model", "local-completions", "--model_args", how, "--tasks", TASKS]
    command += ["--include_path", tasks, "--output_path", into, "--log_samples"]
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, env={**os.environ, **QUIET}
    )
    if done.returncode:
        raise SystemExit(f"lm-eval failed at {url}:\n{(done.stdout + done.stderr)[-3000:]}")
    results = json.loads(next(into.rglob("results_*.json")).read_text(encoding="utf-8"))["results"]
    figures = {
        f"{task} {name.partition(',')[0]}": value
        for task, row in results.items()
        for name, value in row.items()
        if isinstance(value, float) and "stderr" not in name
    }
    return {"figures": figures, "likelihoods": dict(likelihoods(into))}


def likelihoods(into: Path) -> Iterator[tuple[str, Any]]:
    """By task and number of the sample: what the server answered to its requests."""
    for file in sorted(into.rglob("samples_*.jsonl")):
        task = re.sub(r"_\d{4}-.*", "", file.stem.removeprefix("samples_"))
        for line in file.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            yield f"{task} {sample['doc_id']}", sample["resps"]


def engine_url(process: int, url: str) -> str:
    """Where the engine of a server listens, once it is ready."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with urllib.request.urlopen(f"{url}/deployments") as answer:
            (deployment,) = json.loads(answer.read())["data"]
        if deployment["start_seconds"] is not None:
            return f"http://127.0.0.1:{next(ports(process))}/v1"
        time.sleep(1)
    raise SystemExit(f"the engine did not start: {deployment}")


def ports(process: int) -> Iterator[int]:
    """What follows `--port` in the commands of a process' descendants."""
    for child in children(process):
        words = Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8").split("\0")
        yield from (int(after) for word, after in pairwise(words) if word == "--port")
        yield from ports(child)


def refusal(url: str) -> dict[str, Any]:
    """The error to what lm-eval asks."""
    body = {"model": "fast", "prompt": TEXTS[0], "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0}
    head = {"content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/completions", json.dumps(body).encode(), head)):
            return {}
    except HTTPError as error:
        return {"status": error.code, **json.loads(error.read())["error"]}


def config(deployment: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    return {
        "checkpoints": {"small": {"source": f"file:{checkpoint}"}},
        "deployments": {"small": {"checkpoint": "small", "context": 512, "slots": 2, **deployment}},
        "tiers": {"fast": {"deployment": "small", "policy": "single"}},
    }


def on_vllm(options: argparse.Namespace, folder: Path) -> bool:
    """Whether all figures and likelihoods through the tier are the engine's."""
    quick = {"engine": "vllm", "python": str(options.vllm_python.absolute()), "enforce_eager": True}
    tasks, tokenizer, callers = folder / "tasks", options.folder.resolve(), options.callers
    write_tasks(tasks)
    with tierwise(config({**quick, "cpu_kv_cache_gib": 1}, tokenizer), folder) as (process, url):
        direct = engine_url(process, url)
        engine = evaluated(direct, "small", tokenizer, tasks, folder / "direct", callers)
        tier = evaluated(url, "fast", tokenizer, tasks, folder / "tier", callers)
        again = evaluated(direct, "small", tokenizer, tasks, folder / "again", callers)
    for name, value in engine["figures"].items():
        print(f"{name:28} engine {value:<22} tier {tier['figures'][name]:<22} engine again {again['figures'][name]}")
    known = engine["likelihoods"]
    differ = [name for name, value in known.items() if tier["likelihoods"].get(name) != value]
    moved = [name for name, value in known.items() if again["likelihoods"].get(name) != value]
    actions, failed = failed_actions(folder / "ledger.db")
    print(
        f"{len(known)} samples, of which {len(differ)} have other likelihoods through the tier, and {len(moved)} when "
        f"the engine is asked again; {actions} actions in the ledger, {failed} without an answer"
    )
    return bool(known) and not differ and not failed and engine["figures"] == tier["figures"]


def on_llama_cpp(file: Path, folder: Path) -> bool:
    """Whether llama.cpp's lack is an error that names the field."""
    folder.mkdir()
    with tierwise(config({"engine": "llama.cpp", "threads": 1}, file.resolve()), folder) as (_, url):
        said = refusal(url)
    print(f"llama.cpp: {said}")
    return said.get("status") == 400 and str(said.get("message", "")).startswith("echo:")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="a checkpoint as safetensors, with its tokenizer")
    parser.add_argument("--vllm-python", type=Path, required=True, help="an interpreter that has vLLM")
    parser.add_argument("--gguf", type=Path, help="the checkpoint for llama.cpp")
    parser.add_argument("--callers", type=int, default=1, help="requests at a time")
    options = parser.parse_args()
    print(f"lm-eval {version('lm-eval')}")
    with tempfile.TemporaryDirectory() as place:
        is_good = on_vllm(options, Path(place))
        if options.gguf is not None:
            is_good &= on_llama_cpp(options.gguf, Path(place) / "llama")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
