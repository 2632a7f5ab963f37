"""One pass of the worker on a tiny random model, in this process: `tierwise doctor` listens to what the libraries say.

It loads a checkpoint from disk and runs the loop as the worker does. It needs nobody's weights and opens no port.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tierwise.engines.transformers.batching import Loop
from tierwise.engines.transformers.experts import Routers
from tierwise.engines.transformers.job import Job
from tierwise.engines.transformers.levers import ModelLevers
from tierwise.engines.transformers.loading import load
from tierwise.engines.transformers.sampling import Draws
from tierwise.engines.transformers.text import Speech
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from tierwise.engines.transformers.job import Update

_TOKENS = 3
_SECONDS = 60.0


def rehearse() -> None:
    """Load a random model of one layer and draw three tokens from it.

    Raises:
        TierwiseError: the pass failed. Loading may raise whatever the installed libraries raise.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_checkpoint(folder)
        loaded = load(folder, ModelLevers(threads=1))
    updates: SimpleQueue[list[tuple[Job, Update]]] = SimpleQueue()
    loop = Loop(loaded.model, ends=frozenset(), slots=1, queue=0, routers=Routers(loaded.model), deliver=updates.put)
    loop.start()
    try:
        speech = Speech(loaded.tokenizer)
        loop.submit(Job(prompt=[1, 2, 3], draws=Draws(), speech=speech, most_tokens=_TOKENS, hear=print))
        while True:
            for _, update in updates.get(timeout=_SECONDS):
                if update.fault:
                    raise TierwiseError(update.fault)
                if update.finish:
                    return
    finally:
        loop.stop()


def _write_checkpoint(folder: Path) -> None:
    """A Llama of one layer, whose tokens are bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(alphabet),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
