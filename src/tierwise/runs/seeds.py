"""Derives the seeds of a workload's tasks from one seed."""

from __future__ import annotations

import hashlib

MAX_REPEATS = 1000
"""The most repeats of a task in a run."""

_STRIDE = 0x9E37_79B1  # odd, so that the first 2³¹ repeats of a task have different seeds


def task_seed(seed: int, task: str, repeat: int = 0) -> int:
    """The seed to send with a task. It differs between repeats and is below 2³¹, which every engine accepts."""
    digest = hashlib.blake2b(f"{seed}/{task}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + repeat * _STRIDE) & 0x7FFF_FFFF
