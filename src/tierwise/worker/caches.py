"""KV caches of batches: rows are added and removed, aligned at their last token.

The batching loop handles rows and steps; only this module handles the tensors of layers.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import cache_utils
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer

_MIN_SPARE = 64  # columns

# A layer without tensors, used where layers share a cache. Older releases (5.16) omit such layers.
_EMPTY_LAYERS = (cache_utils.DummyLayer,) if hasattr(cache_utils, "DummyLayer") else ()


class GrowingLayer(DynamicLayer):  # its __init_subclass__ has no types
    """Keys and values of one layer, preallocated: a step writes one column and copies none.

    Transformers' own layer copies all columns at every step. Layers with a sliding window keep all columns and leave
    the window to the mask, so that rows of any length can share a batch.
    """

    def __init__(self, *, is_sliding: bool = False) -> None:
        super().__init__()
        self.is_sliding = is_sliding
        self._all_keys: Tensor | None = None
        self._all_values: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - Transformers' signature
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if self._all_keys is None or self._all_values is None or end > self._all_keys.shape[-2]:
            self._grow(key_states, value_states, end + max(_MIN_SPARE, end // 4))
        assert self._all_keys is not None  # noqa: S101 - for the type checker: `_grow` has made them
        assert self._all_values is not None  # noqa: S101
        self._all_keys[:, :, begin:end] = key_states
        self._all_values[:, :, begin:end] = value_states
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        return self.keys, self.values

    def replace(self, keys: Tensor, values: Tensor) -> None:
        """Replace the contents, without spare capacity."""
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._all_keys, self._all_values = keys, values
        self.keys, self.values = keys, values

    def _grow(self, keys: Tensor, values: Tensor, room: int) -> None:
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        # Zeros, because padding columns get weight 0, and 0 × NaN is NaN.
        new_keys = keys.new_zeros((*keys.shape[:-2], room, keys.shape[-1]))
        new_values = values.new_zeros((*values.shape[:-2], room, values.shape[-1]))
        if self.keys is not None and self.values is not None:
            new_keys[:, :, : self.keys.shape[-2]] = self.keys
            new_values[:, :, : self.values.shape[-2]] = self.values
        self._all_keys, self._all_values = new_keys, new_values


_ROW_BY_ROW = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, *_EMPTY_LAYERS)


def parameter(model: Any) -> str:
    """The parameter of the model's `forward` that takes its cache.

    `cache` since Transformers 5.24, which deprecates `past_key_values` for removal in 5.40; `past_key_values` before
    that, and in a checkpoint's own code.
    """
    names = inspect.signature(model.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def may_join(config: Any) -> bool:
    """Whether independent rows can share a cache of this model, each aligned at its last token.

    False for sparse attention with its own index (GLM's DSA), compressed attention (DeepSeek-V4), and layers that
    combine attention and recurrence: the effect of padding there depends on the model's code.
    """
    return all(type(layer) in _ROW_BY_ROW for layer in DynamicCache(config=config).layers)


def may_crop(config: Any) -> bool:
    """Whether the first columns of a cache are the cache of a prefix; false for recurrent states."""
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer, *_EMPTY_LAYERS) for layer in _layers(config))


def _layers(config: Any) -> list[Any]:
    found: list[Any] = DynamicCache(config=config).layers
    return found


def empty(config: Any) -> DynamicCache:
    """An empty cache for one row; Transformers' own cache if rows cannot share one."""
    cache = DynamicCache(config=config)
    if may_join(config):
        cache.layers = [_growing(layer) for layer in cache.layers]
    return cache


def _growing(layer: Any) -> Any:
    if isinstance(layer, DynamicLayer):
        return GrowingLayer(is_sliding=isinstance(layer, DynamicSlidingWindowLayer))
    return layer


def join(cache: DynamicCache, other: DynamicCache) -> None:
    """Append the rows of `other` to `cache`; shorter rows are padded with zeros on the left."""
    pairs: Iterable[tuple[Any, Any]] = zip(cache.layers, other.layers, strict=True)
    for mine, theirs in pairs:
        match mine:
            case GrowingLayer() if mine.keys is not None and mine.values is not None:
                mine.replace(_stacked(mine.keys, theirs.keys), _stacked(mine.values, theirs.values))
            case LinearAttentionLayer():
                for states, more in (
                    (mine.conv_states, theirs.conv_states),
                    (mine.recurrent_states, theirs.recurrent_states),
                ):
                    for index, state in states.items():
                        if state is not None:
                            states[index] = torch.cat([state, more[index]])


def _stacked(upper: Tensor, lower: Tensor) -> Tensor:
    width = max(upper.shape[-2], lower.shape[-2])
    parts = [pad(part, (0, 0, width - part.shape[-2], 0)) for part in (upper, lower)]
    return torch.cat(parts)


def keep(cache: DynamicCache, rows: Sequence[int], first_column: int) -> None:
    """Keep only these rows, without the columns before `first_column`, which are padding in all of them."""
    for layer in cache.layers:
        match layer:
            case GrowingLayer() if layer.keys is not None and layer.values is not None:
                chosen = torch.tensor(rows, device=layer.keys.device)
                keys, values = layer.keys[:, :, first_column:], layer.values[:, :, first_column:]
                layer.replace(keys.index_select(0, chosen), values.index_select(0, chosen))
            case LinearAttentionLayer():
                layer.reorder_cache(torch.LongTensor(rows))


def part(cache: DynamicCache, row: int, begin: int, end: int) -> DynamicCache:
    """A copy of columns `begin` to `end` of one row; only for caches that can be cropped."""
    found = copy.copy(cache)
    found.layers = []
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            cut = GrowingLayer(is_sliding=layer.is_sliding)
            if layer.keys is not None and layer.values is not None:
                keys, values = (one[row : row + 1, :, begin:end].clone() for one in (layer.keys, layer.values))
                cut.replace(keys, values)
            found.layers.append(cut)
        else:
            found.layers.append(layer)
    return found


def held_bytes(cache: DynamicCache) -> int:
    """Bytes of the keys and values."""
    tensors = [one for layer in cache.layers if isinstance(layer, GrowingLayer) for one in (layer.keys, layer.values)]
    return sum(one.numel() * one.element_size() for one in tensors if one is not None)
