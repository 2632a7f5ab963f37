"""Each pattern against a slow and obvious one, on a tiny random model: whatever padding, cache and pieces there are."""

import math

import pytest
import torch
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicCache

from tierwise.engines.transformers.settings import Pattern
from tierwise.worker import caches
from tierwise.worker.attention import implementation, why_no_pattern

WINDOW = Pattern(window=5)
SINKS = Pattern(window=5, sinks=2)
BLOCKS = Pattern(block=4, keep=2)
LENGTHS = (23, 9, 14)


def model_of(attention: str):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config).eval()


def texts():
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(0, 61, (length,), generator=draw) for length in LENGTHS]


def sees(pattern: Pattern, query: int, column: int) -> bool:
    """Of a window; the docstring of `Pattern` in code."""
    return column <= query and (query - column < pattern.window or column < pattern.sinks)


def block_oracle(module, query, key, value, attention_mask, scaling, **kwargs):
    """One text without padding; every head, query and block in turn."""
    _, heads, length, size = query.shape
    group = heads // key.shape[1]
    answer = torch.zeros(1, length, heads, size)
    for kept in range(key.shape[1]):
        mine = range(kept * group, (kept + 1) * group)
        for at in range(length):
            own = at // BLOCKS.block
            promise = {}
            for block in range(own):
                inside = key[0, kept, block * BLOCKS.block : (block + 1) * BLOCKS.block]
                low, high = inside.min(0).values, inside.max(0).values
                promise[block] = sum(torch.maximum(query[0, h, at] * low, query[0, h, at] * high).sum() for h in mine)
            best = sorted(promise, key=promise.__getitem__, reverse=True)[: BLOCKS.keep - 1]
            columns = [column for column in range(at + 1) if column // BLOCKS.block in {own, *best}]
            for head in mine:
                weights = torch.softmax(key[0, kept, columns] @ query[0, head, at] * scaling, dim=0)
                answer[0, at, head] = weights @ value[0, kept, columns]
    return answer, None


def expected(pattern: Pattern, text: torch.Tensor) -> torch.Tensor:
    """Logits of one text alone, in one go."""
    if pattern.block is not None:
        AttentionInterface.register("block_oracle", block_oracle)
        return model_of("block_oracle")(text[None]).logits[0]
    square = [[sees(pattern, query, column) for column in range(len(text))] for query in range(len(text))]
    return model_of("sdpa")(text[None], attention_mask=torch.tensor(square)[None, None]).logits[0]


def padded(rows, side="left"):
    width = max(map(len, rows))
    tokens, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        tokens[index, place], mask[index, place] = row, 1
    return tokens, mask


def positions(mask):
    return (mask.cumsum(-1) - 1).clamp(min=0)


def same(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.fixture(params=[WINDOW, SINKS, BLOCKS], ids=["window", "sinks", "blocks"])
def pattern(request):
    with torch.inference_mode():
        yield request.param


def test_a_text_alone_sees_what_the_pattern_says(pattern):
    for text in texts():
        same(model_of(implementation(pattern))(text[None]).logits[0], expected(pattern, text))


def test_a_pattern_that_holds_the_whole_text_changes_nothing():
    text = texts()[0]
    for pattern in (Pattern(window=23), Pattern(window=3, sinks=23), Pattern(block=4, keep=6)):
        same(model_of(implementation(pattern))(text[None]).logits, model_of("sdpa")(text[None]).logits)


def test_a_pattern_matters(pattern):
    text = texts()[0]
    found, full = (model_of(name)(text[None]).logits[0, -1] for name in (implementation(pattern), "sdpa"))
    assert (found - full).abs().max() > 0.01


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(pattern, side):
    tokens, mask = padded(texts(), side)
    found = model_of(implementation(pattern))(tokens, attention_mask=mask, position_ids=positions(mask)).logits
    for row, text in enumerate(texts()):
        same(found[row][mask[row].bool()], expected(pattern, text))


def test_pieces_and_single_steps_through_a_cache_change_nothing(pattern):
    tokens, mask = padded(texts())
    model, cache, found, begin = model_of(implementation(pattern)), DynamicCache(), [], 0
    for piece in (7, 6, *[1] * 10):
        end = begin + piece
        found.append(
            model(
                tokens[:, begin:end],
                attention_mask=mask[:, :end],
                position_ids=positions(mask)[:, begin:end],
                **{caches.parameter(model): cache},
            ).logits
        )
        begin = end
    logits = torch.cat(found, dim=1)
    assert not logits.isnan().any()
    for row, text in enumerate(texts()):
        same(logits[row][mask[row].bool()], expected(pattern, text))


def test_a_prompt_longer_than_a_piece_of_queries(pattern):
    text = torch.randint(0, 61, (600,), generator=torch.Generator().manual_seed(2))
    model = model_of(implementation(pattern))
    cache = DynamicCache()
    whole = model(text[None]).logits[0]
    parts = [model(part[None], **{caches.parameter(model): cache}).logits[0] for part in text.split(150)]
    same(torch.cat(parts), whole)


def test_generate_goes_on_as_without_a_cache(pattern):
    tokens, mask = padded(texts())
    model = model_of(implementation(pattern))
    how = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    assert torch.equal(model.generate(tokens, **how), model.generate(tokens, use_cache=False, **how))


def test_models_with_windows_of_their_own_take_no_pattern():
    config = LlamaConfig()
    assert not why_no_pattern(config)
    config.layer_types = ["sliding_attention", "full_attention"]
    assert "sliding_attention" in why_no_pattern(config)


def test_the_oracle_is_attention_where_all_blocks_are_kept():
    weights = torch.softmax(torch.tensor([0.0, math.log(3)]), dim=0)
    query = torch.tensor([[[[0.0], [1.0]]]])
    key, value = torch.tensor([[[[0.0], [math.log(3)]]]]), torch.tensor([[[[1.0], [5.0]]]])
    found, _ = block_oracle(None, query, key, value, None, scaling=1.0)
    assert found[0, 1, 0, 0] == pytest.approx(float(weights @ torch.tensor([1.0, 5.0])))
