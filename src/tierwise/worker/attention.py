"""Sparse attention, registered with Transformers by name: windows, and blocks selected by content.

Patterns use a token's position in its own text, never its column in the batch, so padding, caches and chunked prefill
do not change the result. Caches keep all tokens: a pattern saves compute, not memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, and_masks, sdpa_mask

from tierwise.engines.transformers.settings import Attention, Pattern

_CHUNK = 256
"""Queries of a long prompt that are processed together. Columns that no query of a chunk sees are not computed."""


def implementation(attention: Attention) -> str:
    """Its name in Transformers. Registers a `Pattern` under that name."""
    if isinstance(attention, str):
        return attention
    if attention.block is not None and attention.keep is not None:
        name = f"blocks_{attention.block}_{attention.keep}"
        AttentionInterface.register(name, partial(_attend_to_blocks, attention.block, attention.keep))
    else:
        name = f"window_{attention.window}_{attention.sinks}"
        AttentionInterface.register(name, _attend_in_window)
    AttentionMaskInterface.register(name, partial(_mask, attention))
    return name


def why_no_pattern(config: Any) -> str:
    """Why a model with this configuration does not support patterns; empty if it does."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention"}
    if kinds or getattr(text, "sliding_window", None):
        own = ", ".join(sorted(kinds)) or f"a window of {text.sliding_window}"
        return f"patterns need full attention in every layer, and this model has {own}; remove `attention`"
    return ""


def _mask(pattern: Pattern, **kwargs: Any) -> Tensor:
    """Which columns each query sees, bool `[rows, 1, queries, columns]`. Signature of `AttentionMaskInterface`."""
    mask_function = kwargs.pop("mask_function")
    if pattern.window is not None:
        position = _positions(kwargs["attention_mask"], kwargs["kv_length"] + kwargs["kv_offset"])
        mask_function = and_masks(mask_function, _window(pattern.window, pattern.sinks, position))
    kwargs["allow_is_causal_skip"] = False
    mask = sdpa_mask(mask_function=mask_function, **kwargs)
    assert mask is not None  # noqa: S101 - for the type checker: None is returned only with allow_is_causal_skip
    return mask


def _positions(padding: Tensor | None, columns: int) -> Tensor | None:
    """Position of each column in its row's text, `[rows, columns]`; None without padding (position = column)."""
    if padding is None:
        return None
    alive = pad(padding, (0, columns - padding.shape[-1]))
    return alive.long().cumsum(-1) - 1


def _window(width: int, sinks: int, position: Tensor | None) -> Callable[..., Tensor]:
    def sees(row: Tensor, head: Tensor, query: Tensor, column: Tensor) -> Tensor:  # noqa: ARG001 - the interface
        if position is not None:
            query, column = position[row, query], position[row, column]
        near = query - column < width
        return near | (column < sinks) if sinks else near

    return sees


