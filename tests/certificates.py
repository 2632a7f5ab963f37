"""Certificates of routes as `tierwise tune` would make them, with figures that were made up."""

from __future__ import annotations

from collections.abc import Mapping

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
from tierwise.plan import Plan
from tierwise.spec.deployed import Deployed


def certificate_for(
    plan: Plan, running: Mapping[str, Deployed] | None = None, *, route: str = "auto", safe: str = "max"
) -> Certificate:
    """A certificate for a route as a plan serves it."""
    half = Figure(value=0.5, low=0.4, high=0.6)
    return Certificate(
        made="2026-11-29T12:00:00+00:00",
        route=route,
        tiers=list(plan.tiers[route].policy.member.tiers()),
        reference=safe,
        safe=safe,
        promise=Promise(kind="harm", limit=0.05, confidence=0.95),
        evidence=Evidence(
            method="exact",
            p_value=0.01,
            losses=3,
            tasks=200,
            units=200,
            risk=0.015,
            bound=0.038,
            order_seed=0,
            hypotheses=9,
            rank=4,
        ),
        confirmed=Confirmation(tasks=100, risk=0.02, bound=0.06),
        figures={route: Figures(points=half, dollars=half, p95_seconds=half)},
        savings=[Saving(against=safe, role="reference", share=half)],
        disagreement=Figure(value=0.1),
        split=Split(seed=0, tuning=200, calibration=200, test=100),
        source=Source(pool_sha256="p", workload_sha256="w", began="2026-11-01", ended="2026-11-02"),
        conditions=conditions_of(plan, route, running),
        alternatives=5,
        thinking="off",
        void_if=["another checkpoint"],
    ).signed()
