"""A certificate: what `tierwise tune` proved about a route, and under which conditions it holds.

It is a JSON file with a SHA-256 over its contents, so that a change is noticed. `Conditions` are compared with those of
a running endpoint: a certificate for another checkpoint, engine version or setting is void, and so is one that was
changed by hand. Prices void it only where they decide answers or what is promised; elsewhere they only change savings.

A field that was added later is left out of the JSON at its default, so that earlier certificates keep their hashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from tierwise.catalog.cache import cache_folder, file_hash
from tierwise.engines import row_of
from tierwise.spec import signing
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.files import placed
from tierwise.spec.paths import without_folders
from tierwise.spec.replacing import replace_file
from tierwise.spec.signing import canonical, sha256_of

if TYPE_CHECKING:
    from tierwise.plan import Plan
    from tierwise.spec.deployed import Deployed

FORMAT = 1

PromiseKind = Literal["harm", "net", "selective"]
Labels = Annotated[str, msgspec.Meta(pattern=r"^(check|agreement|judge:.+)$")]
"""What tells a loss: the workload's checks · whether the route's answer is another than the reference's · a judge, the
tier after the colon, whose error is measured on the tasks that have a check."""
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


def by_agreement(labels: str) -> bool:
    """Whether a loss is a differing answer, so that nothing says which answers are right."""
    return labels == "agreement"


class Promise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is promised about new tasks like those of the workload."""

    kind: PromiseKind
    """`harm`: the route's final answer is wrong where the reference's is right, on at most this share of all tasks.
    `net`: as harm, minus the tasks where only the route is right. `selective`: errors among the tasks that the route
    did not pass on to its last tier."""
    limit: Share
    confidence: Share
    labels: Labels = "check"
    """`agreement`: a loss is a final answer that differs from the reference's, compared as votes are with `equality:
    auto`. An upper proxy of harm: an answer that is the reference's cannot be wrong where the reference is right."""
    p95_seconds: float | None = None
    """Also promised: at most 5 % of actions take longer."""
    dollars: float | None = None
    """Also promised: the mean cost of an action. It depends on prices."""


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number with its 95 % interval; an end is None where the sample does not bound it."""

    value: float
    low: float | None = None
    high: float | None = None


class Judged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a judge misses, on the calibration tasks that have a check."""

    tier: str
    limit: Share
    """The part of the promised limit that is for harm which the judge misses; the rest is for what it sees."""
    tasks: int
    """With a check. They have to be a random sample of all."""
    losses: float
    """On which the route is wrong and the reference right by the checks, and not by the judge."""
    p_value: Share
    false_accepts: Figure | None
    """Share of the wrong answers that the judge accepts, on all draws of the tasks with a check; None without any."""
    false_rejects: Figure | None
    """Share of the right answers that it rejects."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
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
    bet: Share = 0.0
    """Size of a bet, the same for all units, as a part of the largest one; 0 if it followed the losses, or none was."""
    hypotheses: int
    """Routes in the order that was fixed on the tuning split."""
    rank: int
    """The place of this route in it, from 1."""
    looks: int = 1
    """How often these calibration tasks have been tested on, this time included."""
    judge: Judged | None = None
    """Where a judge tells losses: its own error. `losses` is then of what the judge sees, `risk` of both."""
    level: Share | None = None
    """The level of the tests, if it is not 1 - confidence: that, divided by 2 for each earlier look."""


class Confirmation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same risk on the test split, on which nothing was chosen."""

    tasks: int
    risk: float
    bound: float


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


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The recorded draws that the certificate is computed from."""

    pool_sha256: str
    """Of the pool's records."""
    workload_sha256: str
    began: str
    """UTC. The certificate describes traffic like that of the workload in this window of time."""
    ended: str
    repriced: str = ""
    """UTC: when dollars and savings were computed again with other prices; empty if they were not."""


