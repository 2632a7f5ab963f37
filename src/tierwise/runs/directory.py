"""The directory of a run: what was planned, on which machine, and every record. All results follow from it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.runs.durations import Durations
from tierwise.runs.machine import RunMachine
from tierwise.runs.records import Key, Mode, TierVariant, TrialRecord
from tierwise.spec.deployed import Deployed
from tierwise.spec.errors import NotFound, SpecError, TierwiseError
from tierwise.spec.files import decode_json, decode_json_lines, read_bytes

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from types import TracebackType
    from typing import Self

    from tierwise.workloads.files import Task, Workload


FORMAT = 2
"""Of manifest and records. Format 1 is read too: its outcomes were `pass` and `fail`, its sessions `sittings`."""

IMPORTED = "imported"
"""The arrival of runs that another tool made, whose records hold no times."""


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the run was made from."""

    path: str
    sha256: str


class ConfigSource(SourceFile, frozen=True, kw_only=True):
    """The config file; keys never stand in one."""

    text: str


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the result, as it was planned."""

    tier: str
    mode: Mode
    most_passes: int
    """What the tier's policy may spend on one prompt."""

    @property
    def variant(self) -> TierVariant:
        return TierVariant(tier=self.tier, mode=self.mode)


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of the bench."""

    seed: int
    concurrency: int
    timeout: float
    """Seconds that an action may take."""
    arrival: str = "closed"
    """As `--arrival` has it: `closed`, `poisson:2.5`, `constant:2.5` or `trace:FILE`; else who made the run."""
    repeats: int = 1
    """How often each task is asked in each row, with another seed each time."""
    warm_up: int = 0
    """Actions at the beginning of each session that do not count."""


class RunnerError(msgspec.Struct, frozen=True, kw_only=True):
    """How far the runner's own times may be off, as it found out itself."""

    calibration: Durations
    """Seconds too much until the first output of actions that it asked of itself, whose delays it knew."""
    lag: Durations = Durations()
    """Seconds from the moment at which something was there to read to the one at which it was seen, during the run."""

    def p99(self) -> float | None:
        """The worse of the two, in seconds."""
        return max(
            (p99 for one in (self.calibration, self.lag) if (p99 := one.quantile(0.99)) is not None), default=None
        )


