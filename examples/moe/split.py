"""Turns SmolLM2-135M, a dense model, into a real mixture of experts without any training:

    python examples/moe/split.py SMOLLM2.gguf FOLDER

Each feed-forward block is cut into one shared expert (the neurons that are always on) and eight routed ones (neurons
that fire together), with a router fitted by least squares to what each expert adds to the output. The result is a
`qwen2_moe` checkpoint that Transformers, vLLM and others load. With all experts active it is the dense model, to
rounding; with fewer it loses what they would have added. It prints the perplexity of both, held out, with 95 %
intervals over windows; that of a ratio is paired. Windows are other files of the same library, and speak for no others.

The weights of a sum: Qwen2-MoE multiplies each expert by its gate's softmax and the shared one by a sigmoid. Logits
near zero make these 1/8 and 1/2 for all, and the down projections are scaled by 8 and 2 to undo it. So the order of the
logits chooses experts, and their size weighs nothing.
"""

from __future__ import annotations

import argparse
import math
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2MoeConfig, Qwen2MoeForCausalLM

from tierwise.stats.estimates import mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

EXPERTS = 8
SHARED = 512
"""Neurons of the shared expert, of 1,536; the others are shared out evenly."""

LOGITS = 1e-4
"""The size of the router's logits: it orders experts and hardly weighs them."""

WINDOW = 1024
"""Tokens that are read at a time."""


def main() -> None:
    """Split, save, and say what it costs at each number of active experts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="SmolLM2-135M as GGUF, from `tierwise pull examples/quickstart.yaml`")
    parser.add_argument("folder", type=Path, help="where the checkpoint goes")
    parser.add_argument("--calibration", type=int, default=8, help=f"windows of {WINDOW} tokens to fit on")
    parser.add_argument("--held-out", type=int, default=4, help="windows to measure perplexity on")
    asked = parser.parse_args()
    if asked.folder.exists() and any(asked.folder.iterdir()):
        parser.error(f"{asked.folder} is not empty; give a new folder")
    torch.manual_seed(0)
    where = {"pretrained_model_name_or_path": asked.model.parent, "gguf_file": asked.model.name}
    dense = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(**where)
    windows = list(read(tokenizer, asked.calibration + asked.held_out))
    calibration, held_out = windows[: asked.calibration], windows[asked.calibration :]
    began = time.monotonic()
    sparse = split(dense, calibration)
    print(f"split {len(sparse.model.layers)} blocks in {time.monotonic() - began:.0f} s")
    whole = losses(dense, held_out)
    print(f"dense: perplexity {powered(whole)} on {len(held_out)} windows of {WINDOW} tokens")
    for active in range(EXPERTS, EXPERTS // 2 - 1, -1):
        for layer in sparse.model.layers:
            layer.mlp.gate.top_k = active
        fewer = losses(sparse, held_out)
        change = powered([one - other for one, other in zip(fewer, whole, strict=True)])
        print(f"{active} of {EXPERTS} experts: perplexity {powered(fewer)}, × {change} of the dense model's")
    sparse.to(torch.bfloat16).save_pretrained(asked.folder)
    tokenizer.save_pretrained(asked.folder)
    print(f"saved in {asked.folder}")


def read(tokenizer: Callable[..., dict[str, list[int]]], count: int) -> Iterator[Tensor]:
    """Windows of tokens from what every Python carries: its library's sources and its licence; 1 × WINDOW each."""
    library = Path(sysconfig.get_path("stdlib"))
    files = [library / "LICENSE.txt", *sorted(library.glob("*.py"))]
    found = 0
    for path in files:
        if not path.exists() or found >= count:
            continue
        tokens = tokenizer(path.read_text(encoding="utf-8")[:20_000])["input_ids"][:WINDOW]
        if len(tokens) == WINDOW:
            found += 1
            yield torch.tensor([tokens])


@torch.no_grad()
def split(dense: nn.Module, calibration: list[Tensor]) -> Qwen2MoeForCausalLM:
    """The mixture. Everything but the feed-forward blocks is copied."""
    config = dense.config
    routed = (config.intermediate_size - SHARED) // EXPERTS
    sparse = Qwen2MoeForCausalLM(
        Qwen2MoeConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            max_position_embeddings=config.max_position_embeddings,
            rms_norm_eps=config.rms_norm_eps,
            rope_parameters=config.rope_parameters,
            tie_word_embeddings=config.tie_word_embeddings,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            moe_intermediate_size=routed,
            shared_expert_intermediate_size=SHARED,
            num_experts=EXPERTS,
            num_experts_per_tok=EXPERTS,
            norm_topk_prob=False,
            qkv_bias=False,
        )
    ).eval()
    missing, _ = sparse.load_state_dict(dense.state_dict(), strict=False)
    assert all(".mlp." in name for name in missing), missing
    seen = inputs_of_blocks(dense, calibration)
    for layer, source, inputs in zip(sparse.model.layers, dense.model.layers, seen, strict=True):
        split_block(source.mlp, layer.mlp, inputs)
    return sparse


