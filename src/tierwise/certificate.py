"""A certificate: what `tierwise tune` proved about a route, and under which conditions it holds.

It is a JSON file with a SHA-256 over its contents, so that a change is noticed. `Conditions` are compared with those of
a running endpoint: a certificate for another checkpoint, engine version, setting or price is void, and so is one that
was changed by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from tierwise.engines import row_of
from tierwise.spec.errors import NotFound, SpecError

if TYPE_CHECKING:
    from tierwise.plan import Plan
    from tierwise.spec.deployed import Deployed

FORMAT = 1

PromiseKind = Literal["harm", "net", "selective"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Promise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is promised about new tasks like those of the workload."""

    kind: PromiseKind
    """`harm`: the route's final answer is wrong where the reference's is right, on at most this share of all tasks.
    `net`: as harm, minus the tasks where only the route is right. `selective`: errors among the tasks that the route
    did not pass on to its last tier."""
    limit: Share
    confidence: Share


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The test that kept the promise, on the calibration split."""

    method: str
    """`exact`, `betting` or `hoeffding-bentkus` (`stats/promises.py`)."""
    p_value: Share
    losses: float
    """The sum of the losses of all tasks."""
    tasks: int
    units: int
    """Clusters, or tasks where there are none."""
    risk: float
    bound: float
    """With the promised confidence, the risk is at most this."""
    order_seed: int
    """Of the order in which a bet saw the units."""
    hypotheses: int
    """Routes in the order that was fixed on the tuning split."""
    rank: int
    """The place of this route in it, from 1."""


class Confirmation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same risk on the test split, on which nothing was chosen."""

    tasks: int
    risk: float
    bound: float


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number with its 95 % interval; an end is None where the sample does not bound it."""

    value: float
    low: float | None = None
    high: float | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a route or a tier reaches on the test split."""

    points: Figure
    """Share of the tasks that it solves."""
    dollars: Figure
    """Per action."""
    p95_seconds: Figure


