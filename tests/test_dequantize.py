"""examples/dequantize.py: what it refuses before it loads anything. Its work is seen in the tests of vLLM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "examples" / "dequantize.py"


@pytest.mark.parametrize(
    ("source", "folder", "words"),
    [
        ("none.gguf", "new", "there is no file none.gguf"),
        ("text.gguf", "new", "text.gguf is not a GGUF file"),
        ("model.gguf", "full", "full is not empty; name a new folder"),
        ("model.gguf", "text.gguf", "text.gguf is not empty; name a new folder"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path, source, folder, words):
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    command = [sys.executable, PROGRAM, source, folder]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert words in done.stderr
