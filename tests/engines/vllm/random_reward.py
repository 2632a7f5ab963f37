"""Writes a small random reward model: FOLDER TOKENIZER_FOLDER LABELS CONVERSATIONS.json. Runs in vLLM's interpreter.

Qwen3 with a head of so many labels, and a tokenizer of another checkpoint, with its chat template. Beside it
`said.json`: the logits and the number of prompt tokens that Transformers gives each conversation.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForSequenceClassification

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write(folder: Path, tokenizer: Path, labels: int, conversations: list[list[dict[str, str]]]) -> None:
    torch.manual_seed(0)
    ids = AutoTokenizer.from_pretrained(tokenizer)
    config = Qwen3Config(
        vocab_size=len(ids),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        num_labels=labels,
        pad_token_id=ids.pad_token_id or ids.eos_token_id,
        tie_word_embeddings=False,
    )
    model = Qwen3ForSequenceClassification(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:  # as made they are so small that every answer has the same reward
                weight.normal_(0.0, 0.2)
    model.eval().save_pretrained(folder)
    for name in FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
    said = []
    for talk in conversations:
        text = ids.apply_chat_template(talk, tokenize=False)
        tokens = ids(text, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            logits = model(**tokens).logits[0].tolist()
        said.append({"logits": logits, "tokens": tokens["input_ids"].shape[1]})
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), json.loads(Path(sys.argv[4]).read_text()))
