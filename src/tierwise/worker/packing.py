"""Linear layers in the order of bytes that the processor's matrix kernels want, instead of anew at every step.

Measured on two cores (AVX-512 with bfloat16), one row through SmolLM2's layers: 84 against 163 µs for 576 → 576, 5.1
against 8.0 ms for the output over 49 152 tokens. PyTorch's compiler does the same when it freezes a model, and takes
minutes for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROWS = 8
"""For so many rows the order is chosen; it serves any number."""


class PackedLinear(torch.nn.Module):
    """Stands where a `torch.nn.Linear` stood.

    Its `weight` says type and shape and holds nothing: code that computes with it directly fails, and never goes wrong.
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
    """Replace the model's plain linear layers in bfloat16 on the processor; returns how many."""
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
    """Whether somebody has changed what it does: Accelerate's hooks fetch weights from elsewhere."""
    return hasattr(module, "_hf_hook") or bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001
