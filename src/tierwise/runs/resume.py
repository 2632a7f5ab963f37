"""Whether a run that was interrupted may be gone on with: what is asked now must be what was asked then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tierwise.runs.directory import Manifest, Planned

_FLAGS = {
    name: f"--{name.replace('_', '-')}" for name in ("seed", "concurrency", "timeout", "arrival", "repeats", "warm_up")
}


def require_same(before: Manifest, now: Manifest) -> None:
    """Compare all that is known before the tiers are launched.

    Raises:
        SpecError: it would be another run; the message names all that differs.
    """
    _require(list(_differences(before, now)))


def require_same_rows(before: Manifest, planned: Sequence[Planned]) -> None:
    """Compare the rows of the result.

    Raises:
        SpecError: they are others, or may spend other numbers of passes.
    """
    then, now = (
        ", ".join(f"{one.variant.name} (≤ {one.most_passes})" for one in rows) for rows in (before.variants, planned)
    )
    _require([f"its rows were {then}, now they are {now} (--tier, --mode)"] if then != now else [])


def _require(differences: Sequence[str]) -> None:
    if differences:
        raise SpecError(
            "the folder holds the beginning of another run: "
            + "; ".join(differences)
            + ". Ask for the same, or give another folder to --out"
        )


def _differences(before: Manifest, now: Manifest) -> Iterable[str]:
    for what in ("config", "workload"):
        then, here = getattr(before, what), getattr(now, what)
        if then.sha256 != here.sha256:
            yield f"the {what} {here.path} is not what it was ({then.sha256[:8]}, now {here.sha256[:8]})"
    if before.workload.sha256 == now.workload.sha256 and before.tasks != now.tasks:
        yield f"it had {len(before.tasks)} tasks, now there are {len(now.tasks)} (--limit)"
    then, here = msgspec.to_builtins(before.settings), msgspec.to_builtins(now.settings)
    for name in then:
        if then[name] != here[name]:
            yield f"{_FLAGS.get(name, name)} was {then[name]}, now it is {here[name]}"
    if bool(before.url) != bool(now.url):
        then, here = (manifest.url or "launched by the bench" for manifest in (before, now))
        yield f"its endpoint was {then}, now it is {here} (--url)"
    for name in sorted(before.versions.keys() | now.versions.keys()):
        then_, here_ = before.versions.get(name, "absent"), now.versions.get(name, "absent")
        if then_ != here_:
            yield f"{name} was {then_}, now it is {here_}"
