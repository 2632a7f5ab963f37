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
    Conditions,
    Confirmation,
    Evidence,
    Figure,
    Figures,
    Judged,
    Promise,
    Saving,
    Source,
    Split,
    conditions_of,
)
from tierwise.spec.errors import SpecError
from tierwise.spec.paths import rebased
from tierwise.tuning.labels import judge_of
from tierwise.tuning.losses import missed_losses, most_weight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from tierwise.ledger.prices import Price
    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.runs.directory import RunDirectory
    from tierwise.stats.estimates import Estimate
    from tierwise.tuning.certify import Certified, Promises, Tested
    from tierwise.tuning.decide import Decision
    from tierwise.tuning.measured import Measured, Measures
    from tierwise.tuning.space import Route

_PRICES = "a price changes: budgets in dollars end actions by it, or a mean cost is promised"

ROUTE = "auto"
CERTIFICATE = "certificate.json"
CONFIG = "tierwise.yaml"

_VOID_IF = (
    "a checkpoint, an engine or its version, a launch lever, or a tier's policy, sampling or budget changes",
    "traffic is not like the workload: other kinds of tasks, lengths or languages, or other shares of them",
    "requests set their own temperature, limits or log-probabilities, so that signals are not those that were measured",
    "shadowed actions show that the promise is broken, or that answers differ more often than was certified",
)


def now() -> str:
    """UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


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
    conditions = conditions_of(plan, ROUTE, {one.name: one for one in pool.manifest.deployments or ()})
    evaluated, reference = searched.evaluated, searched.space.reference
    disagreement = measures.disagreement(certified.setting)
    return Certificate(
        made=now(),
        route=ROUTE,
        tiers=list(route.ladder),
        reference=reference,
        safe=decision.serve,
        promise=promise_of(promises),
        evidence=evidence_of(certified, tested, promises, seed=seed, judge=judged_of(decision, tested, seed=seed)),
        confirmed=Confirmation(tasks=confirmed.tasks, risk=confirmed.risk, bound=confirmed.bound),
        figures={
            ROUTE if name == evaluated.names[certified.setting] else name: figures_of(one)
            for name, one in decision.figures.items()
        },
        savings=_savings(decision, measures),
        disagreement=figure_of(disagreement),
        split=Split(
            seed=decision.split.seed,
            tuning=len(decision.split.tuning),
            calibration=len(decision.split.calibration),
            test=len(decision.split.test),
        ),
        source=source_of(pool, directory),
        conditions=conditions,
        alternatives=0 if pool.manifest.settings.pool is None else pool.manifest.settings.pool.top_logprobs,
        thinking=thinking_of(pool),
        void_if=void_if(conditions, promises.dollars),
    ).signed()


def promise_of(promises: Promises) -> Promise:
    """As a certificate states it."""
    return Promise(
        kind=promises.kind,
        limit=promises.limit,
        confidence=promises.confidence,
        labels=promises.labels,
        p95_seconds=promises.p95,
        dollars=promises.dollars,
    )


def judged_of(decision: Decision, tested: Tested, *, seed: int) -> Judged | None:
    """What the judge misses of a setting that passed; None without a judge.

    Args:
        decision: with what the judge's error is.
        tested: the setting.
        seed: of the order in which a bet saw the calibration tasks.
    """
    searched, promises, split, error = decision.searched, decision.promises, decision.split, decision.searched.judge
    if error is None:
        return None
    most = most_weight(searched.evaluated, split.tuning)
    missed = missed_losses(searched.evaluated, tested.setting, split.calibration, most=most)
    return Judged(
        tier=judge_of(promises.labels),
        limit=promises.missed,
        tasks=missed.tasks,
        losses=sum(v * w for v, w in zip(missed.values, missed.weights, strict=True)),
        p_value=missed.p_value(promises.missed, seed=seed, delta=promises.delta),
        false_accepts=None if error.false_accepts is None else figure_of(error.false_accepts),
        false_rejects=None if error.false_rejects is None else figure_of(error.false_rejects),
    )


def evidence_of(
    certified: Certified, tested: Tested, promises: Promises, *, seed: int, judge: Judged | None = None
) -> Evidence:
    """Of one of the settings that passed.

    Args:
        certified: what passed.
        tested: one of `certified.passed`.
        promises: that were tested.
        seed: of the order in which a bet saw the calibration tasks.
        judge: what it misses; None without one.
    """
    bound = min(1.0, tested.losses.upper_bound(promises.delta, seed=seed) + promises.missed)
    missed = judge.losses / max(1, judge.tasks) if judge is not None else 0.0
    is_net = promises.kind == "net"
    return Evidence(
        method=tested.method,
        p_value=tested.p_value,
        losses=sum(v * w for v, w in zip(tested.losses.values, tested.losses.weights, strict=True)),
        tasks=tested.losses.tasks,
        units=len(tested.losses.values),
        risk=2 * tested.losses.risk - 1 if is_net else tested.losses.risk + missed,
        bound=2 * bound - 1 if is_net else bound,
        order_seed=seed,
        bet=tested.losses.bet,
        hypotheses=len(certified.order),
        rank=1 + certified.passed.index(tested),
        looks=promises.looks,
        judge=judge,
        level=None if promises.looks == 1 else promises.delta,
    )


def void_if(conditions: Conditions, dollars: float | None) -> list[str]:
    """In words, what ends a certificate."""
    first, *others = _VOID_IF
    return [first, *([_PRICES] if conditions.prices_decide or dollars is not None else []), *others]


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
            found.append(Saving(against=name, role=role, share=figure_of(saving)))
    return found


def figures_of(one: Measured) -> Figures:
    seconds = Figure(value=one.p95_seen) if one.p95_seconds is None else figure_of(one.p95_seconds)
    return Figures(points=figure_of(one.points), dollars=figure_of(one.dollars), p95_seconds=seconds)


def figure_of(of: Estimate | None) -> Figure:
    if of is None:
        raise ValueError("a certificate has figures of test tasks, and there are none")
    ends = of.interval
    return Figure(value=of.value, low=None if ends is None else ends.low, high=None if ends is None else ends.high)


def source_of(pool: Pool, directory: RunDirectory) -> Source:
    with directory.records_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    sessions = pool.manifest.sessions
    moments = [moment for one in sessions for moment in (one.began, one.ended) if moment]
    return Source(
        pool_sha256=digest,
        workload_sha256=pool.manifest.workload.sha256,
        began=min(moments, default=""),  # not the first: a clock may have been set back between two sessions
        ended=max(moments, default=""),
    )


def thinking_of(pool: Pool) -> Literal["on", "off", "mixed"]:
    thought = {bool(draw.completion.reasoning) for task in pool.tasks for of in task.draws.values() for draw in of}
    return "mixed" if len(thought) > 1 else "on" if thought == {True} else "off"


def with_route(
    text: str,
    path: Path,
    route: Route,
    plan: Plan,
    further: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    folder: Path | None = None,
) -> str:
    """A config file's text with the route, and the tier that it needs. Comments are kept where its sections are blocks.

    Args:
        text: of the config file.
        path: where the file is.
        route: the certified one.
        plan: the config file.
        further: tiers that the file lacks and the certificate names, as the file would have them.
        folder: of the copy, see `moved`; that of the file if None.

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
    text = moved(text, path, folder or path.parent)
    for name, tier in (further or {}).items():
        text = with_tier(text, name, tier)
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


