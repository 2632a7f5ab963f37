"""What is known of a checkpoint on this machine without reading it."""

from __future__ import annotations

import hashlib

from tierwise.catalog.weights import weights_of
from tierwise.spec.deployed import LoadedWeights

CONTENT = b"GGUF and some weights"
HASH = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_that_was_never_hashed_has_a_size_only_and_its_hash_once_it_was_pulled(bench):
    (bench.base / "m.gguf").write_bytes(CONTENT)
    one = bench.checkpoint("file:m.gguf")
    assert weights_of(one, cache=bench.cache) == LoadedWeights(checkpoint=one.name, bytes=len(CONTENT))
    bench.pull(one)
    assert weights_of(one, cache=bench.cache) == LoadedWeights(checkpoint=one.name, sha256=HASH, bytes=len(CONTENT))


def test_what_is_not_here_has_neither(bench):
    one = bench.checkpoint("file:m.gguf")
    assert weights_of(one, cache=bench.cache) == LoadedWeights(checkpoint=one.name)
