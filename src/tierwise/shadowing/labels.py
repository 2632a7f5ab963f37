"""Labels that come after the answer: which actions wait for them, and what a label says of the promised loss.

An action waits while nothing tells its promised loss. The detectors see all actions in the order in which they were
observed, so one that waits holds up those behind it: a complaint comes sooner than praise, and if losses were counted
as labels come, it would be the complaints that are counted first. An action that waits for too long counts with the
least loss that its labels allow. So neither who labels what, nor when, can raise a false alarm.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tierwise.certificate import PromiseKind

AnswerName = Literal["served", "reference"]
"""Whose answer a label is about: the one that the user got, or the reference tier's to the same prompt."""
MOST_UNSETTLED = 5_000
"""Actions of a route that wait for labels, those behind them included, at most."""


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether one answer is right, as `POST /v1/feedback` takes it."""

    action: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """The id of the user's action: the answer's `id`."""
    correct: bool
    answer: AnswerName = "served"


class Labels(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of whether the two answers of an action are right."""

    served: bool | None = None
    reference: bool | None = None

    def of(self, answer: AnswerName) -> bool | None:
        """The label of one of the answers."""
        return self.served if answer == "served" else self.reference

    def plus(self, given: Label) -> Labels:
        """With one label more."""
        return msgspec.structs.replace(self, **{given.answer: given.correct})

    def loss(self, kind: PromiseKind, *, differs: bool = True) -> float | None:
        """The promised loss; None if these labels do not tell it.

        Args:
            kind: of the promise.
            differs: whether the answers differ. Those that do not are both right or both wrong.
        """
        served, reference = self.served, self.reference
        match kind:
            case "harm" | "net" if not differs:
                return 0.5 if kind == "net" else 0.0
            case "harm":
                if served or reference is False:
                    return 0.0
                return None if served is None or reference is None else 1.0
            case "net":
                return None if served is None or reference is None else (1 + reference - served) / 2
            case "selective":
                return None if served is None else float(not served)

    def least(self, kind: PromiseKind) -> float:
        """The smallest loss that these labels allow, if the answers differ."""
        known = self.loss(kind)
        if known is not None:
            return known
        return 0.5 if kind == "net" and (self.served is False or self.reference) else 0.0

    def needed(self, kind: PromiseKind) -> tuple[AnswerName, ...]:
        """The answers that must be labelled before the loss of an action is known, if its answers differ."""
        if self.loss(kind) is not None:
            return ()
        wanted: tuple[AnswerName, ...] = ("served",) if kind == "selective" else ("served", "reference")
        return tuple(one for one in wanted if self.of(one) is None)


class Unsettled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An observed action whose loss is not counted yet, as stored: ids and no texts."""

    action: str
    at: float
    """When it was observed, in seconds since 1970."""
    shadow: str = ""
    """The action that asked the reference tier."""
    key: str = ""
    """Id of the stored key that asked; empty without one."""
    team: str = ""
    loss: float | None = None
    """Known, but it is not its turn; None while it waits for labels."""
    labels: Labels = Labels()
