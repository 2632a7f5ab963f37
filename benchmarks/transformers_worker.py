"""Tokens per second of Tierwise's Transformers worker, `transformers serve` and bare `generate`, in one run.

    python benchmarks/transformers_worker.py MODEL_FOLDER [--blocks 5] [--tokens 48] [--path FOLDER] [--json FILE]

One and eight streams of greedy text, with two threads each. Every block measures all of them in random order, and
ratios are computed within a block. `generate` gets the eight prompts as one padded batch, without HTTP; the two servers
stream to eight clients. The Tierwise worker runs without its prefix cache. `transformers serve` needs FastAPI: `--path`
names a directory that has it (pip install --target FOLDER fastapi).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tierwise.engines import Transformers
from tierwise.engines.process.supervisor import Launch, Supervisor
from tierwise.engines.settings import LaunchContext
from tierwise.engines.transformers.launch import build

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection

THREADS = 2
PROMPTS = [
    f"Tell me a long story about {what}."
    for what in (
        "a fox",
        "the sea and its ships",
        "two friends who build a house of stone",
        "rain",
        "an old clockmaker in a small town by a river",
        "a lighthouse",
        "a train that never stops anywhere",
        "winter",
    )
]


@dataclass(frozen=True, kw_only=True)
class System:
    name: str
    pid: Callable[[], int | None]
    run: Callable[[list[str]], Awaitable[int]]
    """Sends prompts concurrently; returns the total number of tokens of the answers."""


async def streamed(client: aiohttp.ClientSession, url: str, model: str, prompt: str, tokens: int) -> int:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0.0,
        "max_tokens": tokens,
        "stream": True,
    }
    count = 0
    async with client.post(f"{url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if line.startswith(b"data: {"):
                count += any(choice["delta"].get("content") for choice in json.loads(line[6:])["choices"])
    return count


def generating(folder: str, tokens: int, pipe: Connection) -> None:
    """A process that answers batches with `generate`."""
    os.environ["OMP_WAIT_POLICY"] = "passive"  # as in the servers: spinning halves the speed on a busy machine
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    pipe.send(None)
    while prompts := pipe.recv():
        talks = [[{"role": "user", "content": prompt}] for prompt in prompts]
        inputs = tokenizer.apply_chat_template(
            talks, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        found = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        said = found[:, inputs["input_ids"].shape[1] :]
        pipe.send(int((said != tokenizer.pad_token_id).sum()))


def cpu_seconds(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measured(system: System, prompts: list[str]) -> dict[str, float]:
    began, cpu = time.perf_counter(), cpu_seconds(system.pid())
    tokens = await system.run(prompts)
    seconds = time.perf_counter() - began
    return {"per_second": tokens / seconds, "per_cpu_second": tokens / (cpu_seconds(system.pid()) - cpu)}


async def main(folder: Path, blocks: int, tokens: int, path: str) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        settings = Transformers(checkpoint="x", slots=8, threads=THREADS, prefix_cache=False)
        worker = build(settings, "worker", LaunchContext(base=logs, logs=logs, model=folder))
        stack.push_async_callback(worker.stop)
        serve = Supervisor("serve", lambda port: serving(folder, port, path), logs=logs)
        stack.push_async_callback(serve.stop)
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=generating, args=(str(folder), tokens, theirs), daemon=True
        )
        process.start()
        theirs.close()  # so that its exit is noticed
        stack.callback(process.kill)
        pipe = stack.enter_context(closing(ours))
        await asyncio.gather(worker.start(), serve.start(), asyncio.to_thread(pipe.recv))

        async def ask(url: str, model: str, prompts: list[str]) -> int:
            return sum(await asyncio.gather(*(streamed(client, url, model, one, tokens) for one in prompts)))

        async def generate(prompts: list[str]) -> int:
            pipe.send(prompts)
            return int(await asyncio.to_thread(pipe.recv))

        at, there = await worker.supervisor.ready(), await serve.ready()
        systems = [
            System(name="worker", pid=lambda: worker.supervisor.pid, run=lambda said: ask(at, "worker", said)),
            System(name="serve", pid=lambda: serve.pid, run=lambda said: ask(there, str(folder), said)),
            System(name="generate", pid=lambda: process.pid, run=generate),
        ]
        taken: dict[tuple[str, int], list[dict[str, float]]] = {}
        for block in range(-1, blocks):
            for streams in (1, 8):
                for system in random.sample(systems, len(systems)):
                    one = await measured(system, PROMPTS[:streams])
                    if block >= 0:  # the first block is a warm-up
                        taken.setdefault((system.name, streams), []).append(one)
        return summary(taken)


def serving(folder: Path, port: int, path: str) -> Launch:
    program = (sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder))
    environment = {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    return Launch(
        command=(*program, "--host", "127.0.0.1", "--port", str(port)),
        environment={**environment, "PYTHONPATH": os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))},
        url=f"http://127.0.0.1:{port}",
    )


def summary(taken: dict[tuple[str, int], list[dict[str, float]]]) -> dict[str, Any]:
    """Medians, and the median over blocks of the worker's ratio to each."""
    found: dict[str, Any] = {}
    for (name, streams), runs in taken.items():
        row: dict[str, float] = {}
        for unit in ("per_second", "per_cpu_second"):
            row[unit] = statistics.median(run[unit] for run in runs)
            pairs = zip(taken["worker", streams], runs, strict=True)
            row[f"worker_{unit}_ratio"] = statistics.median(mine[unit] / other[unit] for mine, other in pairs)
        found[f"{name} × {streams}"] = row
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a directory with a safetensors checkpoint")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--path", default="", help="a directory with FastAPI, if the environment has none")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    table = asyncio.run(main(given.model.absolute(), given.blocks, given.tokens, given.path))
    print(f"{'':14} {'tokens/s':>9} {'worker is':>10} {'tokens/CPU s':>13} {'worker is':>10}")
    for name, row in table.items():
        wall, cpu = row["worker_per_second_ratio"], row["worker_per_cpu_second_ratio"]
        print(f"{name:14} {row['per_second']:9.1f} {wall:9.2f}× {row['per_cpu_second']:13.1f} {cpu:9.2f}×")
    if given.json is not None:
        given.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
