"""Writes a workload atomically: under a temporary name first, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import msgspec
import yaml

from tierwise.spec.errors import SpecError
from tierwise.workloads.files import TASKS, encoded
from tierwise.workloads.files.header import FILE, WorkloadHeader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tierwise.workloads.task import Task


def write(
    path: Path, tasks: Sequence[Task], header: WorkloadHeader | None = None, files: Mapping[str, str] | None = None
) -> None:
    """Write a workload: a file if the name ends in `.jsonl`, else a directory.

    Args:
        path: the destination; must not exist.
        tasks: the tasks, with embedded images.
        header: everything except the tasks.
        files: additional text files of a directory by name, such as a trace.

    Raises:
        SpecError: the path exists, or cannot be written.
    """
    header = header or WorkloadHeader()
    check_free(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jsonl":
            first_line = b"" if header == WorkloadHeader() else msgspec.json.encode({"workload": header}) + b"\n"
            draft.write_bytes(first_line + encoded(tasks))
        else:
            draft.mkdir()
            (draft / FILE).write_text(_yaml(header), encoding="utf-8")
            (draft / TASKS).write_bytes(encoded(tasks))
            for name, text in (files or {}).items():
                (draft / name).write_text(text, encoding="utf-8")
        draft.rename(path)
    except OSError as error:
        raise SpecError(f"cannot write a workload to {path}: {error.strerror or error}", field="--out") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def check_free(path: Path) -> None:
    """Fail before any work is done if the destination exists.

    Raises:
        SpecError: the path exists.
    """
    if path.exists():
        raise SpecError(f"{path} already exists; give another --out, or move it away", field="--out")


def _yaml(header: WorkloadHeader) -> str:
    return yaml.safe_dump(msgspec.to_builtins(header), sort_keys=False, allow_unicode=True, width=120)
