"""The routers of a mixture of experts: sets the number of active experts temporarily, and records the selected experts.

Relies on what all routers in Transformers share: their forward returns the gate's values for all experts first, and
the selected experts last. `Routers` is empty for dense models.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tierwise.spec.errors import SpecError
from tierwise.spec.routing import Routing

_LAYER = re.compile(r"layers\.(\d+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _RouterModule:
    layer: int
    module: Any

    @property
    def setting(self) -> tuple[Any, str]:
        """Object and attribute that hold the number of active experts, read in every forward. Gemma 4's router reads
        its configuration.
        """
        if hasattr(self.module, "top_k"):
            return self.module, "top_k"
        return self.module.config, "top_k_experts"

    @property
    def experts(self) -> int:
        return int(getattr(self.module, "num_experts", 0) or self.module.proj.out_features)

    @property
    def max_active(self) -> int:
        """Maximum number of active experts. With expert groups, only those of the selected groups count."""
        groups = getattr(self.module, "num_group", None) or 1
        return self.experts // groups * (getattr(self.module, "topk_group", None) or groups)

    def gate(self, numbers: Tensor) -> Tensor:
        """The gate's distribution over all experts, float32 `[tokens, experts]`, from the router's output."""
        numbers = numbers.float()
        if hasattr(self.module, "per_expert_scale"):  # Gemma 4 returns probabilities
            return numbers
        if hasattr(self.module, "score_fn"):  # DeepSeek-V4
            scores: Tensor = self.module.score_fn(numbers)
        elif hasattr(self.module, "num_group") and hasattr(self.module, "e_score_correction_bias"):
            scores = numbers.sigmoid()  # DeepSeek-V3 and models derived from it
        else:
            return numbers.softmax(-1)
        return scores / scores.sum(-1, keepdim=True).clamp(min=1e-20)


@dataclass(slots=True)
class _RoutingCounts:
    """The counts of one owner so far."""

    chosen: Tensor
    """Tokens per expert, `[layers, experts]`."""
    entropy: Tensor
    """Entropy of the gate in nats, summed over tokens, `[layers]`."""
    tokens: int
    active: int


@dataclass(slots=True)
class RoutingRecord:
    """The routers' selections by owner, accumulated over forwards."""

    layers: tuple[int, ...]
    _counts: dict[int, _RoutingCounts] = field(default_factory=dict)

    @property
    def owners(self) -> tuple[int, ...]:
        return tuple(self._counts)

    def take(self, owner: int) -> Routing | None:
        """Remove and return the counts of an owner; None if there are none."""
        found = self._counts.pop(owner, None)
        if found is None:
            return None
        return Routing(
            source="transformers",
            layers=self.layers,
            counts=found.chosen.tolist(),
            tokens=found.tokens,
            active=found.active,
            entropy=(found.entropy / found.tokens).tolist(),
        )

    def add(self, owner: int, chosen: Tensor, entropy: Tensor, tokens: int, active: int) -> None:
        if (known := self._counts.get(owner)) is None:
            self._counts[owner] = _RoutingCounts(chosen, entropy, tokens, active)
            return
        known.chosen += chosen
        known.entropy += entropy
        known.tokens += tokens


