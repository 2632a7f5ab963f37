"""Writes a small random mixture of experts: FOLDER TOKENIZER_FOLDER PROMPT. Runs in vLLM's interpreter.

Qwen3-MoE, 2 layers of 8 experts of which 2 work on a token; a tokenizer of another checkpoint, with its chat template.
Beside it `said.json`: what Transformers says first to the prompt with 2 and with 4 active experts.
"""

import json
import sys
from pathlib import Path

import torch
from random_weights import SMALL, copy_tokenizer, widen
from transformers import AutoTokenizer, GenerationConfig, Qwen3MoeConfig, Qwen3MoeForCausalLM


def write(folder: Path, tokenizer: Path, prompt: str) -> None:
    torch.manual_seed(0)
    ids = AutoTokenizer.from_pretrained(tokenizer)
    config = Qwen3MoeConfig(
        vocab_size=len(ids),
        num_experts=8,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        moe_intermediate_size=64,
        **SMALL,
    )
    model = Qwen3MoeForCausalLM(config)
    widen(model)
    model.generation_config = GenerationConfig(eos_token_id=ids.eos_token_id)
    model.to(torch.bfloat16).save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    said = {str(active): first_word(folder, ids, prompt, active) for active in (2, 4)}
    (folder / "said.json").write_text(json.dumps(said))


def first_word(folder: Path, ids: AutoTokenizer, prompt: str, active: int) -> float:
    """The log-probability of the likeliest first token, with so many experts at work on each."""
    config = Qwen3MoeConfig.from_pretrained(folder, num_experts_per_tok=active)
    model = Qwen3MoeForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32)
    talk = [{"role": "user", "content": prompt}]
    text = ids.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
    with torch.no_grad():
        logits = model(**ids(text, return_tensors="pt", add_special_tokens=False)).logits[0, -1]
    return logits.log_softmax(-1).max().item()


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