class RunSession(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a run: it has several when it was interrupted and resumed."""

    began: str
    """UTC."""
    ended: str | None = None
    """None while it runs, and for ever when it was killed."""
    url: str = ""
    dollars: float = 0.0
    """Paid in it, warm-up and lost attempts included."""
    stopped: str = ""
    """What ended it before everything was asked; empty when nothing did."""
    deployments: list[Deployed] | None = None
    """What ran, as the endpoint told at its end, else when it was ready; None where it did not tell."""
    runner: RunnerError | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known to read a run's records, and to repeat it."""

    format: int = FORMAT
    run: str
    """Begins the caller's id of every action in the ledger."""
    began: str
    """UTC."""
    ended: str | None = None
    """None while it runs, and for ever when it was killed."""
    url: str
    """Empty where the bench launched the tiers itself."""
    config: ConfigSource
    workload: SourceFile
    tasks: list[str]
    """Every task that was to be asked: a task without a record was not run."""
    variants: list[Planned]
    settings: RunSettings
    versions: dict[str, str]
    """Of Tierwise, Python, and the engines that are installed where the bench ran."""
    packages: dict[str, str] = {}
    """Of all else that Tierwise stands on there, in grading too."""
    machine: RunMachine
    sessions: list[RunSession] = []

    @property
    def deployments(self) -> list[Deployed] | None:
        """What ran, in the latest session of which that is known."""
        return next((one.deployments for one in reversed(self.sessions) if one.deployments is not None), None)

    def keys(self) -> set[Key]:
        """Of the records that a whole run has."""
        return {
            Key(task, planned.tier, planned.mode, repeat)
            for task in self.tasks
            for planned in self.variants
            for repeat in range(self.settings.repeats)
        }


class _Written(msgspec.Struct):
    format: int = 1


def _upgraded(manifest: bytes) -> bytes:
    """A manifest of format 1 in the words of the current one, with its lines where they were."""
    value = msgspec.json.decode(manifest)
    value |= {"format": FORMAT, "sessions": value.pop("sittings", [])}
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def timestamp() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_run() -> str:
    return secrets.token_hex(3)


def config_of(path: Path) -> ConfigSource:
    raw = path.read_bytes()
    return ConfigSource(path=str(path), sha256=hashlib.sha256(raw).hexdigest(), text=raw.decode())


def source_of(workload: Workload) -> SourceFile:
    return SourceFile(path=str(workload.path), sha256=workload.sha256)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where a run leaves its files."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> Self:
        """The directory of a new run, or of one to resume.

        Raises:
            SpecError: it holds a whole run already, or cannot be written.
        """
        directory = cls(path)
        if directory.records_path.exists() and not directory.is_unfinished:
            raise SpecError(f"{path} holds a run already; give another folder to --out, or move this one away")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"no run can be kept in {path}: {error}") from error
        return directory

    @classmethod
    def resume(cls, path: Path) -> Self:
        """The directory of a run that was begun.

        Raises:
            NotFound: there is none.
            SpecError: nothing is left to do.
        """
        directory = cls(path)
        if not directory.has_manifest:
            raise NotFound(f"{path} holds no run to resume: there is no manifest.json", field="--resume")
        if not directory.is_unfinished and not directory.errors():
            raise SpecError(f"the run in {path} is whole: every action was graded", field="--resume")
        return directory

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def has_manifest(self) -> bool:
        return self.manifest_path.exists()

    @property
    def is_unfinished(self) -> bool:
        """Whether a run was begun here of which something was not run."""
        if not self.has_manifest:
            return False
        return not self.read_manifest().keys() <= {record.key for record in self.read_records()}

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

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep others from writing here until the block is left, or this process killed.

        Raises:
            SpecError: another bench is at it.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                what = f"another bench is writing to {self.path}; wait for it, or give another folder to --out"
                raise SpecError(what) from None
            yield
        finally:
            os.close(handle)

    def write_manifest(self, manifest: Manifest) -> None:
        """Put it in place of the one before, in one step."""
        draft = self.path / "manifest.json.new"
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        draft.replace(self.manifest_path)

    def read_manifest(self) -> Manifest:
        """What was planned; a manifest of format 1 is returned as one of the current format.

        Raises:
            NotFound: there is none.
            SpecError: it cannot be read, which names file and line, or a newer Tierwise wrote it.
        """
        name, raw = str(self.manifest_path), read_bytes(self.manifest_path, "manifest")
        written = decode_json(raw, _Written, name).format
        if written > FORMAT:
            raise SpecError(
                f"{name} has format {written}; this Tierwise reads formats 1 to {FORMAT}: use the version that wrote "
                "it, or a newer one"
            )
        return decode_json(_upgraded(raw) if written == 1 else raw, Manifest, name)

    def write_tasks(self, tasks: Sequence[Task]) -> None:
        """Keep what was asked beside what was answered."""
        self.tasks_path.write_bytes(msgspec.json.Encoder().encode_lines(tasks))

    def errors(self) -> list[TrialRecord]:
        """The records of actions that ended in infrastructure errors: a run that is gone on with asks them again."""
        return [record for record in self.read_records() if not record.is_graded]

    def write_records(self, records: Sequence[TrialRecord]) -> None:
        """Put these in place of those before, in one step."""
        draft = self.path / "records.jsonl.new"
        draft.write_bytes(_encode_lines(records))
        draft.replace(self.records_path)

    def recorder(self) -> RecordWriter:
        return RecordWriter(self.records_path)

    def read_records(self) -> list[TrialRecord]:
        """All records, none before the first was written; a last line that a crash cut short is left out.

        Raises:
            NotFound: there is no run.
            SpecError: they cannot be read; names file and lines.
        """
        if self.has_manifest and not self.records_path.exists():
            return []
        whole, _, _ = read_bytes(self.records_path, "file of records").rpartition(b"\n")
        return decode_json_lines(whole, TrialRecord, str(self.records_path))


class RecordWriter:
    """Appends records to the run's file, each complete on the disk before the next action ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+", buffering=0)
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        """Take away what a crash left of a last record, which the next one would be glued to."""
        if os.fstat(self._file.fileno()).st_size:
            self._file.seek(0)
            self._file.truncate(self._file.readall().rfind(b"\n") + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, *records: TrialRecord) -> None:
        """Append records, all of them or, if we are killed, none.

        Raises:
            TierwiseError: the disk does not take them.
        """
        lines = _encode_lines(records)
        try:
            written = self._file.write(lines)
        except OSError as error:
            raise TierwiseError(f"a record cannot be kept, the run ends here: {error}") from error
        if written != len(lines):
            raise TierwiseError("a record cannot be kept, the run ends here: the disk took only a part of it")


_encode_lines = msgspec.json.Encoder().encode_lines
