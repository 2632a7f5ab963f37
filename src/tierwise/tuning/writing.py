"""What a decision leaves behind: the certificate, and a copy of the config file with the certified route."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from tierwise import plan as planning
from tierwise.certificate import (
    Certificate,
    Confirmation,
    Evidence,
    Figure,
    Figures,
    Promise,
    Saving,
    Source,
    Split,
    conditions_of,
)
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.runs.directory import RunDirectory
    from tierwise.stats.estimates import Estimate
    from tierwise.tuning.decide import Decision
    from tierwise.tuning.measured import Measured, Measures
    from tierwise.tuning.space import Route

ROUTE = "auto"
CERTIFICATE = "certificate.json"
CONFIG = "tierwise.yaml"

_VOID_IF = (
    "a checkpoint, an engine or its version, a launch lever, a tier's policy, sampling or budget, or a price changes",
    "traffic is not like the workload: other kinds of tasks, lengths or languages, or other shares of them",
    "requests set their own temperature, limits or log-probabilities, so that signals are not those that were measured",
    "shadowed actions show that the promise is broken, or that answers differ more often than was certified",
)


def certificate_of(
    decision: Decision, measures: Measures, pool: Pool, directory: RunDirectory, plan: Plan, *, seed: int
) -> Certificate:
    """The certificate of a decision's route.

    Args:
        decision: with a route.
        measures: of the test part.
        pool: that it follows from.
        directory: of the pool.
        plan: the config file that has the route, from `with_route`.
        seed: of the order in which a bet saw the calibration tasks.
    """
    route, certified, confirmed = decision.route, decision.certified, decision.confirmed
    if route is None or certified is None or confirmed is None:
        raise ValueError("only a certified route has a certificate")
    searched, promises, tested = decision.searched, decision.promises, certified.tested
    evaluated, reference = searched.evaluated, searched.space.reference
    bound = tested.losses.upper_bound(promises.delta, seed=seed)
    disagreement = measures.disagreement(certified.setting)
    is_net = promises.kind == "net"
    return Certificate(
        made=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        route=ROUTE,
        tiers=list(route.ladder),
        reference=reference,
        safe=decision.serve,
        promise=Promise(kind=promises.kind, limit=promises.limit, confidence=promises.confidence),
        evidence=Evidence(
            method=tested.method,
            p_value=tested.p_value,
            losses=sum(v * w for v, w in zip(tested.losses.values, tested.losses.weights, strict=True)),
            tasks=tested.losses.tasks,
            units=len(tested.losses.values),
            risk=2 * tested.losses.risk - 1 if is_net else tested.losses.risk,
            bound=2 * bound - 1 if is_net else bound,
            order_seed=seed,
            hypotheses=len(certified.order),
            rank=certified.rank,
        ),
        confirmed=Confirmation(tasks=confirmed.tasks, risk=confirmed.risk, bound=confirmed.bound),
        figures={
            ROUTE if name == evaluated.names[certified.setting] else name: _figures(one)
            for name, one in decision.figures.items()
        },
        savings=_savings(decision, measures),
        disagreement=_figure(disagreement),
        split=Split(
            seed=decision.split.seed,
            tuning=len(decision.split.tuning),
            calibration=len(decision.split.calibration),
            test=len(decision.split.test),
        ),
        source=_source(pool, directory),
        conditions=conditions_of(plan, ROUTE, {one.name: one for one in pool.manifest.deployments or ()}),
        alternatives=0 if pool.manifest.settings.pool is None else pool.manifest.settings.pool.top_logprobs,
        thinking=_thinking(pool),
        void_if=list(_VOID_IF),
    ).signed()


def _savings(decision: Decision, measures: Measures) -> list[Saving]:
    searched, certified = decision.searched, decision.certified
    assert certified is not None  # noqa: S101 - the caller has one
    space = searched.space
    roles: dict[Literal["cheapest", "reference", "best fixed"], str] = {
        "cheapest": space.cheap[0] if space.cheap else space.reference,
        "reference": space.reference,
        "best fixed": decision.serve,
    }
    found = []
    for role, name in roles.items():
        saving = measures.saving(certified.setting, searched.index(name))
        if saving is not None:
            found.append(Saving(against=name, role=role, share=_figure(saving)))
    return found


def _figures(one: Measured) -> Figures:
    seconds = Figure(value=one.p95_seen) if one.p95_seconds is None else _figure(one.p95_seconds)
    return Figures(points=_figure(one.points), dollars=_figure(one.dollars), p95_seconds=seconds)


def _figure(of: Estimate | None) -> Figure:
    if of is None:
        raise ValueError("a certificate has figures of test tasks, and there are none")
    ends = of.interval
    return Figure(value=of.value, low=None if ends is None else ends.low, high=None if ends is None else ends.high)


def _source(pool: Pool, directory: RunDirectory) -> Source:
    with directory.records_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    sessions = pool.manifest.sessions
    return Source(
        pool_sha256=digest,
        workload_sha256=pool.manifest.workload.sha256,
        began=sessions[0].began if sessions else "",
        ended=(sessions[-1].ended or "") if sessions else "",
    )


def _thinking(pool: Pool) -> Literal["on", "off", "mixed"]:
    thought = {bool(draw.completion.reasoning) for task in pool.tasks for of in task.draws.values() for draw in of}
    return "mixed" if len(thought) > 1 else "on" if thought == {True} else "off"


def with_route(text: str, path: Path, route: Route, plan: Plan) -> str:
    """A config file's text with the route, and the tier that it needs. Comments are kept where its sections are blocks.

    Args:
        text: of the config file.
        path: where the file is: relative `file:` sources are written in full, because the copy is elsewhere.
        route: the certified one.
        plan: the config file.

    Raises:
        SpecError: the name of the route or of its tier is taken.
    """
    if ROUTE in plan.file.tiers:
        raise SpecError(f"the config file has a tier {ROUTE!r}, and the certified route has this name; rename the tier")
    entry: dict[str, Any] = {
        "cascade": list(route.ladder),
        **_signals(route),
        "certificate": CERTIFICATE,
    }
    text = _absolute(text, path.parent)
    wanted = yaml.safe_load(text)
    wanted.setdefault("routes", {})
    wanted["routes"] = {**(wanted["routes"] or {}), ROUTE: entry}
    changed = _with_entry(text, "routes", ROUTE, entry)
    if (variant := route.variant) is not None:
        own = dict(wanted["tiers"][variant.base])
        tier = {**own, "policy": msgspec.to_builtins(variant.policy)}
        wanted["tiers"][variant.name] = tier
        changed = _with_entry(changed, "tiers", variant.name, tier)
    return changed if _loaded(changed) == wanted else yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)


def _signals(route: Route) -> dict[str, Any]:
    if route.steps is not None:
        return {"steps": [msgspec.to_builtins(list(one)) for one in route.steps]}
    return {"signals": msgspec.to_builtins(list(route.signals))}


def _loaded(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _absolute(text: str, base: Path) -> str:
    def full(found: re.Match[str]) -> str:
        place = Path(found[1])
        return found[0] if place.is_absolute() else f"file:{(base / place).resolve()}"

    return re.sub(r"(?<![\w-])file:([^\s'\",\]}]+)", full, text)


def _with_entry(text: str, section: str, name: str, entry: Mapping[str, Any]) -> str:
    """The text with an entry in a section that is written as a block, or in a new one at the end. The caller checks
    that it says what it should.
    """
    lines = text.splitlines()
    written = (
        f"  {name}: {yaml.safe_dump(dict(entry), default_flow_style=True, width=10_000, allow_unicode=True).strip()}"
    )
    start = next((at for at, line in enumerate(lines) if re.match(rf"{section}:\s*(#.*)?$", line)), None)
    if start is None and any(re.match(rf"['\"]?{section}['\"]?\s*:", line) for line in lines):
        return text  # it is written in one line
    if start is None:
        return "\n".join([*lines, "", f"{section}:", written, ""])
    kept: list[str] = []
    is_inside, drops, depth = True, False, None
    for line in lines[start + 1 :]:
        indent = len(line) - len(line.lstrip())
        if is_inside and line.strip() and not line.lstrip().startswith("#"):
            is_inside = indent > 0
            depth = indent if depth is None and is_inside else depth
            if is_inside and indent == depth:
                drops = re.match(rf"\s*['\"]?{re.escape(name)}['\"]?:", line) is not None
            drops = drops and is_inside
        if not (is_inside and drops):
            kept.append(line)
    written = " " * (depth or 2) + written.lstrip()
    return "\n".join([*lines[: start + 1], written, *kept, ""])


def parsed(text: str, path: Path) -> Plan:
    """The plan of a written config file."""
    return replace(planning.parse(text, path), path=path)
