"""What `tierwise tune` leaves for later: what it was told, which settings passed, and how often its tasks were tested.

`tierwise whatif` and `tune --from` read it. It is JSON with a SHA-256 over its contents, as a certificate is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tierwise.certificate import Confirmation, Evidence, Figure, Figures, Promise, Source
from tierwise.runs.directory import ConfigSource, config_of
from tierwise.spec import signing
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.replacing import replace_file
from tierwise.tuning.certify import Promises
from tierwise.tuning.decide import confirm
from tierwise.tuning.space import Route
from tierwise.tuning.writing import (
    evidence_of,
    figure_of,
    figures_of,
    judged_of,
    now,
    promise_of,
    source_of,
    thinking_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.pools.reading import Pool
    from tierwise.runs.directory import RunDirectory
    from tierwise.tuning.decide import Decision
    from tierwise.tuning.measured import Measures

RECORD = "tuning.json"
FORMAT = 1


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of the report: one that passed the tests, a fixed tier, or one of the frontier."""

    name: str
    route: dict[str, Any]
    """As of `tuning.space.Route`."""
    figures: Figures
    """Of the test part, at the prices of the time."""
    saving: Figure | None
    """Share of the dollars of the record's `serve` that it saves, on the same tasks; None of that tier itself."""
    disagreement: Figure
    kept: float
    """Share of the test part's actions that were not passed on to the last tier."""
    evidence: Evidence | None = None
    """None if it did not pass, or was not tested."""
    confirmed: Confirmation | None = None
    """Of what passed: the risk on the test part."""
    least: float = 0.0
    """With the promised confidence, that risk is at least this."""

    @property
    def setting(self) -> Route:
        return msgspec.convert(self.route, Route)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of the tasks of each part."""

    seed: int
    tuning: list[str]
    calibration: list[str]
    test: list[str]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One test of routes on calibration tasks."""

    made: str
    """UTC."""
    about: str
    """A SHA-256 of what was tested: config file without prices, draws, promise, reference, orders and seed. The same
    test run again is no further look."""


class TuningRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of `tierwise tune`."""

    format: int = FORMAT
    made: str
    config: ConfigSource
    """The file that it was given; its path is relative to the record's folder."""
    pool: str
    """Its directory; relative to the record's folder where the pool is inside."""
    source: Source
    promise: Promise
    missed: float = 0.0
    """With a judge: the part of the promised limit that was for harm which it misses."""
    budget: float | None
    """The most dollars that any action could cost; with a promise of dollars."""
    reference: str
    orders: int
    parts: Parts
    alternatives: int
    thinking: Literal["on", "off", "mixed"]
    settings: list[Kept]
    certified: str
    """The setting that was chosen among those that passed; empty if none passed."""
    serve: str
    """The fixed tier that keeps the promise."""
    looks: list[Look]
    """At the calibration tasks, this one last."""
    sha256: str = ""
    """Of all the rest."""

    @property
    def promises(self) -> Promises:
        """What was tested."""
        return Promises(
            kind=self.promise.kind,
            limit=self.promise.limit,
            confidence=self.promise.confidence,
            labels=self.promise.labels,
            p95=self.promise.p95_seconds,
            dollars=self.promise.dollars,
            budget=self.budget,
            missed=self.missed,
            looks=len(self.looks),
        )

    def signed(self) -> TuningRecord:
        """The same with its hash."""
        return signing.signed(self)

    def digest(self) -> str:
        """The hash that belongs to the contents."""
        return signing.digest(self)

    def write(self, folder: Path) -> None:
        """Write it into a folder, in one step.

        Raises:
            TierwiseError: it cannot be written.
        """
        replace_file(folder / RECORD, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def read_record(folder: Path) -> TuningRecord:
    """Read what `tierwise tune` left in its `--out` folder.

    Raises:
        NotFound: there is none.
        SpecError: it cannot be read, was changed, or is of another version.
    """
    path = folder / RECORD
    again = "run `tierwise tune` again with the same arguments: what is recorded is kept, and it writes one"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no {path}; give the --out folder of `tierwise tune`. If it is one, {again}") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = msgspec.json.decode(raw, type=TuningRecord)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}; {again}") from error
    if found.format != FORMAT:
        raise SpecError(f"{path} has format {found.format}, and this version reads {FORMAT}; {again}")
    if found.digest() != found.sha256:
        raise SpecError(
            f"{path} was changed after it was made: its contents have SHA-256 {found.digest()[:8]}…, and it says "
            f"{found.sha256[:8] or 'none'}; {again}"
        )
    return found


