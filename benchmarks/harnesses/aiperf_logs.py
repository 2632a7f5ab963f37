"""AIPerf: the records of eight requests for four questions, one of them refused, with a tokenizer made here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harnesses.answers import QUESTIONS
from harnesses.tier import TIERS, environment, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harnesses.tier import Fixture, Place

PACKAGES = ("aiperf==0.13.0",)
KEPT = ("profile_export.jsonl", "profile_export_aiperf.json", "inputs.json")
TOKENIZER = """
import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(sys.argv[1])
"""


def tokenizer(bin_folder: Path, folder: Path) -> Path:
    """Make a tokenizer of words: load tools need one, and have none without a network. Returns its folder."""
    (folder / "tokenizer.py").write_text(TOKENIZER, encoding="utf-8")
    run([bin_folder / "python", "tokenizer.py", folder / "tok"], folder, {})
    return folder / "tok"


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers. Yields the files, and where they belong."""
    texts = place.folder / "questions.jsonl"
    texts.write_text("".join(f"{json.dumps({'text': one.text})}\n" for one in QUESTIONS), encoding="utf-8")
    programs = environment(place.home / "aiperf", *PACKAGES, python=place.python)
    words = tokenizer(programs, place.folder)
    for tier in TIERS:
        into = place.folder / tier
        command: list[str | Path] = [programs / "aiperf", "profile", "--model", tier]
        command += ["--url", place.url.removesuffix("/v1"), "--endpoint-type", "chat", "--streaming"]
        command += ["--tokenizer", words, "--input-file", texts, "--custom-dataset-type", "single_turn"]
        command += ["--request-count", "8", "--concurrency", "1", "--ui", "none", "--no-gpu-telemetry"]
        said = run([*command, "--no-server-metrics", "--output-artifact-dir", into], place.folder, {})
        found = sorted(path for path in into.rglob("*") if path.name in KEPT)
        if not found:
            raise SystemExit(f"AIPerf wrote nothing:\n{said[-3000:]}")
        yield from ((path, f"aiperf/{tier}/{path.name}") for path in found)