class Saving(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Share of the dollars saved against another way to serve, on the same tasks."""

    against: str
    """A tier's name."""
    role: Literal["cheapest", "reference", "best fixed"]
    share: Figure


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the workload was divided, by cluster."""

    seed: int
    tuning: int
    """Tasks."""
    calibration: int
    test: int


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The recorded draws that the certificate is computed from."""

    pool_sha256: str
    """Of the pool's records."""
    workload_sha256: str
    began: str
    """UTC. The certificate describes traffic like that of the workload in this window of time."""
    ended: str


class ServedAs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deployment that the route asks."""

    settings_sha256: str
    """Of the engine and its settings."""
    checkpoint_sha256: str = ""
    """Empty where Tierwise does not launch the server."""
    engine: str
    version: str = ""
    """As the engine reports it; empty if it does not."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a certificate is valid for. Anything else voids it."""

    tiers: dict[str, str]
    """A SHA-256 of policy, sampling and budget, by tier."""
    deployments: dict[str, ServedAs]
    prices_sha256: str

    def differences(self, now: Conditions) -> list[str]:
        """Sentences that say what is not as it was certified; none if all is."""
        found = [
            f"tier {name!r} has another policy, sampling or budget" if name in now.tiers else f"tier {name!r} is gone"
            for name, digest in self.tiers.items()
            if now.tiers.get(name) != digest
        ]
        found += [f"the route can reach tier {name!r}" for name in now.tiers.keys() - self.tiers.keys()]
        for name, was in self.deployments.items():
            is_now = now.deployments.get(name)
            if is_now is None:
                found.append(f"deployment {name!r} is gone")
                continue
            found += [f"deployment {name!r} {what}" for what in _changes(was, is_now)]
        if self.prices_sha256 != now.prices_sha256:
            found.append("prices changed, so savings and costs are others; `tierwise tune --from` computes them again")
        return found


def _changes(was: ServedAs, is_now: ServedAs) -> list[str]:
    pairs = (
        ("has other settings", was.settings_sha256, is_now.settings_sha256),
        ("has another checkpoint", was.checkpoint_sha256, is_now.checkpoint_sha256),
        (f"runs on {is_now.engine}, not on {was.engine}", was.engine, is_now.engine),
    )
    found = [what for what, before, after in pairs if before != after]
    if was.version and is_now.version and was.version != is_now.version:
        found.append(f"runs {is_now.engine} {is_now.version}, and {was.version} was certified")
    return found


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was proved about a route."""

    format: int = FORMAT
    made: str
    """UTC."""
    route: str
    """The model name that it is about."""
    tiers: list[str]
    """What the route asks, the cheapest first."""
    reference: str
    """The tier that the promise compares with."""
    safe: str
    """The tier that answers in place of the route where the certificate does not hold."""
    promise: Promise
    evidence: Evidence
    confirmed: Confirmation
    figures: dict[str, Figures]
    """Of the route, the reference and every fixed tier, by name."""
    savings: list[Saving]
    disagreement: Figure
    """Share of the tasks on which route and reference answer differently. Unlabelled traffic is watched against it."""
    split: Split
    source: Source
    conditions: Conditions
    alternatives: int
    """Alternatives per token that log-probabilities were recorded with."""
    thinking: Literal["on", "off", "mixed"]
    """Whether the recorded answers think first."""
    void_if: list[str]
    """In words: what ends it."""
    sha256: str = ""
    """Of all the rest."""

    def signed(self) -> Certificate:
        """The same with its hash."""
        read = msgspec.json.decode(msgspec.json.encode(self), type=Certificate)  # with 3.0 where 3 was given
        return msgspec.structs.replace(read, sha256=read.digest())

    def digest(self) -> str:
        """The hash that belongs to the contents."""
        return _sha256(msgspec.structs.replace(self, sha256=""))

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def read_certificate(path: Path) -> Certificate:
    """Read a certificate.

    Raises:
        NotFound: there is no such file.
        SpecError: it is not a certificate, or it was changed after it was made.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no certificate {path}; `tierwise tune` writes one") from None
    except OSError as error:
        raise SpecError(f"the certificate {path} cannot be read: {error.strerror}") from error
    try:
        found = msgspec.json.decode(raw, type=Certificate)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not a certificate: {error}; `tierwise tune` writes one") from error
    if found.format != FORMAT:
        raise SpecError(
            f"{path} has format {found.format}, and this version reads {FORMAT}; make it anew with `tierwise tune`"
        )
    if found.digest() != found.sha256:
        raise SpecError(
            f"{path} was changed after it was made: its contents have SHA-256 {found.digest()[:8]}…, and it says "
            f"{found.sha256[:8] or 'none'}; take the file that `tierwise tune` wrote, or make it anew"
        )
    return found


def conditions_of(plan: Plan, route: str, running: Mapping[str, Deployed] | None = None) -> Conditions:
    """The conditions under which a plan serves a route.

    Args:
        plan: the config file.
        route: a model name in it.
        running: by process, what the endpoint reports: hashes of checkpoints, and versions of engines. None before it
            runs.
    """
    runs_as, file, running = plan.runs_as, plan.file, running or {}
    reached = [name for name in plan.tiers if name == route or name in _reached(plan, route)]
    deployments = sorted(plan.reached_deployments(route))
    return Conditions(
        tiers={name: _sha256(_without_certificate(plan, name)) for name in reached},
        deployments={name: _served_as(plan, name, running.get(runs_as.get(name, name))) for name in deployments},
        prices_sha256=_sha256({name: file.prices[name] for name in deployments if name in file.prices}),
    )


def _reached(plan: Plan, route: str) -> set[str]:
    found: set[str] = set()
    wanted = [route]
    while wanted:
        for name in plan.tiers[wanted.pop()].policy.member.tiers():
            if name not in found:
                found.add(name)
                wanted.append(name)
    return found


def _without_certificate(plan: Plan, name: str) -> dict[str, Any]:
    tier = plan.tiers[name]
    return {"policy": tier.policy, "sampling": tier.sampling, "budget": tier.budget}


def _served_as(plan: Plan, name: str, running: Deployed | None) -> ServedAs:
    settings = plan.file.deployments[name]
    loads = settings.loads
    configured = None if loads is None else plan.file.checkpoints[loads].sha256
    measured = None if running is None or running.weights is None else running.weights.sha256
    return ServedAs(
        settings_sha256=_sha256(settings),
        checkpoint_sha256=(measured or configured or "").lower(),
        engine=row_of(settings).name,
        version="" if running is None else running.facts.get("version", ""),
    )


def _sha256(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