def record_of(
    decision: Decision,
    measures: Measures,
    pool: Pool,
    directory: RunDirectory,
    file: Path,
    folder: Path,
    *,
    seed: int,
    looks: Iterable[Look],
    shown: Iterable[int] = (),
) -> TuningRecord:
    """The record of a decision.

    Args:
        decision: what was decided.
        measures: of the test part.
        pool: that it follows from.
        directory: of the pool.
        file: the config file.
        folder: into which the record is to be written.
        seed: of split, orders and bets.
        looks: at the calibration tasks, this one last.
        shown: settings of the frontier.
    """
    searched, parts, certified = decision.searched, decision.split, decision.certified
    passed = [] if certified is None else [one.setting for one in certified.passed]
    fixed = [searched.index(name) for name in searched.space.fixed]
    ids = [one.task.id for one in pool.tasks]
    named = {
        part: [ids[index] for index in getattr(parts, part).tolist()] for part in ("tuning", "calibration", "test")
    }
    return TuningRecord(
        made=now(),
        config=msgspec.structs.replace(config_of(file), path=os.path.relpath(file.resolve(), folder.resolve())),
        pool=_placed(directory.path, folder),
        source=source_of(pool, directory),
        promise=promise_of(decision.promises),
        budget=decision.promises.budget,
        missed=decision.promises.missed,
        reference=searched.space.reference,
        orders=searched.orders,
        parts=Parts(seed=seed, **named),
        alternatives=0 if pool.manifest.settings.pool is None else pool.manifest.settings.pool.top_logprobs,
        thinking=thinking_of(pool),
        settings=[_kept(decision, measures, one, seed) for one in dict.fromkeys([*passed, *fixed, *shown])],
        certified="" if certified is None else certified.name,
        serve=decision.serve,
        looks=list(looks),
    ).signed()


def _kept(decision: Decision, measures: Measures, setting: int, seed: int) -> Kept:
    """What is kept of one setting."""
    searched, certified, promises = decision.searched, decision.certified, decision.promises
    one, serve = measures.of(setting), searched.index(decision.serve)
    saving = None if setting == serve else measures.saving(setting, serve)
    evidence = confirmed = None
    least = 0.0
    tested = next((of for of in certified.passed if of.setting == setting), None) if certified is not None else None
    if certified is not None and tested is not None:
        judge = judged_of(decision, tested, seed=seed)
        evidence = evidence_of(certified, tested, promises, seed=seed, judge=judge)
        found = confirm(searched, decision.split, promises, setting, seed=seed)
        confirmed = Confirmation(tasks=found.tasks, risk=found.risk, bound=found.bound)
        least = found.low
    return Kept(
        name=searched.evaluated.names[setting],
        route=msgspec.to_builtins(searched.routes[setting]),
        figures=figures_of(one),
        saving=None if saving is None else figure_of(saving),
        disagreement=figure_of(measures.disagreement(setting)),
        kept=one.kept,
        evidence=evidence,
        confirmed=confirmed,
        least=least,
    )


def _placed(pool: Path, folder: Path) -> str:
    pool, folder = pool.resolve(), folder.resolve()
    return str(pool.relative_to(folder)) if pool.is_relative_to(folder) else str(pool)