class ServedAs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deployment that the route asks."""

    settings_sha256: str
    """Of the engine and its settings, with the last part of each path."""
    checkpoint_sha256: str | None = ""
    """Empty where Tierwise does not launch the server, or nobody has computed it; None if it is not known before the
    engine runs."""
    engine: str
    version: str | None = ""
    """As the engine reports it; empty if it does not; None before it runs."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a certificate is valid for. Anything else voids it."""

    tiers: dict[str, str]
    """A SHA-256 of policy, sampling and budget, by tier."""
    deployments: dict[str, ServedAs]
    files: dict[str, dict[str, str]] = {}
    """The SHA-256 of each file that settings name, such as a chat template, by deployment and setting; empty for one
    that is not there. The paths themselves do not count."""
    prices_sha256: str
    prices_decide: bool = True
    """Whether a price can change an answer, because a tier has a budget in dollars. Certificates of earlier versions do
    not say."""

    def differences(self, now: Conditions) -> list[str]:
        """Sentences that say what is not as it was certified; none if all is. What is not known yet (None) is left
        out.
        """
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
            found += [
                f"deployment {name!r} has another file as `{setting}`"
                for setting, digest in self.files.get(name, {}).items()
                if digest and digest != (now.files.get(name, {}).get(setting) or digest)
            ]
        if self.prices_decide and self.prices_sha256 != now.prices_sha256:
            found.append(
                "prices changed, and budgets in dollars may end actions by them; `tierwise tune --from` tests again"
            )
        return found


