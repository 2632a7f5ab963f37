"""Writes a small random reward model: FOLDER TOKENIZER_FOLDER LABELS CONVERSATIONS.json. Runs in vLLM's interpreter.

Qwen3 with a head of so many labels, and a tokenizer of another checkpoint, with its chat template. Beside it
`said.json`: the logits and the number of prompt tokens that Transformers gives each conversation.
"""

import json
import sys
from pathlib import Path

import torch
from random_weights import SMALL, copy_tokenizer, widen
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForSequenceClassification


def write(folder: Path, tokenizer: Path, labels: int, conversations: list[list[dict[str, str]]]) -> None:
    torch.manual_seed(0)
    ids = AutoTokenizer.from_pretrained(tokenizer)
    config = Qwen3Config(
        vocab_size=len(ids),
        num_labels=labels,
        pad_token_id=ids.pad_token_id or ids.eos_token_id,
        **SMALL,
    )
    model = Qwen3ForSequenceClassification(config)
    widen(model)
    model.eval().save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
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
