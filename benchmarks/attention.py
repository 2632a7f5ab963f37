"""The quality cost and time savings of attention patterns, on a dense model trained with full attention.

    python benchmarks/attention.py CHECKPOINT [--length 2048] [--documents 4] [--needles 512 1024 2048] [--json FILE]

Perplexity is measured on source files of Python's standard library, over the second half of each text, where a window
hides tokens that full attention sees. Its ratio to full attention has a 95 % t interval over the files. Retrieval is a
five-digit pass key in filler text at several depths; it counts as found if all five digits are the model's top choice.
Times are CPU time on one thread. Prefill uses the files; decoding is the median over rounds in which the variants
alternate, with minimum and maximum.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import scipy.stats
import torch

from tierwise.engines.transformers.settings import Attention, ModelLevers, Pattern
from tierwise.worker import caches
from tierwise.worker.attention import implementation
from tierwise.worker.loading import LoadedModel, load

FILES = ("argparse", "inspect", "tarfile", "subprocess", "typing", "doctest", "pickletools", "mailbox")
DEPTHS = (0.1, 0.4, 0.7)
STEPS, ROUNDS = 32, 5

VARIANTS: dict[str, Attention] = {
    "full (sdpa)": "sdpa",
    "window 512": Pattern(window=512),
    "window 512, 4 sinks": Pattern(window=512, sinks=4),
    "window 256, 4 sinks": Pattern(window=256, sinks=4),
    "8 blocks of 32": Pattern(block=32, keep=8),
    "16 blocks of 32": Pattern(block=32, keep=16),
}


@dataclass
class Found:
    """Results of one variant."""

    losses: list[float]
    """Nats per token, by file."""
    prefill: float
    """Tokens per CPU second."""
    needles: dict[int, int]
    """Number of pass keys found, by text length."""
    decode: list[float]
    """Tokens per CPU second, by round."""


@torch.inference_mode()
def measure(loaded: LoadedModel, length: int, documents: int, lengths: list[int]) -> dict[str, Found]:
    texts = [_tokens(loaded, _source(name))[:length] for name in FILES[:documents]]
    found, held = {}, {}
    for name, attention in VARIANTS.items():
        _use(loaded, attention)
        losses, began = [], time.process_time()
        for text in texts:
            held[name] = caches.empty(loaded.model.config)
            losses.append(_loss(loaded.model, text, held[name]))
        prefill = documents * length / (time.process_time() - began)
        needles = {many: sum(_finds(loaded, many, depth) for depth in DEPTHS) for many in lengths}
        found[name] = Found(losses, prefill, needles, [])
        print(f"{name}: {statistics.mean(losses):.4f} nats, {needles}", file=sys.stderr)
    for _ in range(ROUNDS):
        for name, attention in VARIANTS.items():
            _use(loaded, attention)
            found[name].decode.append(_decoded(loaded.model, held[name]))
    return found


def _use(loaded: LoadedModel, attention: Attention) -> None:
    loaded.model.set_attn_implementation(implementation(attention))


def _source(name: str) -> str:
    return Path(str(sys.modules[argparse.__name__].__file__)).with_name(f"{name}.py").read_text(encoding="utf-8")


def _tokens(loaded: LoadedModel, text: str) -> list[int]:
    tokens: list[int] = loaded.tokenizer(text, add_special_tokens=False).input_ids
    return tokens


def _loss(model: Any, text: list[int], cache: Any) -> float:
    """Mean loss of the second half of a text."""
    tokens = torch.tensor([text])
    half = len(text) // 2
    answer = model(tokens, **{caches.parameter(model): cache}, logits_to_keep=half + 1)
    logits = answer.logits[0, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits, tokens[0, half:]))


def _finds(loaded: LoadedModel, length: int, depth: float) -> bool:
    key = f"{(int(depth * 1000) * 7919 + length) % 90000 + 10000}"
    filler = _tokens(loaded, "The grass is green. The sky is blue. The sun is yellow. Here we go again. " * length)
    head = _tokens(loaded, "There is an important pass key hidden in this text. Remember it.\n")
    needle = _tokens(loaded, f"\nThe pass key is {key}. Remember it. {key} is the pass key.\n")
    tail = _tokens(loaded, "\nWhat is the pass key? The pass key is")
    answer = _tokens(loaded, f" {key}")
    room = length - len(head) - len(needle) - len(tail) - len(answer)
    before = int(room * depth)
    text = head + filler[:before] + needle + filler[before:room] + tail + answer
    logits = loaded.model(torch.tensor([text]), logits_to_keep=len(answer) + 1).logits[0, :-1]
    return bool(torch.equal(logits.argmax(-1), torch.tensor(answer)))


def _decoded(model: Any, cache: Any) -> float:
    """Tokens per second over single decoding steps, which stay in the cache."""
    began = time.process_time()
    for _ in range(STEPS):
        model(torch.tensor([[1]]), **{caches.parameter(model): cache})
    return STEPS / (time.process_time() - began)


def table(found: dict[str, Found], lengths: list[int]) -> str:
    full = found["full (sdpa)"]
    rows = [
        ["attention", "perplexity", "ratio to full", *(f"key in {many}" for many in lengths), "prefill", "decode"],
        ["---"] * (5 + len(lengths)),
    ]
    for name, one in found.items():
        rows.append(
            [
                name,
                f"{_perplexity(one.losses):.2f}",
                _ratio(one.losses, full.losses),
                *(f"{one.needles[many]} of {len(DEPTHS)}" for many in lengths),
                f"{one.prefill:.0f}",
                f"{statistics.median(one.decode):.1f} ({min(one.decode):.1f}–{max(one.decode):.1f})",
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _perplexity(losses: list[float]) -> float:
    return float(torch.tensor(losses).mean().exp())


def _ratio(losses: list[float], full: list[float]) -> str:
    """The ratio of perplexities, with the interval of the paired differences of log-likelihoods."""
    if losses == full:
        return "1"
    differences = [one - other for one, other in zip(losses, full, strict=True)]
    low, high = scipy.stats.t.interval(
        0.95, len(differences) - 1, statistics.mean(differences), scipy.stats.sem(differences)
    )
    low, middle, high = torch.tensor([low, statistics.mean(differences), high]).exp().tolist()
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--documents", type=int, default=4, choices=range(2, len(FILES) + 1))
    parser.add_argument("--needles", type=int, nargs="*", default=[512, 1024, 2048])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    loaded = load(options.checkpoint.expanduser(), ModelLevers(threads=1))
    found = measure(loaded, options.length, options.documents, options.needles)
    print(table(found, options.needles))
    print({name: loaded.facts[name] for name in ("version", "torch", "dtype", "cpu_capability", "threads")})
    if options.json:
        options.json.write_text(json.dumps({name: asdict(one) for name, one in found.items()}, indent=1))


if __name__ == "__main__":
    main()
