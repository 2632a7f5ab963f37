"""The routers of a mixture of experts: how many experts they choose, changed for a while, and which, written down.

Works on what the routers of Transformers have in common: a forward that returns the gate's numbers for all experts
first and the chosen experts last. Dense models have none, and then `Routers` is empty.
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
class _Router:
    layer: int
    module: Any

    @property
    def dial(self) -> tuple[Any, str]:
        """Where it looks up, in every forward, how many experts to choose. Gemma 4's reads its configuration."""
        if hasattr(self.module, "top_k"):
            return self.module, "top_k"
        return self.module.config, "top_k_experts"

    @property
    def experts(self) -> int:
        return int(getattr(self.module, "num_experts", 0) or self.module.proj.out_features)

    @property
    def most(self) -> int:
        """The experts that it may choose from. Where they stand in groups, only those of the best groups."""
        groups = getattr(self.module, "num_group", None) or 1
        return self.experts // groups * (getattr(self.module, "topk_group", None) or groups)

    def gate(self, numbers: Tensor) -> Tensor:
        """The gate's distribution over all experts, float32 `[tokens, experts]`, from what the router returned."""
        numbers = numbers.float()
        if hasattr(self.module, "per_expert_scale"):  # Gemma 4's returns probabilities
            return numbers
        if hasattr(self.module, "score_fn"):  # DeepSeek-V4's
            scores: Tensor = self.module.score_fn(numbers)
        elif hasattr(self.module, "num_group") and hasattr(self.module, "e_score_correction_bias"):
            scores = numbers.sigmoid()  # DeepSeek-V3's, and those that were made after it
        else:
            return numbers.softmax(-1)
        return scores / scores.sum(-1, keepdim=True).clamp(min=1e-20)


@dataclass(slots=True)
class _Counts:
    """Of one owner so far."""

    chosen: Tensor
    """`[layers, experts]`"""
    entropy: Tensor
    """Summed over tokens, `[layers]`."""
    tokens: int
    active: int


@dataclass(slots=True)
class Record:
    """What the routers did, by owner; it grows from forward to forward."""

    layers: tuple[int, ...]
    _counts: dict[int, _Counts] = field(default_factory=dict)

    @property
    def owners(self) -> tuple[int, ...]:
        return tuple(self._counts)

    def take(self, owner: int) -> Routing | None:
        """All that was counted for this owner, which is forgotten here; None where nothing was."""
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
            self._counts[owner] = _Counts(chosen, entropy, tokens, active)
            return
        known.chosen += chosen
        known.entropy += entropy
        known.tokens += tokens


class Routers:
    """All routers of a model.

    Args:
        model: of Transformers.
    """

    def __init__(self, model: Any) -> None:
        self._routers = [
            _Router(layer=int(found[1]), module=module)
            for name, module in model.named_modules()
            if type(module).__name__.endswith("Router") and (found := _LAYER.search(name))
        ]
        self._lock = threading.RLock()
        self.layers = tuple(router.layer for router in self._routers)
        """Numbers of the layers that are mixtures; none in a dense model."""
        self.experts = self._routers[0].experts if self._routers else 0
        self.most = min((router.most for router in self._routers), default=0)
        """As many experts as may be active."""
        self.default = self.active
        """Experts for each token, as the model was loaded; 0 in a dense one."""
        self.why_not = self._why_not(model)
        """Why the number of active experts may not be changed; empty where it may."""

    @property
    def active(self) -> int:
        """Experts for each token now."""
        if not self._routers:
            return 0
        owner, name = self._routers[0].dial
        return int(getattr(owner, name))

    @property
    def may_change(self) -> bool:
        return not self.why_not

    def refusal(self, active: int) -> str:
        """Why so many experts may not be active; empty where they may."""
        if not self._routers:
            return self.why_not
        if active == self.default:
            return ""
        if self.why_not:
            return self.why_not
        if not 1 <= active <= self.most:
            return f"{active} active experts: a token of this model may have 1 to {self.most}"
        return ""

    @contextmanager
    def using(self, active: int | None) -> Iterator[None]:
        """So many experts for each token while the block runs; the model's own number for None.

        Nobody else may run the model meanwhile: a second block waits for the first one.

        Raises:
            SpecError: the model cannot have so many.
        """
        wanted = self.default if active is None else active
        if active is not None and (reason := self.refusal(active)):
            raise SpecError(reason, field="active_experts")
        with self._lock:
            dials = [router.dial for router in self._routers]
            before = [getattr(owner, name) for owner, name in dials]
            try:
                for owner, name in dials:
                    setattr(owner, name, wanted)
                yield
            finally:
                for (owner, name), value in zip(dials, before, strict=True):
                    setattr(owner, name, value)

    def record(self) -> Record:
        return Record(self.layers)

    @contextmanager
    def recording(self, owner_of_each_token: Tensor, record: Record | None = None) -> Iterator[Record]:
        """Count in `record`, or in a new one, what one forward in this block does.

        Args:
            owner_of_each_token: integers `[rows, tokens]` as the forward gets them: whom a token is counted for, and
                -1 for padding and for tokens that nobody asks about.
            record: of earlier forwards.
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
            return f"{model.config.model_type} is a dense model and has no experts; leave active_experts out"
        if tables := sum(hasattr(router.module, "tid2eid") for router in self._routers):
            return (
                f"{tables} layers of this {model.config.model_type} look experts up in a table made for {self.default} "
                "of them; leave active_experts out"
            )
        return ""


@dataclass(slots=True)
class _Forward:
    """What the hooks see during one forward."""

    tokens: int
    owners: int
    places: Tensor
    """Which owner each token belongs to, as a number from 0."""
    experts: int
    active: int = 0
    seen: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def hook(self, place: int, router: _Router) -> Callable[[Any, Any, Any], None]:
        def count(module: Any, arguments: Any, output: Any) -> None:  # noqa: ARG001 - PyTorch's signature
            numbers, chosen = output[0], output[-1].flatten(0, -2)
            if len(chosen) != self.tokens:
                raise ValueError(f"{len(chosen)} tokens went through a router, and {self.tokens} have owners")
            places = self.places.to(chosen.device)
            self.active = chosen.shape[-1]
            slots = (places[:, None] * self.experts + chosen).reshape(-1)
            counts = torch.bincount(slots, minlength=self.owners * self.experts)
            gate = router.gate(numbers.reshape(self.tokens, -1))
            entropy = torch.special.entr(gate).sum(-1)
            summed = entropy.new_zeros(self.owners).index_add_(0, places, entropy)
            self.seen[place] = counts.cpu(), summed.cpu()

        return count

    def add_to(self, record: Record, owners: Tensor) -> None:
        layers = [self.seen[place] for place in sorted(self.seen)]
        chosen = torch.stack([counts for counts, _ in layers]).view(-1, self.owners, self.experts)
        entropy = torch.stack([entropy for _, entropy in layers])
        tokens = self.places.bincount(minlength=self.owners).tolist()
        for place, owner in enumerate(owners.tolist()):
            if owner >= 0:
                record.add(owner, chosen[:, place].clone(), entropy[:, place].clone(), tokens[place], self.active)
