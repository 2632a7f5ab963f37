"""Packs the weights of linear layers once, in the layout of the CPU's matrix kernels, instead of at every step.

Measured on two cores (AVX-512 with bfloat16), one row through SmolLM2's layers: 84 µs instead of 163 µs for 576 → 576,
5.1 ms instead of 8.0 ms for the output layer over 49,152 tokens. PyTorch's compiler does the same when it freezes a
model, but takes minutes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROWS = 8
"""Number of rows for which the layout is optimized; it works for any number."""


class PackedLinear(torch.nn.Module):
    """Replaces a `torch.nn.Linear`.

    Its `weight` is a meta tensor with the right type and shape, so code that computes with it directly raises an error
    instead of using wrong values.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = torch.empty_like(weight, device="meta")
        bias: Tensor | None = linear.bias
        self.bias = None if bias is None else bias.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)  # noqa: SLF001 - it has no public name

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self.bias, "none", [], "")  # noqa: SLF001
        return found


def pack(model: Any) -> int:
    """Replace the model's plain bfloat16 linear layers on the CPU; returns their number."""
    has_kernels = torch.backends.mkldnn.is_available()
    if not (has_kernels and torch.ops.mkldnn._is_mkldnn_bf16_supported()):  # noqa: SLF001
        return 0
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is torch.nn.Linear and child.weight.dtype is torch.bfloat16 and child.weight.device.type == "cpu"
    ]
    with torch.inference_mode():
        for parent, name, child in found:
            if not _is_hooked(child):
                setattr(parent, name, PackedLinear(child))
    return len(found)


def _is_hooked(module: torch.nn.Module) -> bool:
    """Whether the module has hooks, such as Accelerate's, which load weights from elsewhere."""
    return hasattr(module, "_hf_hook") or bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001
