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
from tierwise.workloads.files.about import FILE, About

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tierwise.workloads.task import Task


def write(
    path: Path, tasks: Sequence[Task], about: About | None = None, files: Mapping[str, str] | None = None
) -> None:
    """Write a workload: a file if the name ends in `.jsonl`, else a directory.

    Args:
        path: the destination; must not exist.
        tasks: the tasks, with embedded images.
        about: the header.
        files: additional text files of a directory by name, such as a trace.

    Raises:
        SpecError: the path exists, or cannot be written.
    """
    about = about or About()
    check_free(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jsonl":
            header = b"" if about == About() else msgspec.json.encode({"workload": about}) + b"\n"
            draft.write_bytes(header + encoded(tasks))
        else:
            draft.mkdir()
            (draft / FILE).write_text(_yaml(about), encoding="utf-8")
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


def _yaml(about: About) -> str:
    return yaml.safe_dump(msgspec.to_builtins(about), sort_keys=False, allow_unicode=True, width=120)
