"""Writes a GGUF file's weights as a safetensors folder, for engines that load no GGUF: vLLM, SGLang.

    python examples/dequantize.py MODEL.gguf FOLDER [--dtype bfloat16]

The quantization's loss stays; its saving of memory goes. Needs `pip install transformers torch accelerate gguf`, and
memory for the weights in the chosen dtype.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def dequantize(source: Path, folder: Path, dtype: str = "bfloat16") -> None:
    """Write weights, config, tokenizer and chat template of `source` to `folder`, which must be new or empty."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything that is needed is in the file
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # its advice about packed weights is for those who run them
    logging.disable_progress_bar()
    where, name = str(source.parent), source.name
    loaded = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=getattr(torch, dtype))
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    # A model that came from GGUF refuses save_pretrained, so its tensors move into one that did not.
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    plain.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("source", type=Path, metavar="MODEL.gguf")
    arguments.add_argument("folder", type=Path, metavar="FOLDER", help="new or empty")
    arguments.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    asked = arguments.parse_args()
    if not asked.source.is_file():
        sys.exit(f"dequantize: there is no file {asked.source}")
    if asked.source.open("rb").read(4) != b"GGUF":
        sys.exit(f"dequantize: {asked.source} is not a GGUF file")
    if asked.folder.exists() and (not asked.folder.is_dir() or any(asked.folder.iterdir())):
        sys.exit(f"dequantize: {asked.folder} is not empty; name a new folder")
    dequantize(asked.source.absolute(), asked.folder, asked.dtype)
    held = sum(file.stat().st_size for file in asked.folder.glob("*.safetensors"))
    print(f"{asked.folder}: {held / 1e6:.0f} MB of weights in {asked.dtype}")


if __name__ == "__main__":
    main()