def inputs_of_blocks(model: nn.Module, windows: list[Tensor]) -> list[Tensor]:
    """What each feed-forward block was given: tokens × hidden."""
    seen: list[list[Tensor]] = [[] for _ in model.model.layers]
    hooks = [
        layer.mlp.register_forward_hook(lambda _, given, __, kept=kept: kept.append(given[0][0]))
        for layer, kept in zip(model.model.layers, seen, strict=True)
    ]
    for window in windows:
        model(window, use_cache=False)
    for hook in hooks:
        hook.remove()
    return [torch.cat(kept) for kept in seen]


def split_block(dense: nn.Module, sparse: nn.Module, inputs: Tensor) -> None:
    """Move the neurons of a dense block into the experts of a sparse one, and fit its router."""
    gate, up, down = (part.weight for part in (dense.gate_proj, dense.up_proj, dense.down_proj))
    fired = torch.nn.functional.silu(inputs @ gate.T) * (inputs @ up.T)  # tokens × neurons
    added = fired.abs() * down.norm(dim=0)
    order = added.mean(0).argsort(descending=True)
    shared, rest = order[:SHARED].sort().values, order[SHARED:].sort().values
    groups = together(added[:, rest])

    sparse.shared_expert.gate_proj.weight.copy_(gate[shared])
    sparse.shared_expert.up_proj.weight.copy_(up[shared])
    sparse.shared_expert.down_proj.weight.copy_(2 * down[:, shared])
    sparse.shared_expert_gate.weight.zero_()
    gains = []
    for expert, group in enumerate(groups):
        neurons = rest[group]
        sparse.experts.gate_up_proj[expert].copy_(torch.cat([gate[neurons], up[neurons]]))
        sparse.experts.down_proj[expert].copy_(EXPERTS * down[:, neurons])
        gains.append((fired[:, neurons] @ down[:, neurons].T).norm(dim=1))
    wanted = torch.stack(gains, dim=1)
    wanted = (wanted - wanted.mean(0)) / wanted.std() + wanted.mean(0) / wanted.std()
    ridge = 1e-3 * inputs.square().mean() * len(inputs) * torch.eye(inputs.shape[1])
    weight = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ wanted).T
    sparse.gate.weight.copy_(LOGITS * weight)


def together(added: Tensor, rounds: int = 12) -> list[Tensor]:
    """Groups of equal size of neurons that add to the output at the same tokens: balanced k-means on correlations.

    Args:
        added: tokens × neurons.
        rounds: of assigning and averaging.
    """
    added = added[torch.randperm(len(added))[:2048]]  # more tokens move no neuron, and cost seconds in every layer
    standard = (added - added.mean(0)) / (added.std(0) + 1e-9)
    points = torch.nn.functional.normalize(standard.T, dim=1)  # neurons × tokens
    size = len(points) // EXPERTS
    centres = points[torch.randperm(len(points))[:EXPERTS]]
    for _ in range(rounds):
        likeness = points @ centres.T
        owner = torch.full((len(points),), -1)
        room = [size] * EXPERTS
        # The most decided first: by how much its best centre beats its second.
        best = likeness.topk(2, dim=1).values
        wishes = likeness.argsort(descending=True).tolist()
        for neuron in (best[:, 0] - best[:, 1]).argsort(descending=True).tolist():
            for expert in wishes[neuron]:
                if room[expert]:
                    owner[neuron] = expert
                    room[expert] -= 1
                    break
        centres = torch.nn.functional.normalize(
            torch.stack([points[owner == expert].mean(0) for expert in range(EXPERTS)]), dim=1
        )
    return [(owner == expert).nonzero().flatten() for expert in range(EXPERTS)]


@torch.no_grad()
def losses(model: nn.Module, windows: list[Tensor]) -> list[float]:
    """Nats of a token, the mean over each window."""
    return [model(window, labels=window, use_cache=False).loss.item() for window in windows]


def powered(nats: list[float]) -> str:
    """The exponential of a mean over windows, with its interval."""
    found = mean(nats)
    if found is None or found.interval is None or found.interval.high is None:
        return f"{math.exp(sum(nats) / len(nats)):.4g} (no interval)"
    return f"{math.exp(found.value):.4g} [{math.exp(found.interval.low):.4g}, {math.exp(found.interval.high):.4g}]"


if __name__ == "__main__":
    main()
