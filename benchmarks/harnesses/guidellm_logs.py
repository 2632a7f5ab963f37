"""guidellm: the report of eight requests for four questions, one of them refused, with a tokenizer made here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harnesses.aiperf_logs import tokenizer
from harnesses.answers import QUESTIONS
from harnesses.tier import TIERS, environment, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harnesses.tier import Fixture, Place

PACKAGES = ("guidellm==0.8.1",)


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers. Yields the files, and where they belong."""
    texts = place.folder / "questions.jsonl"
    rows = [{"prompt": one.text, "output_tokens_count": 1} for one in QUESTIONS] * 2
    texts.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    programs = environment(place.home / "guidellm", *PACKAGES, python=place.python)
    words = tokenizer(programs, place.folder)
    for tier in TIERS:
        report = place.folder / f"{tier}.json"
        command: list[str | Path] = [programs / "guidellm", "run"]
        command += ["--backend", f"kind=openai_http,target={place.url.removesuffix('/v1')},model={tier}"]
        command += ["--profile", "kind=synchronous", "--constraint", "kind=max_requests,count=8"]
        command += ["--tokenizer", f"kind=hf_auto,model={words}", "--data", f"kind=json_file,path={texts}"]
        said = run([*command, "--output", f"kind=json,path={report}"], place.folder, {"HF_HUB_OFFLINE": "1"})
        if not report.exists():
            raise SystemExit(f"guidellm wrote nothing:\n{said[-3000:]}")
        yield report, f"guidellm/{tier}.json"