def tiers_lacking(path: Path, plan: Plan, names: Iterable[str]) -> dict[str, Any]:
    """The tiers of these names that a config file lacks, as another one has them.

    Args:
        path: of the file.
        plan: of the other one.
        names: of tiers; those that neither has are left out.
    """
    if plan.path == path:
        return {}
    own = yaml.safe_load(path.read_text(encoding="utf-8"))["tiers"]
    other = yaml.safe_load(plan.path.read_text(encoding="utf-8"))["tiers"]
    return {name: other[name] for name in names if name in other and name not in own}


def with_tier(text: str, name: str, entry: Mapping[str, Any]) -> str:
    """A config file's text with a further tier. Comments are kept where its section is a block."""
    wanted = yaml.safe_load(text)
    wanted["tiers"][name] = dict(entry)
    changed = _with_entry(text, "tiers", name, entry)
    return changed if _loaded(changed) == wanted else yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)


def with_prices(text: str, path: Path, prices: Mapping[str, Price], folder: Path) -> str:
    """A config file's text with other prices. Comments are kept where they are written as blocks.

    Args:
        text: of the config file.
        path: where the file is.
        prices: of every deployment that has one.
        folder: of the copy, see `moved`.
    """
    text = moved(text, path, folder)
    wanted = yaml.safe_load(text)
    before, now = wanted.get("prices") or {}, msgspec.to_builtins(dict(prices))
    entries = {
        name: {key: value for key, value in one.items() if value or (key == "cached" and value is not None)}
        for name, one in now.items()
    }
    wanted["prices"] = entries
    changed = text
    for name, entry in entries.items():
        if before.get(name) != entry:
            changed = _with_entry(changed, "prices", name, entry)
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


def moved(text: str, path: Path, folder: Path) -> str:
    """A config file's text for a copy in another folder, from which its relative paths lead to the same files.

    Args:
        text: of the config file.
        path: where the file is.
        folder: of the copy.
    """
    return rebased(text, planning.parse(text, path).file, path.parent, folder)


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
