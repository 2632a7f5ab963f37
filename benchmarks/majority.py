"""The latency of a vote of five on a backend with 150 ms per answer, relative to one call to the same endpoint.

    python benchmarks/majority.py [--rounds 20] [--json FILE]

Both are measured alternately in one run. For comparison: self-consistency of five in optillm 0.4.0 takes 7.1 times the
backend's 150 ms, because its calls are sequential (measured on 2026-11-22, not in this run).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path

import uvloop

from overhead import MESSAGES, load
from processes import backend, tierwise

DELAY, VOTES, LIMIT = 0.15, 5, 1.3
OPTILLM = 7.1


async def measure(url: str, rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {"single": [], "vote": []}
    for turn in range(-2, rounds):
        for model, taken in seconds.items():
            body = {"model": model, "messages": MESSAGES, "max_tokens": 16, "temperature": 0.7}
            block = await load(url, body, callers=1, seconds=0.05)  # one call: it takes longer
            if turn >= 0:  # the first two open connections
                taken.append(block.p50)
            await asyncio.sleep(0.01)
    single, vote = (statistics.median(taken) for taken in seconds.values())
    return {"single_ms": 1000 * single, "vote_ms": 1000 * vote, "ratio": vote / single}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with backend(folder, delay=DELAY) as upstream:
            config = {
                "deployments": {"fake": {"engine": "http", "url": upstream, "model": "fake"}},
                "tiers": {
                    "single": {"deployment": "fake", "policy": "single"},
                    "vote": {"deployment": "fake", "policy": {"majority": {"n": VOTES}}},
                },
            }
            with tierwise(config, folder) as (_, url):
                found = uvloop.run(measure(url, wanted.rounds))
    print(
        f"one call {found['single_ms']:.1f} ms, majority of {VOTES} {found['vote_ms']:.1f} ms: {found['ratio']:.2f} ×"
    )
    print(f"limit: {LIMIT} ×; optillm, measured earlier: {OPTILLM} × the backend's own time")
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    sys.exit(found["ratio"] > LIMIT)


if __name__ == "__main__":
    main()