class Routers:
    """All routers of a model.

    Args:
        model: a Transformers model.
    """

    def __init__(self, model: Any) -> None:
        self._routers = [
            _RouterModule(layer=int(found[1]), module=module)
            for name, module in model.named_modules()
            if type(module).__name__.endswith("Router") and (found := _LAYER.search(name))
        ]
        self._lock = threading.RLock()
        self.layers = tuple(router.layer for router in self._routers)
        """Indices of the layers with experts; empty for a dense model."""
        self.experts = self._routers[0].experts if self._routers else 0
        self.max_active = min((router.max_active for router in self._routers), default=0)
        """Maximum number of active experts."""
        self.default = self.active
        """Active experts per token as loaded; 0 for a dense model."""
        self.why_not = self._why_not(model)
        """Why the number of active experts cannot be changed; empty if it can."""

    @property
    def active(self) -> int:
        """Current number of active experts per token."""
        if not self._routers:
            return 0
        owner, name = self._routers[0].setting
        return int(getattr(owner, name))

    @property
    def may_change(self) -> bool:
        return not self.why_not

    def unsupported(self, active: int) -> str:
        """Why this number of active experts is not possible; empty if it is."""
        if not self._routers:
            return self.why_not
        if active == self.default:
            return ""
        if self.why_not:
            return self.why_not
        if not 1 <= active <= self.max_active:
            return f"{active} active experts: this model allows 1 to {self.max_active} per token"
        return ""

    @contextmanager
    def using(self, active: int | None) -> Iterator[None]:
        """Set the number of active experts per token while the block runs; None for the model's own number.

        Blocks are mutually exclusive: a second thread waits until the first block ends.

        Raises:
            SpecError: the model does not allow this number.
        """
        wanted = self.default if active is None else active
        if active is not None and (reason := self.unsupported(active)):
            raise SpecError(reason, field="active_experts")
        with self._lock:
            dials = [router.setting for router in self._routers]
            before = [getattr(owner, name) for owner, name in dials]
            try:
                for owner, name in dials:
                    setattr(owner, name, wanted)
                yield
            finally:
                for (owner, name), value in zip(dials, before, strict=True):
                    setattr(owner, name, value)

    def record(self) -> RoutingRecord:
        return RoutingRecord(self.layers)

    @contextmanager
    def recording(self, owner_of_each_token: Tensor, record: RoutingRecord | None = None) -> Iterator[RoutingRecord]:
        """Count the selected experts of one forward in this block.

        Args:
            owner_of_each_token: integers `[rows, tokens]`, aligned with the forward's input: the owner for which a
                token is counted; -1 for padding and for tokens that are not counted.
            record: where to count; a new record if None.
        """
        record = record or self.record()
        flat = owner_of_each_token.reshape(-1)
        owners, places = torch.unique(flat, return_inverse=True)
        forward = _Forward(len(flat), len(owners), places, self.experts)
        handles = [
            router.module.register_forward_hook(forward.hook(place, router))
            for place, router in enumerate(self._routers)
        ]
        try:
            yield record
        finally:
            for handle in handles:
                handle.remove()
        if len(forward.seen) == len(self._routers) > 0:
            forward.add_to(record, owners)

    def _why_not(self, model: Any) -> str:
        if not self._routers:
            return f"{model.config.model_type} is a dense model and has no experts; remove active_experts"
        if tables := sum(hasattr(router.module, "tid2eid") for router in self._routers):
            return (
                f"{tables} layers of this {model.config.model_type} look experts up in a table made for {self.default} "
                "of them; remove active_experts"
            )
        return ""


@dataclass(slots=True)
class _Forward:
    """The hooks' results during one forward."""

    tokens: int
    owners: int
    places: Tensor
    """Index of each token's owner, `[tokens]`."""
    experts: int
    active: int = 0
    seen: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def hook(self, place: int, router: _RouterModule) -> Callable[[Any, Any, Any], None]:
        def count(module: Any, arguments: Any, output: Any) -> None:  # noqa: ARG001 - PyTorch's signature
            numbers, chosen = output[0], output[-1].flatten(0, -2)
            if len(chosen) != self.tokens:
                raise ValueError(f"{len(chosen)} tokens went through a router, but {self.tokens} have owners")
            places = self.places.to(chosen.device)
            self.active = chosen.shape[-1]
            slots = (places[:, None] * self.experts + chosen).reshape(-1)
            counts = torch.bincount(slots, minlength=self.owners * self.experts)
            gate = router.gate(numbers.reshape(self.tokens, -1))
            entropy = torch.special.entr(gate).sum(-1)
            summed = entropy.new_zeros(self.owners).index_add_(0, places, entropy)
            self.seen[place] = counts.cpu(), summed.cpu()

        return count

    def add_to(self, record: RoutingRecord, owners: Tensor) -> None:
        layers = [self.seen[place] for place in sorted(self.seen)]
        chosen = torch.stack([counts for counts, _ in layers]).view(-1, self.owners, self.experts)
        entropy = torch.stack([entropy for _, entropy in layers])
        tokens = self.places.bincount(minlength=self.owners).tolist()
        for place, owner in enumerate(owners.tolist()):
            if owner >= 0:
                record.add(owner, chosen[:, place].clone(), entropy[:, place].clone(), tokens[place], self.active)
