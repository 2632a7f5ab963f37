"""The folder of a run: what was planned, on which machine, and every record; all results can be computed from it."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise import __version__
from tierwise.bench.records import Record
from tierwise.bench.schedule import Mode, Variant
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from tierwise.bench.workload import Task, Workload

_ENGINES = ("xllamacpp", "vllm", "sglang", "transformers", "torch")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the run was made from."""

    path: str
    sha256: str


class Config(Source, frozen=True, kw_only=True):
    """The config file; keys never stand in one."""

    text: str


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the result, as it was planned."""

    tier: str
    mode: Mode
    most_passes: int
    """What the tier's policy may spend on one prompt."""

    @property
    def variant(self) -> Variant:
        return Variant(tier=self.tier, mode=self.mode)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of the bench."""

    seed: int
    concurrency: int
    timeout: float
    """Seconds that an action may take."""
    arrival: str = "closed loop"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bench ran, and the tiers too where it launched them."""

    cpu: str
    cores: int
    """That this process may use."""
    memory_bytes: int
    load: float
    """Processes that wanted to run, averaged over the minute before the run began."""
    system: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known to read a run's records, and to repeat it."""

    format: int = 1
    run: str
    """Begins the caller's id of every action in the ledger."""
    began: str
    """UTC."""
    ended: str | None = None
    """None while it runs, and for ever when it was killed."""
    url: str
    """Empty where the bench launched the tiers itself."""
    config: Config
    workload: Source
    tasks: list[str]
    """Every task that was to be asked: a task without a record was not run."""
    variants: list[Planned]
    settings: Settings
    versions: dict[str, str]
    machine: Machine


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_run() -> str:
    return secrets.token_hex(4)


def config_of(path: Path) -> Config:
    raw = path.read_bytes()
    return Config(path=str(path), sha256=hashlib.sha256(raw).hexdigest(), text=raw.decode())


def source_of(workload: Workload) -> Source:
    return Source(path=str(workload.path), sha256=workload.sha256)


def versions() -> dict[str, str]:
    """What ran: Tierwise, Python, and the engines that are installed here."""
    found = {"tierwise": __version__, "python": platform.python_version()}
    for name in _ENGINES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> Machine:
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        load=round(os.getloadavg()[0], 2),
        system=platform.platform(),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a run leaves its files."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> Self:
        """A folder for a new run.

        Raises:
            SpecError: it holds a run already, or cannot be written.
        """
        folder = cls(path)
        if folder.records_path.exists():
            raise SpecError(f"{path} holds a run already; give another folder to --out, or move this one away")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"no run can be kept in {path}: {error}") from error
        return folder

    @property
    def tasks_path(self) -> Path:
        """What was asked, as a workload of its own."""
        return self.path / "workload.jsonl"

    @property
    def records_path(self) -> Path:
        return self.path / "records.jsonl"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def log_path(self) -> Path:
        """What `tierwise serve` said."""
        return self.path / "serve.log"

    def write_manifest(self, manifest: Manifest) -> None:
        """Put it in place of the one before, in one step."""
        draft = self.path / "manifest.json.new"
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        draft.replace(self.path / "manifest.json")

    def read_manifest(self) -> Manifest:
        return msgspec.json.decode((self.path / "manifest.json").read_bytes(), type=Manifest)

    def write_tasks(self, tasks: Sequence[Task]) -> None:
        """Keep what was asked beside what was answered."""
        self.tasks_path.write_bytes(msgspec.json.Encoder().encode_lines(tasks))

    def recorder(self) -> Recorder:
        return Recorder(self.records_path)

    def read_records(self) -> list[Record]:
        """All records; a last line that a crash cut short is left out."""
        whole, _, _ = self.records_path.read_bytes().rpartition(b"\n")
        return msgspec.json.Decoder(Record).decode_lines(whole)


class Recorder:
    """Appends records to the run's file, each complete on the disk before the next action ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            TierwiseError: the disk does not take it.
        """
        try:
            self._file.write(msgspec.json.encode(record) + b"\n")
        except OSError as error:
            raise TierwiseError(f"a record cannot be kept, the run ends here: {error}") from error
