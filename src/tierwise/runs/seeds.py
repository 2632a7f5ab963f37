"""The seeds of a workload's tasks, which follow from one number."""

from __future__ import annotations

import hashlib

_STRIDE = 0x9E37_79B1  # odd, so that the first 2³¹ repeats of a task all have seeds of their own


def task_seed(seed: int, task: str, repeat: int = 0) -> int:
    """The seed that is sent with a task: different for each repeat, and below 2³¹, which every engine accepts."""
    digest = hashlib.blake2b(f"{seed}/{task}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + repeat * _STRIDE) & 0x7FFF_FFFF
