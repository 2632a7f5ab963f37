"""Checks whether an interrupted run may be resumed: it must be the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tierwise.runs.directory import Manifest, Planned

_FLAGS = {
    name: f"--{name.replace('_', '-')}"
    for name in ("seed", "concurrency", "timeout", "arrival", "repeats", "warm_up", "runner")
}


def require_same(before: Manifest, now: Manifest) -> None:
    """Compare everything that is known before the tiers are launched.

    Raises:
        SpecError: the runs differ; the message names every difference.
    """
    _require(list(_differences(before, now)))


def require_same_rows(before: Manifest, planned: Sequence[Planned]) -> None:
    """Compare the rows of the result.

    Raises:
        SpecError: the rows differ, or their maximum passes do.
    """
    then, now = (
        ", ".join(f"{one.variant.name} (≤ {one.most_passes})" for one in rows) for rows in (before.variants, planned)
    )
    _require([f"the rows were {then}, now {now} (--tier, --mode)"] if then != now else [])


def _require(differences: Sequence[str]) -> None:
    if differences:
        raise SpecError(
            "the directory holds a different run: "
            + "; ".join(differences)
            + ". Use the same settings, or give another directory to --out"
        )


def _differences(before: Manifest, now: Manifest) -> Iterable[str]:
    for what in ("config", "workload"):
        then, here = getattr(before, what), getattr(now, what)
        if then.sha256 != here.sha256:
            yield f"the {what} {here.path} has changed (SHA-256 {then.sha256[:8]}, now {here.sha256[:8]})"
    if before.workload.sha256 == now.workload.sha256 and before.tasks != now.tasks:
        yield f"the number of tasks was {len(before.tasks)}, now {len(now.tasks)} (--limit)"
    then, here = msgspec.to_builtins(before.settings), msgspec.to_builtins(now.settings)
    for name in then:
        if name == "pool":
            yield from _pool_differences(before, now)
        elif then[name] != here[name]:
            yield f"{_FLAGS.get(name, name)} was {then[name]}, now {here[name]}"
    if bool(before.url) != bool(now.url):
        then, here = (manifest.url or "launched by the bench" for manifest in (before, now))
        yield f"the endpoint was {then}, now {here} (--url)"
    yield from _version_differences(before.versions, now.versions)
    if before.harness and before.settings.runner == now.settings.runner:  # earlier versions did not record it
        yield from _version_differences(before.harness, now.harness)


def _version_differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    for name in sorted(before.keys() | now.keys()):
        then, here = before.get(name, "absent"), now.get(name, "absent")
        if then != here:
            yield f"{name} was {then}, now {here}"


def _pool_differences(before: Manifest, now: Manifest) -> Iterable[str]:
    then, here = before.settings.pool, now.settings.pool
    if then is None or here is None:
        if then != here:
            was, is_ = ("a run of tierwise bench" if one is None else "a pool" for one in (then, here))
            yield f"it was {was}, now it is {is_}"
    elif then.top_logprobs != here.top_logprobs:
        yield f"--top-logprobs was {then.top_logprobs}, now {here.top_logprobs}"
