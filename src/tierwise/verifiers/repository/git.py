"""Reads a git repository: every call is the program `git` with a list of arguments."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tierwise.spec.errors import TierwiseError

ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}


_COMMITTED = re.compile(r"\A(?:.+\n)*?committer .* (\d+) [+-]\d+\n")
_LINK, _SUBMODULE = "120000", "160000"
_POINTER = "^version https://git-lfs.github.com/spec/"


class GitError(TierwiseError):
    """Git is missing, or refused."""


def git(folder: Path, *words: str, given: bytes = b"") -> bytes:
    """What git prints.

    Raises:
        GitError: with git's own words.
    """
    line = ["git", "-c", "core.quotePath=false", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words]
    try:
        done = subprocess.run(line, input=given, capture_output=True, check=False, env={**os.environ, **ENVIRONMENT})
    except OSError as error:
        raise GitError(f"git could not be started ({error.strerror}); install git") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise GitError(f"git {words[0]} of {folder}: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout


def text(folder: Path, *words: str) -> str:
    """What git prints, as text."""
    return git(folder, *words).decode(errors="replace")


def files_at(folder: Path, commit: str) -> dict[str, str]:
    """The files of a commit by path, with the hashes of their contents; links and submodules are left out."""
    found = {}
    for row in text(folder, "ls-tree", "-r", "-z", commit).split("\0"):
        facts, _, path = row.partition("\t")
        if path and facts.startswith("100"):
            found[path] = facts.split()[2]
    return found


def changed(folder: Path, base: str, commit: str) -> dict[str, str]:
    """The paths that differ between two commits, links too, with A, M, D or T; submodules are left out."""
    words = ["diff-tree", "-r", "--no-renames", "--ignore-submodules=all", "--name-status", "-z"]
    rows = text(folder, *words, base, commit).split("\0")
    return {path: status for status, path in zip(rows[::2], rows[1::2], strict=False) if path}


def elsewhere(folder: Path, commit: str) -> list[str]:
    """What a commit names and git does not hold: its submodules, and files of Git LFS."""
    rows = [row.partition("\t") for row in text(folder, "ls-tree", "-r", "-z", commit).split("\0") if row]
    modules = [f"the submodule {path}" for facts, _, path in rows if facts.startswith(_SUBMODULE)]
    try:
        pointers = text(folder, "grep", "-l", "-z", "-I", "-e", _POINTER, commit).split("\0")
    except GitError:  # none
        pointers = []
    return modules + [f"{one.partition(':')[2]} of Git LFS" for one in pointers if one]


def archive(folder: Path, commit: str, paths: Iterable[str] | None = None) -> bytes:
    """A tar file of a commit, or of some of its paths; empty for no path.

    `git archive` would leave out what `.gitattributes` marks `export-ignore`, which tests often are.
    """
    wanted = None if paths is None else set(paths)
    if wanted is not None and not wanted:
        return b""
    rows = [row.partition("\t") for row in os.fsdecode(git(folder, "ls-tree", "-r", "-z", commit)).split("\0") if row]
    members = [(*facts.split()[::2], path) for facts, _, path in rows if wanted is None or path in wanted]
    members = [one for one in members if one[0] != _SUBMODULE]
    (made,) = _COMMITTED.findall(text(folder, "cat-file", "commit", commit))  # `git show` needs its parents too
    contents = io.BytesIO(git(folder, "cat-file", "--batch", given="".join(f"{one[1]}\n" for one in members).encode()))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        for mode, _, path in members:
            size = int(contents.readline().split()[2])
            member = tarfile.TarInfo(path)
            member.mtime = int(made)
            if mode == _LINK:
                member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(contents.read(size))
                file.addfile(member)
            else:
                member.mode, member.size = int(mode[-3:], 8), size
                file.addfile(member, contents)
            contents.read(1)
    return packed.getvalue()