def _changes(was: ServedAs, is_now: ServedAs) -> list[str]:
    found = ["has other settings"] if was.settings_sha256 != is_now.settings_sha256 else []
    if is_now.checkpoint_sha256 is not None and (was.checkpoint_sha256 or "") != is_now.checkpoint_sha256:
        unknown = "has a checkpoint that was never hashed; `tierwise pull` computes its hash"
        found.append("has another checkpoint" if is_now.checkpoint_sha256 else unknown)
    if was.engine != is_now.engine:
        found.append(f"runs on {is_now.engine}, not on {was.engine}")
    elif is_now.version is not None and (was.version or "") != is_now.version:
        certified = f"{was.version} was certified" if was.version else "one that reports no version was certified"
        found.append(f"runs {is_now.engine} {is_now.version or 'of an unknown version'}, and {certified}")
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

    def differences(self, now: Conditions) -> list[str]:
        """Why it does not hold now: as of its conditions; and prices, if a mean cost is promised."""
        found = self.conditions.differences(now)
        if self.has_other_prices(now) and not self.conditions.prices_decide and self.promise.dollars is not None:
            found.append("prices changed, and a mean cost is promised; `tierwise tune --from` tests it again")
        return found

    def has_other_prices(self, now: Conditions) -> bool:
        """Whether its dollars and savings are of other prices."""
        return self.conditions.prices_sha256 != now.prices_sha256

    def signed(self) -> Certificate:
        """The same with its hash."""
        return signing.signed(self)

    def digest(self) -> str:
        """The hash that belongs to the contents."""
        return signing.digest(self)

    def write(self, path: Path) -> None:
        """Write it as JSON, in one step.

        Raises:
            TierwiseError: it cannot be written.
        """
        replace_file(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


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


def certificates_of(plan: Plan) -> dict[str, Certificate]:
    """The certificates of a plan's routes, by route.

    Raises:
        ConfigErrors: a certificate is missing, was changed, is about another route, or names a safe tier that cannot
            answer; each error has its file and line.
    """
    found: dict[str, Certificate] = {}
    errors: list[SpecError] = []
    for route, config in plan.file.routes.items():
        if config.certificate is None:
            continue
        try:
            certificate = found[route] = read_certificate(plan.path.parent / Path(config.certificate).expanduser())
            _require_about(certificate, route, plan)
        except SpecError as error:
            errors.append(_at_route(plan, route, str(error)))
    if errors:
        raise ConfigErrors(errors)
    return found


def _require_about(certificate: Certificate, route: str, plan: Plan) -> None:
    if certificate.route != route:
        raise SpecError(f"it is about the route {certificate.route!r}; name the file of {route!r}, or none")
    safe = certificate.safe
    if safe not in plan.tiers:
        raise SpecError(f"its safe tier {safe!r} is not in this file; declare it, or make the certificate anew")
    if route in (safe, *plan.reached_tiers(safe)):
        raise SpecError(f"its safe tier {safe!r} asks the route itself; make the certificate anew")


def mismatches(
    plan: Plan, certificates: Mapping[str, Certificate], running: Mapping[str, Deployed] | None = None
) -> dict[str, list[str]]:
    """What differs from the certified conditions, by route; a route whose certificate holds has no sentence.

    Args:
        plan: the config file.
        certificates: by route.
        running: see `conditions_of`.
    """
    return {
        route: certificate.differences(conditions_of(plan, route, running))
        for route, certificate in certificates.items()
    }


def notices(plan: Plan, certificates: Mapping[str, Certificate]) -> dict[str, str]:
    """What a reader of certificates that hold should know, by route: that prices are others."""
    return {
        route: "prices changed since it was made: the promise holds, and its dollars and savings are of the earlier "
        "prices; `tierwise whatif` computes them again"
        for route, certificate in certificates.items()
        if certificate.has_other_prices(now := conditions_of(plan, route)) and not certificate.differences(now)
    }


def refusals(
    plan: Plan, certificates: Mapping[str, Certificate], found: Mapping[str, Sequence[str]]
) -> list[SpecError]:
    """The errors of routes whose certificates do not hold, each with file and line, and with what to do."""
    advice = "certify the route again with `tierwise tune`, or serve it by its safe tier {} with --uncertified"
    return [
        _at_route(plan, route, f"does not hold: {'; '.join(why)}; {advice.format(repr(certificates[route].safe))}")
        for route, why in found.items()
        if why
    ]


def _at_route(plan: Plan, route: str, message: str) -> SpecError:
    field = f"routes.{route}.certificate"
    return placed(SpecError(message, field=field), plan.place(field))


def conditions_of(plan: Plan, route: str, running: Mapping[str, Deployed] | None = None) -> Conditions:
    """The conditions under which a plan serves a route.

    Args:
        plan: the config file.
        route: a model name in it.
        running: by process, what the endpoint reports once an engine is ready: hashes of checkpoints, and versions of
            engines. None before it runs; then what only the engines know is None, and not compared.
    """
    runs_as, file, running = plan.runs_as, plan.file, running or {}
    reached = [name for name in plan.tiers if name == route or name in plan.reached_tiers(route)]
    deployments = sorted(plan.reached_deployments(route))
    files = {name: _files(plan, name) for name in deployments}
    return Conditions(
        tiers={name: sha256_of(_without_certificate(plan, name)) for name in reached},
        deployments={name: _served_as(plan, name, running.get(runs_as.get(name, name))) for name in deployments},
        files={name: of for name, of in files.items() if of},
        prices_sha256=sha256_of({name: file.prices[name] for name in deployments if name in file.prices}),
        prices_decide=any(plan.tiers[name].budget.dollars is not None for name in reached),
    )


def _without_certificate(plan: Plan, name: str) -> dict[str, Any]:
    tier = plan.tiers[name]
    return {name: canonical(getattr(tier, name)) for name in ("policy", "sampling", "budget")}


def _served_as(plan: Plan, name: str, running: Deployed | None) -> ServedAs:
    settings = plan.file.deployments[name]
    unknown = None if running is None else ""
    return ServedAs(
        settings_sha256=sha256_of(without_folders(settings, canonical(settings))[0]),
        checkpoint_sha256="" if settings.loads is None else _checkpoint_hash(plan, settings.loads, running) or unknown,
        engine=row_of(settings).name,
        version=None if running is None else running.facts.get("version", ""),
    )


def _files(plan: Plan, name: str) -> dict[str, str]:
    """The hashes of the files that a deployment's settings name."""
    settings, base = plan.file.deployments[name], plan.path.parent
    _, named = without_folders(settings, canonical(settings))
    return {setting: file_hash(base / Path(path).expanduser(), cache_folder()) for setting, path in named.items()}


def _checkpoint_hash(plan: Plan, checkpoint: str, running: Deployed | None) -> str:
    """The hash of what is loaded, else of the config file; empty if there is none."""
    loaded = None if running is None or running.weights is None else running.weights.sha256
    return (loaded or plan.file.checkpoints[checkpoint].sha256 or "").lower()
