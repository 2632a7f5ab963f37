"""A certified route over scripted engines that is observed, on a frozen clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from certificates import certificate_for
from tierwise import plan as planning
from tierwise.certificate import Certificate, Figure, Promise
from tierwise.engines.engine import Deployment, Engine
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Record
from tierwise.policies import Cascade, Policy, Single
from tierwise.policies.acceptance import CascadeSignal
from tierwise.router import Router
from tierwise.router.certified import CertifiedRoute, CertifiedRoutes
from tierwise.run import Action, Tier
from tierwise.service import new_trace
from tierwise.shadowing import Answered, ShadowedRoute, Shadows
from tierwise.shadowing.memory import KeptTexts, ShadowMemory
from tierwise.spec.prompt import Prompt
from tierwise.spec.shadow import Shadow
from tierwise.testing import ScriptedEngine, ask_user
from tierwise.verifiers.verifier import Verifier

CONFIG = """
deployments: {small: {engine: http, url: "http://127.0.0.1:1/v1", model: m}}
tiers:
  fast: {deployment: small, policy: single}
  max: {deployment: small, policy: single}
routes: {auto: {cascade: [fast, max], signals: [{length: 5}]}}
"""


def certificate(
    kind: str = "harm", *, limit: float = 0.05, disagreement: Figure | None = None, labels: str = "check"
) -> Certificate:
    plan = planning.parse(CONFIG, Path("tierwise.yaml"))
    made = certificate_for(plan)
    promise: Any = Promise(kind=kind, limit=limit, confidence=0.95, labels=labels)  # type: ignore[arg-type]
    rate = disagreement or Figure(value=0.04, high=0.05)
    return msgspec.structs.replace(made, promise=promise, disagreement=rate).signed()


@dataclass
class Scene:
    """`auto` keeps the answers of `fast` that are at most five words long, and asks `max` for the others.

    Attributes:
        cheap: what `fast` says.
        dear: what `max` says.
        records: of the shadows.
    """

    cheap: Engine = field(default_factory=lambda: ScriptedEngine("4"))
    dear: Engine = field(default_factory=lambda: ScriptedEngine("4"))
    reference: Policy = field(default_factory=Single)
    slots: int = 64
    share: float = 1.0
    keep_days: int = 0
    tool_turns: Any = "reference"
    wait_for: Any = "free_slot"
    label_days: int = 0
    certificate: Certificate = field(default_factory=certificate)
    memory: Path | None = None
    texts: Path | None = None
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.small = small = Deployment(name="small", engine=self.cheap, slots=64)
        self.large = Deployment(name="large", engine=self.dear, slots=self.slots)
        route = Cascade(ladder=("fast", "max"), signals=(CascadeSignal(length=5),))
        tiers = (
            Tier(name="fast", deployment=small, policy=Single()),
            Tier(name="max", deployment=self.large, policy=self.reference),
            Tier(name="auto", deployment=self.large, policy=route),
        )
        certified = CertifiedRoutes({"auto": CertifiedRoute(certificate=self.certificate.sha256, safe="max")})
        self.router = Router(tiers={one.name: one for one in tiers}, certified=certified)
        self.restart()

    def restart(self) -> None:
        """Observe as after a restart of the endpoint."""
        settings = Shadow(
            share=self.share,
            keep_days=self.keep_days,
            tool_turns=self.tool_turns,
            wait_for=self.wait_for,
            label_days=self.label_days,
        )
        routes = {"auto": ShadowedRoute(certificate=self.certificate, settings=settings)}
        self.shadows = Shadows(
            routes,
            self.router,
            PriceBook({}),
            new_trace,
            memory=ShadowMemory(self.memory),
            texts=KeptTexts(self.texts),
            chance=iter_chance(),
        )
        self.shadows.record = self.records.append
        self.router.certified.hold("auto")

    @property
    def state(self) -> Any:
        """Of the certificate."""
        return self.router.certified.state("auto")

    async def ask(self, text: str = "2+2?", *, verifier: Verifier | None = None, **fields: Any) -> Answered:
        """A user's action, as the gateway runs and offers it."""
        return await self.answered(ask_user(text, **fields), verifier)

    async def answered(self, prompt: Prompt, verifier: Verifier | None = None, **more: Any) -> Answered:
        trace = new_trace()
        tier = self.shadows.tier_for(self.router.route("auto"), prompt)
        action = Action(tier, trace, tiers=self.router.serving, verifier=verifier)
        answer = await action.solve(prompt)
        one = Answered(
            route="auto",
            action=trace.action,
            prompt=prompt,
            answer=answer,
            passes=trace.passes,
            verifier=verifier,
            **more,
        )
        self.shadows.offer(one)
        return one

    async def settle(self) -> None:
        """Wait until everything that was offered is observed."""
        await until(lambda: not self.shadows.is_busy)

    def outcomes(
        self, of: Sequence[str] = ("agreed", "differed", "own", "failed", "yielded", "dropped", "lost")
    ) -> dict[str, int]:
        return {one: count for one in of if (count := self.shadows.counts["auto", one])}  # type: ignore[index]


async def until(predicate: Callable[[], object]) -> None:
    """Wait until something is true."""
    for _ in range(10_000_000):
        if predicate():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came true")


def iter_chance() -> Any:
    """Chances 0, .01, .02 … .99 in turn."""
    state = {"next": -1}

    def chance() -> float:
        state["next"] = (state["next"] + 1) % 100
        return state["next"] / 100

    return chance
