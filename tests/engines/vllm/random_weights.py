"""What the programs that write random checkpoints share. They run in vLLM's interpreter."""

import shutil
from pathlib import Path

import torch

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}
"""The configuration of a Qwen3, besides its vocabulary and its head."""


def widen(model: torch.nn.Module) -> None:
    """Draw the weights anew. As made they are so small that the model says the same to everything."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.2)


def copy_tokenizer(tokenizer: Path, folder: Path) -> None:
    """Copy the tokenizer of another checkpoint, with its chat template."""
    for name in FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
