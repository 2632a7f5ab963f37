"""The cost of recording routed experts, on a randomly initialised mixture of experts in Transformers.

    python benchmarks/recording.py [--layers 16] [--experts 64] [--active 8] [--rounds 15]

CPU time on one thread, of alternating forward passes with and without hooks: a prompt of 512 tokens, and single steps
of a batch of 8. Then tokens per CPU second of the worker's loop with 8 slots while a share of the passes is recorded,
relative to none: a batch with one recorded pass pays for the hooks, and a recorded pass shares no prefix. Prints the
median of the rounds' ratios with minimum and maximum.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from contextlib import nullcontext
from typing import Any

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from tierwise.worker import caches
from tierwise.worker.batching import Loop
from tierwise.worker.job import Job, Update
from tierwise.worker.routers import Routers
from tierwise.worker.sampling import SamplingParameters
from tierwise.worker.text import DecodedText

STEPS = 8
SHARES = (0.0, 0.1, 1.0)
PASSES, PROMPT, COMMON, ANSWER, SLOTS = 40, 96, 64, 16, 8
"""Number of passes, prompt tokens, prompt tokens that all passes share, answer tokens, and slots."""


def model_of(layers: int, experts: int, active: int) -> Any:
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=1024,
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_experts=experts,
        num_experts_per_tok=active,
    )
    model: Any = Qwen3MoeForCausalLM(config)
    return model.eval()


@torch.inference_mode()
def seconds(model: Any, routers: Routers, rows: int, width: int, steps: int, *, is_recorded: bool) -> float:
    """CPU time of consecutive forward passes of the given rows and tokens on one cache."""
    tokens = torch.randint(0, 1024, (rows, width))
    owners = torch.arange(rows)[:, None].expand(rows, width)
    cache, record = caches.empty(model.config), routers.record()
    began = time.process_time()
    for _ in range(steps):
        with routers.recording(owners, record) if is_recorded else nullcontext():
            model(tokens, **{caches.parameter(model): cache})
    return time.process_time() - began


class Silent:
    """A decoder that returns no text; only the tokens matter here."""

    forced, thinking_tokens = None, 0

    def add(self, token: int) -> DecodedText:  # noqa: ARG002
        return DecodedText()

    def rest(self) -> str:
        return ""


def pace(model: Any, share: float) -> float:
    """Answer tokens per CPU second, with this share of the passes recorded."""
    over = threading.Semaphore(0)

    def deliver(updates: list[tuple[Job, Update]]) -> None:
        for _, update in updates:
            if update.fault:
                raise RuntimeError(update.fault)
            if update.finish:
                over.release()

    loop = Loop(model, ends=frozenset(), slots=SLOTS, queue=PASSES, routers=Routers(model), deliver=deliver)
    draw = random.Random(0)
    common = [draw.randrange(1024) for _ in range(COMMON)]
    jobs = [
        Job(
            prompt=[*common, *(draw.randrange(1024) for _ in range(PROMPT - COMMON))],
            sampling=SamplingParameters(temperature=0),
            decoder=Silent(),  # type: ignore[arg-type]
            max_tokens=ANSWER,
            on_update=print,
            is_recorded=int((number + 1) * share) > int(number * share),
        )
        for number in range(PASSES)
    ]
    began = time.process_time()
    loop.start()
    for job in jobs:
        loop.submit(job)
    for _ in jobs:
        over.acquire()
    loop.stop()
    return PASSES * ANSWER / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--active", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = model_of(options.layers, options.experts, options.active)
    routers = Routers(model)
    for name, rows, width, steps in (("prompt of 512", 1, 512, 1), ("steps of a batch of 8", 8, 1, STEPS)):
        ratios = []
        for number in range(options.rounds + 1):
            took = {
                is_recorded: seconds(model, routers, rows, width, steps, is_recorded=is_recorded)
                for is_recorded in ((True, False) if number % 2 else (False, True))
            }
            ratios.append(took[True] / took[False])
        ratios = sorted(ratios[1:])  # the first round is a warm-up
        low, high = ratios[0], ratios[-1]
        print(f"{name}: × {statistics.median(ratios):.3f} ({low:.3f}–{high:.3f}), {1000 * took[False] / steps:.1f} ms")
    paces = [
        {share: pace(model, share) for share in SHARES[:: 1 if number % 2 else -1]} for number in range(options.rounds)
    ]
    for share in SHARES:
        ratios = sorted(one[share] / one[0.0] for one in paces)
        typical = statistics.median(one[share] for one in paces)
        print(
            f"{share:.0%} of the passes recorded: × {statistics.median(ratios):.3f} ({ratios[0]:.3f}–{ratios[-1]:.3f}) "
            f"tokens per processor second, {typical:.0f}"
        )


if __name__ == "__main__":
    main()
