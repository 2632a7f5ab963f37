"""The run directory: the manifest (plan, machine, sessions) and every record. All results are computed from it."""

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

from tierwise.runs.claims import RunClaim
from tierwise.runs.draws import PoolSettings
from tierwise.runs.durations import Durations
from tierwise.runs.machine import RunMachine
from tierwise.runs.records import Key, Mode, TierVariant, TrialRecord
from tierwise.spec.claims import SuitePart
from tierwise.spec.deployed import Deployed
from tierwise.spec.errors import NotFound, SpecError, TierwiseError
from tierwise.spec.files import decode_json, decode_json_lines, read_bytes
from tierwise.spec.replacing import replace_file

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from types import TracebackType
    from typing import Self

    from tierwise.workloads.files import Task, Workload


FORMAT = 2
"""Format of manifest and records. Format 1 is still read: it has outcomes `pass` and `fail`, and `sittings`."""

IMPORTED = "imported"
"""The arrival of imported runs, whose records have the times that the log had, if any."""


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """An input file of the run."""

    path: str
    sha256: str


class ConfigSource(SourceFile, frozen=True, kw_only=True):
    """The config file and its text, which never contains API keys."""

    text: str


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A planned row of the result."""

    tier: str
    mode: Mode
    most_passes: int
    """Maximum passes of the tier's policy per prompt."""

    @property
    def variant(self) -> TierVariant:
        return TierVariant(tier=self.tier, mode=self.mode)


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The bench settings of a run."""

    seed: int
    concurrency: int
    timeout: float
    """Maximum seconds per action."""
    arrival: str = "closed"
    """The value of `--arrival`: `closed`, `poisson:2.5`, `constant:2.5`, `trace:FILE`; `imported` in imported runs."""
    repeats: int = 1
    """How often each task runs in each row, each time with a different seed."""
    warm_up: int = 0
    """Actions at the start of each session that are not recorded."""
    runner: str = ""
    """The agent that works on the tasks, as `--runner` takes it; empty if each task is one action."""
    pool: PoolSettings | None = None
    """How draws are recorded, if the run is a pool; its `repeats` are the draws of each task. None for other runs."""


class RunnerError(msgspec.Struct, frozen=True, kw_only=True):
    """The runner's own timing error, measured during the run."""

    calibration: Durations
    """Delay in seeing a first output, in seconds, measured on calibration actions with a known delay."""
    lag: Durations = Durations()
    """Seconds between data becoming readable and the event loop seeing it, during the run."""

    def p99(self) -> float | None:
        """The larger of the two 99th percentiles, in seconds; None without measurements."""
        return max(
            (p99 for one in (self.calibration, self.lag) if (p99 := one.quantile(0.99)) is not None), default=None
        )


class RunSession(msgspec.Struct, frozen=True, kw_only=True):
    """One session of a run. A run that was interrupted and resumed has several."""

    began: str
    """UTC."""
    ended: str | None = None
    """UTC; None while it runs, or if it was killed."""
    url: str = ""
    dollars: float = 0.0
    """Dollars spent in this session, warm-up and failed attempts included."""
    stopped: str = ""
    """Why it stopped early; empty if it did not."""
    has_failed: bool = False
    """Whether a fault stopped it, not a limit or the user."""
    outages: float = 0.0
    """Seconds of waiting for an endpoint that was gone. Scheduled arrivals were that much later."""
    deployments: list[Deployed] | None = None
    """The deployments that the endpoint reported at the end, else at the start; None if it reported none."""
    runner: RunnerError | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to read a run's records, and to repeat the run."""

    format: int = FORMAT
    run: str
    """The run's id, a prefix of the caller's id of every action in the ledger."""
    began: str
    """UTC."""
    ended: str | None = None
    """UTC; None while it runs, or if it was killed."""
    url: str
    """The endpoint's URL; empty if the bench launched the tiers itself."""
    config: ConfigSource
    workload: SourceFile
    tasks: list[str]
    """Every planned task. A task without a record was not run."""
    variants: list[Planned]
    settings: RunSettings
    versions: dict[str, str]
    """Versions of Tierwise, Python and the installed engines on the machine that ran the bench."""
    packages: dict[str, str] = {}
    """Versions of the other packages that Tierwise depends on there, graders included."""
    harness: dict[str, str] = {}
    """What the agent of `settings.runner` was: versions of its packages, or hashes of its command line and files. In an
    imported run, the agent that the log names."""
    machine: RunMachine
    sessions: list[RunSession] = []
    suite: SuitePart | None = None
    """The part of a suite that the tasks are; None if they are of none."""
    claims: list[RunClaim] = []
    """Published scores of the deployments on this suite."""

    @property
    def is_imported(self) -> bool:
        """Whether another tool measured it."""
        return self.settings.arrival == IMPORTED

    @property
    def deployments(self) -> list[Deployed] | None:
        """The deployments of the latest session that reported them; None if none did."""
        return next((one.deployments for one in reversed(self.sessions) if one.deployments is not None), None)

    def keys(self) -> set[Key]:
        """The keys of a complete run's records."""
        return {
            Key(task, planned.tier, planned.mode, repeat)
            for task in self.tasks
            for planned in self.variants
            for repeat in range(self.settings.repeats)
        }