def _attend_in_window(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention over the columns that at least one query sees: with a window, their number is independent of length."""
    answers = []
    for begin in range(0, query.shape[2], _CHUNK):
        mask = attention_mask[:, :, begin : begin + _CHUNK]
        columns = mask.flatten(0, 2).any(0).nonzero().flatten()
        chosen: slice | Tensor = columns
        if len(columns) and int(columns[-1] - columns[0]) + 1 == len(columns):  # a view, not a copy
            chosen = slice(int(columns[0]), int(columns[-1]) + 1)
        answers.append(
            sdpa_attention_forward(
                module,
                query[:, :, begin : begin + _CHUNK],
                key[:, :, chosen],
                value[:, :, chosen],
                mask[..., chosen],
                **kwargs,
            )[0]
        )
    return torch.cat(answers, dim=1), None


def _attend_to_blocks(
    block: int,
    keep: int,
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of each query to its own block and to the `keep` - 1 earlier blocks with the highest scores.

    A block's score is an upper bound of the largest dot product of its keys with the query, from the minimum and
    maximum of its keys in each dimension (Quest, Tang et al., 2024, arXiv 2406.10774, §3.3), summed over the query
    heads that share a key head. Blocks before the query's own are complete, so no future token affects the selection.
    """
    if key.shape[2] <= block * keep:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    key, value, alive, position = _without_padding(key, value, attention_mask, query.shape[2])
    rows, heads, length, _ = key.shape
    shared = query.reshape(rows, heads, -1, *query.shape[2:])  # [rows, heads, group, queries, size]
    least, most = _bounds(key, alive, block)
    answers = []
    for begin in range(0, query.shape[2], _CHUNK):
        part, at = shared[:, :, :, begin : begin + _CHUNK], position[:, begin : begin + _CHUNK]
        score = (part.clamp(min=0) @ most.mT + part.clamp(max=0) @ least.mT).sum(2)  # [rows, heads, queries, blocks]
        number = torch.arange(score.shape[-1], device=key.device)
        own = (at // block)[:, None, :, None]
        score = score.masked_fill(number == own, torch.inf).masked_fill(number > own, -torch.inf)
        chosen = score.topk(min(keep, score.shape[-1])).indices  # [rows, heads, queries, keep]
        if part.shape[3] == 1:
            answer = _one_query(part, key, value, at, chosen[:, :, 0], block, kwargs)
        else:
            sees = torch.zeros_like(score, dtype=torch.bool).scatter_(-1, chosen, value=True)
            sees = sees.repeat_interleave(block, dim=-1)[..., :length]
            sees = sees & (torch.arange(length, device=key.device) <= at[:, None, :, None])
            answer = _attend(part, key, value, sees, kwargs)
        answers.append(answer)
    return torch.cat(answers, dim=1), None


def _without_padding(key: Tensor, value: Tensor, mask: Tensor, queries: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keys and values with each row's text starting at column 0; which columns hold text; the queries' positions."""
    alive = mask[:, 0, -1]  # the last query sees everything except padding
    position = (alive.long().cumsum(-1) - 1)[:, -queries:].clamp(min=0)
    if not bool(alive.all()):
        order = alive.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)
        key, value = (one.gather(2, order[:, None, :, None].expand(one.shape)) for one in (key, value))
        alive = alive.gather(1, order)
    return key, value, alive, position


def _bounds(key: Tensor, alive: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Minimum and maximum of each block's keys, each `[rows, heads, 1, blocks, size]`."""
    key = key.masked_fill(~alive[:, None, :, None], 0)
    full = pad(key, (0, 0, 0, -key.shape[2] % block))
    blocks = full.view(*full.shape[:2], -1, block, full.shape[3])
    return blocks.amin(3)[:, :, None], blocks.amax(3)[:, :, None]


def _one_query(
    query: Tensor, key: Tensor, value: Tensor, at: Tensor, chosen: Tensor, block: int, kwargs: dict[str, Any]
) -> Tensor:
    """Attention of one query per row to its blocks only: a step costs `keep` blocks at any length."""
    columns = (chosen[..., None] * block + torch.arange(block, device=key.device)).flatten(2)  # [rows, heads, columns]
    sees = (columns <= at[:, :, None])[:, :, None]
    columns = columns.clamp(max=key.shape[2] - 1)[..., None]
    key, value = (one.gather(2, columns.expand(-1, -1, -1, one.shape[-1])) for one in (key, value))
    return _attend(query, key, value, sees, kwargs)


def _attend(query: Tensor, key: Tensor, value: Tensor, sees: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Scaled dot-product attention. Heads of a group are treated as queries of their key head, so no key is copied.

    Args:
        query: `[rows, heads, group, queries, size]`.
        key: `[rows, heads, columns, size]`.
        value: `[rows, heads, columns, size]`.
        sees: bool, `[rows, heads, queries, columns]`.
        kwargs: of the attention function; `scaling` is used.

    Returns:
        `[rows, queries, heads × group, size]`.
    """
    rows, heads, group, queries, _ = query.shape
    answer = scaled_dot_product_attention(
        query.flatten(2, 3), key, value, attn_mask=sees.repeat(1, 1, group, 1), scale=kwargs.get("scaling")
    )
    return answer.reshape(rows, heads * group, queries, -1).transpose(1, 2).contiguous()
