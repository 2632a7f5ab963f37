"""Caches whose rows come and go: passes side by side in one cache of Transformers, aligned at their last token.

Apart from the loop that runs the model, which knows rows and steps, and no tensors of layers.
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

_LEAST_ROOM = 64  # columns

# A layer that holds nothing, as where layers share a cache. Older releases (5.16) leave such layers out.
_EMPTY_LAYERS = (cache_utils.DummyLayer,) if hasattr(cache_utils, "DummyLayer") else ()


class Columns(DynamicLayer):  # its __init_subclass__ has no types
    """Keys and values of one layer, with room for more: a step writes one column and copies none.

    Transformers' own layer copies all of them at every step. A window is kept whole: what lies outside of it is left
    to the mask, so that rows of any length can join.
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
            self._grow(key_states, value_states, end + max(_LEAST_ROOM, end // 4))
        assert self._all_keys is not None  # noqa: S101 - for the type checker: `_grow` has made them
        assert self._all_values is not None  # noqa: S101
        self._all_keys[:, :, begin:end] = key_states
        self._all_values[:, :, begin:end] = value_states
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        return self.keys, self.values

    def replace(self, keys: Tensor, values: Tensor) -> None:
        """Hold these instead, and no room."""
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._all_keys, self._all_values = keys, values
        self.keys, self.values = keys, values

    def _grow(self, keys: Tensor, values: Tensor, room: int) -> None:
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        # Zeros, since a mask lets the columns of a padding through with weight 0, and 0 × NaN is NaN.
        new_keys = keys.new_zeros((*keys.shape[:-2], room, keys.shape[-1]))
        new_values = values.new_zeros((*values.shape[:-2], room, values.shape[-1]))
        if self.keys is not None and self.values is not None:
            new_keys[:, :, : self.keys.shape[-2]] = self.keys
            new_values[:, :, : self.values.shape[-2]] = self.values
        self._all_keys, self._all_values = new_keys, new_values


_ROW_BY_ROW = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, *_EMPTY_LAYERS)


def parameter(model: Any) -> str:
    """The name under which the model's `forward` takes its cache.

    `cache` since Transformers 5.24, which warns of `past_key_values` and says that 5.40 removes it; `past_key_values`
    before that, and in a checkpoint's own code.
    """
    names = inspect.signature(model.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def may_join(config: Any) -> bool:
    """Whether this model's caches hold rows that know nothing of each other, each aligned at its last token.

    Not those of sparse attention with an index of its own (GLM's DSA), of compressed attention (DeepSeek-V4), or of
    layers that are attention and recurrence in one: what padding does there, only their own code knows.
    """
    return all(type(layer) in _ROW_BY_ROW for layer in DynamicCache(config=config).layers)


def may_crop(config: Any) -> bool:
    """Whether a prefix of a cache is the cache of a prefix: not where a state has taken everything in."""
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer, *_EMPTY_LAYERS) for layer in _layers(config))


def _layers(config: Any) -> list[Any]:
    found: list[Any] = DynamicCache(config=config).layers
    return found


def empty(config: Any) -> DynamicCache:
    """For one row; the model's own kind of cache where rows may not join."""
    cache = DynamicCache(config=config)
    if may_join(config):
        cache.layers = [_growing(layer) for layer in cache.layers]
    return cache


def _growing(layer: Any) -> Any:
    if isinstance(layer, DynamicLayer):
        return Columns(is_sliding=isinstance(layer, DynamicSlidingWindowLayer))
    return layer


def join(cache: DynamicCache, other: DynamicCache) -> None:
    """Add the rows of `other` below those of `cache`; the shorter ones get columns of zeros in front."""
    pairs: Iterable[tuple[Any, Any]] = zip(cache.layers, other.layers, strict=True)
    for mine, theirs in pairs:
        match mine:
            case Columns() if mine.keys is not None and mine.values is not None:
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
    """Hold only these rows, without the columns before `first_column`, which are padding for all of them."""
    for layer in cache.layers:
        match layer:
            case Columns() if layer.keys is not None and layer.values is not None:
                chosen = torch.tensor(rows, device=layer.keys.device)
                keys, values = layer.keys[:, :, first_column:], layer.values[:, :, first_column:]
                layer.replace(keys.index_select(0, chosen), values.index_select(0, chosen))
            case LinearAttentionLayer():
                layer.reorder_cache(torch.LongTensor(rows))


def part(cache: DynamicCache, row: int, begin: int, end: int) -> DynamicCache:
    """A copy of one row's columns; only for caches that may be cropped."""
    found = copy.copy(cache)
    found.layers = []
    for layer in cache.layers:
        if isinstance(layer, Columns):
            cut = Columns(is_sliding=layer.is_sliding)
            if layer.keys is not None and layer.values is not None:
                keys, values = (one[row : row + 1, :, begin:end].clone() for one in (layer.keys, layer.values))
                cut.replace(keys, values)
            found.layers.append(cut)
        else:
            found.layers.append(layer)
    return found


def held_bytes(cache: DynamicCache) -> int:
    """Memory of the keys and values."""
    tensors = [one for layer in cache.layers if isinstance(layer, Columns) for one in (layer.keys, layer.values)]
    return sum(one.numel() * one.element_size() for one in tensors if one is not None)
