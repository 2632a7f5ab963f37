"""Counts the choices that routers made, from the arrays in which servers send them: no numpy, since it is not there in
a plain installation.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tierwise.spec.routing import Routing

if TYPE_CHECKING:
    from collections.abc import Sequence


def counted(
    values: memoryview[int], shape: tuple[int, int, int], *, source: str, experts: int | None = None
) -> Routing | None:
    """How often each expert of each layer was chosen.

    A dense layer stands there as zeros, which no router can choose where it chooses several; such layers are left out.

    Args:
        values: numbers of experts, in the order of `shape`.
        shape: tokens × layers × experts chosen, all layers of the model.
        source: the engine that told.
        experts: of each layer; as many as were seen where it is not given.

    Returns:
        None where no token was routed.
    """
    tokens, layers, active = shape
    if not tokens or not layers or not active:
        return None
    seen = [_layer(values, layer, layers, active) for layer in range(layers)]
    routed: Sequence[int] = [layer for layer in range(layers) if active == 1 or seen[layer][0] != tokens * active]
    width = max([experts or 0, *(1 + max(seen[layer]) for layer in routed)])
    return Routing(
        source=source,
        layers=routed,
        counts=[[seen[layer][expert] for expert in range(width)] for layer in routed],
        tokens=tokens,
        active=active,
    )


def _layer(values: memoryview[int], layer: int, layers: int, active: int) -> Counter[int]:
    # Stepping through the buffer counts in C; one number at a time takes ten times as long.
    return sum(
        (Counter(values[layer * active + slot :: layers * active].tolist()) for slot in range(active)), Counter()
    )
