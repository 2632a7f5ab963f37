"""How often the same calibration tasks were tested on, and at which level the next test is valid.

A route that is tested on tasks of an earlier test is chosen by someone who knows the earlier result. If that is all
they know, whether each earlier look certified a route, there were at most 2^(k-1) ways to come to the k-th look. Its
tests run at level (1 - confidence) / 2^(k-1), so that by the union bound over these ways its certificate is false with
probability at most 1 - confidence. Another seed of the split does not make a look fresh. Tasks keep their parts,
because labels of tuning tasks are used freely. A look at nothing but new calibration tasks is a first look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from tierwise.spec.files import decode_json_lines, read_bytes
from tierwise.spec.replacing import replace_file
from tierwise.spec.signing import sha256_of
from tierwise.tuning.record import Look
from tierwise.tuning.writing import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tierwise.tuning.certify import Promises
    from tierwise.tuning.record import Parts, TuningRecord

LOOKS = "looks.jsonl"
"""In the folder of a record: looks at its calibration tasks that later runs took."""


def about(config: str, pool: str, promises: Promises, *, reference: str, orders: int, seed: int) -> str:
    """A digest of what is tested. Prices count where a mean cost is promised; routes of the file do not.

    Args:
        config: text of the config file.
        pool: SHA-256 of the draws.
        promises: what is to be kept.
        reference: the tier to compare with.
        orders: of the draws.
        seed: of split, orders and bets.
    """
    said = yaml.safe_load(config)
    if promises.dollars is None:
        said.pop("prices", None)
    said.pop("routes", None)
    promised: list[Any] = [promises.kind, promises.limit, promises.confidence, promises.p95, promises.dollars]
    promised += [promises.labels] if promises.labels != "check" else []  # earlier digests stay
    facts: list[Any] = [said, pool, promised, reference, orders, seed]
    return sha256_of(facts)


def taken(record: TuningRecord, folder: Path) -> list[Look]:
    """The looks at a record's calibration tasks: up to its own, and those of later runs."""
    found = {one.about: one for one in record.looks}
    path = folder / LOOKS
    if path.exists():
        whole, _, _ = read_bytes(path, "list of looks").rpartition(b"\n")
        found |= {one.about: one for one in decode_json_lines(whole, Look, str(path)) if one.about not in found}
    return list(found.values())


def looks_with(before: Sequence[Look], what: str) -> list[Look]:
    """The looks up to this one. The same test run again is the same look."""
    known = [one.about for one in before]
    return list(before[: known.index(what) + 1]) if what in known else [*before, Look(made=now(), about=what)]


def keep(looks: Iterable[Look], folder: Path) -> None:
    """Store the looks at a record's calibration tasks beside it, so that the next run counts them.

    Raises:
        TierwiseError: it cannot be written. Then nothing may be decided.
    """
    replace_file(folder / LOOKS, msgspec.json.Encoder().encode_lines(list(looks)))


def parts_of(parts: Parts, renamed: Mapping[str, str]) -> dict[str, int]:
    """The part of each task, for `split`; by the id that it has now.

    Args:
        parts: of the record.
        renamed: the ids now, by those of the record.
    """
    several = (parts.tuning, parts.calibration, parts.test)
    return {renamed[name]: number for number, part in enumerate(several) for name in part if name in renamed}


def is_fresh(calibration: Iterable[str], parts: Parts, renamed: Mapping[str, str]) -> bool:
    """Whether none of these calibration tasks was in an earlier calibration or test part."""
    seen = {renamed[name] for name in (*parts.calibration, *parts.test) if name in renamed}
    return seen.isdisjoint(calibration)


def look_note(number: int, level: float) -> str:
    """At which level a further look tests."""
    return (
        f"look {number} at these calibration tasks: each test is at level {level:.3g}. Tasks that were never looked "
        "at, alone, would be a first look"
    )
