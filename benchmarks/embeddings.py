"""Embeddings of a real llama.cpp, through `/v1/embeddings` of a tier, beside those of the server itself.

    python benchmarks/embeddings.py MODEL.gguf

llama.cpp serves the file with embeddings (xllamacpp, mean pooling) behind a deployment `engine: http`. Every case of
`CASES` is asked there and through `tierwise serve`: the vectors and usage must be the same, and the ledger must have
the tokens that the server counted. What llama.cpp ignores or refuses must be refused.
openai-python asks too, which takes base64 by default. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from processes import running, tierwise
from proxies import free_port

CASES: dict[str, dict[str, Any]] = {
    "a text": {"input": "hello world"},
    "texts, as floats": {"input": ["hello world", "Äpfel und Birnen", "x" * 300], "encoding_format": "float"},
    "texts, as base64": {"input": ["hello world", "def add(a, b):"], "encoding_format": "base64"},
    "tokens": {"input": [19556, 905]},
    "lists of tokens": {"input": [[19556, 905], [3, 4, 5]], "encoding_format": "base64"},
    "the dimensions that it has": {"input": "hello", "dimensions": 0},
    "64 texts": {"input": [f"sentence number {number}" for number in range(64)], "encoding_format": "base64"},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other dimensions": ({"input": "hello", "dimensions": 8}, "dimensions:"),
    "other dimensions, base64": ({"input": "hello", "dimensions": 8, "encoding_format": "base64"}, "dimensions:"),
    "an unknown format": ({"input": "hello", "encoding_format": "int8"}, "encoding_format"),
    "an empty text": ({"input": ["a", ""]}, "empty"),
    "an unknown field": ({"input": "a", "truncate": True}, "truncate"),
}
START_SECONDS = 120.0


def serve(file: str) -> None:
    """Serve embeddings of a file; prints the URL."""
    os.environ["OMP_WAIT_POLICY"] = "passive"  # before xllamacpp loads OpenMP
    import xllamacpp  # noqa: PLC0415

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.port = file, free_port()
    settings.embedding, settings.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_parallel = 2048, 1024, 1024, 2
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(settings)
    print(f"{server.listening_address}/v1", flush=True)
    signal.pause()


def asked(url: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The status and the body of an answer."""
    request = urllib.request.Request(f"{url}/embeddings", json.dumps(body).encode())
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request) as answer:
            return 200, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def wait_for(url: str) -> int:
    """The dimensions of a server's vectors, once it has loaded its model."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        status, answer = asked(url, {"input": "a", "model": "m"})
        if status == 200:
            return len(answer["data"][0]["embedding"])
        time.sleep(0.5)
    raise SystemExit(f"llama.cpp did not load its model: {answer}")


def compared(upstream: str, url: str, own: int) -> tuple[int, int]:
    """Ask every case at both; returns the tokens that the server counted, and how many cases differ."""
    counted = wrong = 0
    for name, case in CASES.items():
        body = {**case, "model": "fast", **({"dimensions": own} if "dimensions" in case else {})}
        (status, theirs), (our_status, ours) = asked(upstream, body), asked(url, body)
        usage = theirs["usage"]
        vectors = [[one["embedding"] for one in answer.get("data", ())] for answer in (ours, theirs)]
        same_usage = all(ours.get("usage", {}).get(key) == usage[key] for key in usage)
        good = status == our_status == 200 and vectors[0] == vectors[1] and same_usage
        counted, wrong = counted + usage["prompt_tokens"], wrong + (not good)
        size, outcome = f"{len(theirs['data'])} × {own}", "the same" if good else f"DIFFERS: {ours}"[:300]
        print(f"{name:28} {size:>9}  {usage['prompt_tokens']:4} tokens  {outcome}")
    return counted, wrong


def refused(url: str) -> int:
    """The number of cases that are not refused by name."""
    wrong = 0
    for name, (case, words) in REFUSED.items():
        status, answer = asked(url, {**case, "model": "fast"})
        said = answer.get("error", {}).get("message", "")
        good = status == 400 and words in said
        wrong += not good
        print(f"{name:28} {status}: {said if good else f'NOT REFUSED: {answer}'[:300]}")
    return wrong


def by_openai(url: str, upstream: str) -> int:
    """Whether openai-python, which asks for base64 and decodes it, gets other vectors; returns 0 or 1."""
    import openai  # noqa: PLC0415

    found = openai.OpenAI(base_url=url, api_key="none").embeddings.create(model="fast", input="hello world")
    theirs = asked(upstream, {"input": "hello world", "model": "m"})[1]["data"][0]["embedding"]
    pairs = zip(found.data[0].embedding, theirs, strict=True)
    good = all(abs(one - other) <= 1e-6 * max(abs(other), 1e-3) for one, other in pairs)
    print(f"openai-python {openai.__version__}: {'the same, to the precision of 32-bit floats' if good else 'DIFFERS'}")
    return 0 if good else 1


def recorded(ledger: Path) -> int:
    """Prompt tokens of all passes that finished."""
    with sqlite3.connect(ledger) as database:
        return int(database.execute("SELECT sum(prompt) FROM passes WHERE outcome = 'finished'").fetchone()[0] or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.model)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with running(__file__, "--serve", options.model, log=folder / "llama.log") as (_, upstream):
            own = wait_for(upstream)
            config = {
                "deployments": {"vectors": {"engine": "http", "url": upstream, "model": "m"}},
                "tiers": {"fast": {"deployment": "vectors", "policy": "single"}},
            }
            with tierwise(config, folder) as (_, url):
                counted, wrong = compared(upstream, url, own)
                wrong += by_openai(url, upstream)
                counted += 2  # what openai-python asked
                wrong += refused(url)
        in_ledger = recorded(folder / "ledger.db")
    print(f"{in_ledger} prompt tokens in the ledger, {counted} counted by llama.cpp; {wrong} cases are wrong")
    sys.exit(0 if not wrong and in_ledger == counted else 1)


if __name__ == "__main__":
    main()