class _FormatField(msgspec.Struct):
    format: int = 1


def _upgrade(manifest: bytes) -> bytes:
    """A format-1 manifest converted to the current format."""
    value = msgspec.json.decode(manifest)
    value |= {"format": FORMAT, "sessions": value.pop("sittings", [])}
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def timestamp() -> str:
    """The current time in UTC, ISO 8601, to the second."""
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
    """A directory that holds one run."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> Self:
        """Open the directory of a new run, or of an unfinished one.

        Raises:
            SpecError: it holds a complete run, or cannot be written.
        """
        directory = cls(path)
        if directory.records_path.exists() and not directory.is_unfinished:
            raise SpecError(f"{path} already holds a run; give another directory to --out, or move this one away")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"cannot write a run to {path}: {error}") from error
        return directory

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Open the directory of a run to resume.

        Raises:
            NotFound: there is no run.
            SpecError: the run is complete.
        """
        directory = cls(path)
        if not directory.has_manifest:
            raise NotFound(f"{path} has no run to resume: manifest.json is missing", field="--resume")
        if not directory.is_unfinished and not directory.errors():
            raise SpecError(f"the run in {path} is complete: every action was graded", field="--resume")
        return directory

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def has_manifest(self) -> bool:
        return self.manifest_path.exists()

    @property
    def is_unfinished(self) -> bool:
        """Whether a run was started here and some of its records are missing."""
        if not self.has_manifest:
            return False
        return not self.read_manifest().keys() <= {record.key for record in self.read_records()}

    @property
    def tasks_path(self) -> Path:
        """The run's tasks, as a workload file."""
        return self.path / "workload.jsonl"

    @property
    def records_path(self) -> Path:
        return self.path / "records.jsonl"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def log_path(self) -> Path:
        """The output of `tierwise serve`."""
        return self.path / "serve.log"

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold an exclusive lock on the run for the duration of the block.

        It is held on a file of its own: a ledger in the same directory locks the directory.

        Raises:
            SpecError: another bench holds the lock.
            TierwiseError: the file cannot be made.
        """
        path = self.path / ".lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise TierwiseError(f"cannot write {path}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                what = f"another bench is writing to {self.path}; wait for it, or give another directory to --out"
                raise SpecError(what) from None
            yield
        finally:
            os.close(handle)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest atomically."""
        replace_file(self.manifest_path, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")

    def read_manifest(self) -> Manifest:
        """Read the manifest. A format-1 manifest is converted to the current format.

        Raises:
            NotFound: there is no run.
            SpecError: it is invalid (the message names file and line), or a newer Tierwise wrote it.
        """
        name, raw = str(self.manifest_path), read_bytes(self.manifest_path, "manifest")
        written = decode_json(raw, _FormatField, name).format
        if written > FORMAT:
            raise SpecError(
                f"{name} has format {written}; this Tierwise reads formats 1 to {FORMAT}: use the version that wrote "
                "it, or a newer one"
            )
        return decode_json(_upgrade(raw) if written == 1 else raw, Manifest, name)

    def write_tasks(self, tasks: Sequence[Task]) -> None:
        """Write the run's tasks."""
        replace_file(self.tasks_path, msgspec.json.Encoder().encode_lines(tasks))

    def errors(self) -> list[TrialRecord]:
        """The records of actions that ended in infrastructure errors. A resumed run runs them again."""
        return [record for record in self.read_records() if not record.is_graded]

    def write_records(self, records: Sequence[TrialRecord]) -> None:
        """Replace all records atomically."""
        replace_file(self.records_path, _encode_lines(records))

    def recorder(self) -> RecordWriter:
        return RecordWriter(self.records_path)

    def read_records(self) -> list[TrialRecord]:
        """All records; an empty list if none was written yet. An incomplete last line, left by a crash, is ignored.

        Raises:
            NotFound: there is no run.
            SpecError: a record is invalid; the message names file and lines.
        """
        if self.has_manifest and not self.records_path.exists():
            return []
        whole, _, _ = read_bytes(self.records_path, "file of records").rpartition(b"\n")
        return decode_json_lines(whole, TrialRecord, str(self.records_path))


class RecordWriter:
    """Appends records to the run's file, unbuffered."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+", buffering=0)
        self._drop_incomplete_line()

    def _drop_incomplete_line(self) -> None:
        """Remove an incomplete last line, left by a crash, so that the next record starts on a new line."""
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
        """Append records in one write, so that a kill leaves all of them or none.

        Raises:
            TierwiseError: the write fails.
        """
        lines = _encode_lines(records)
        try:
            written = self._file.write(lines)
        except OSError as error:
            raise TierwiseError(
                f"cannot write a record to {self._file.name}, so the run stops: {error.strerror}"
            ) from error
        if written != len(lines):
            raise TierwiseError(
                f"cannot write a record to {self._file.name}, so the run stops: only part of it was written"
            )


_encode_lines = msgspec.json.Encoder().encode_lines
