"""One pass of the worker on a tiny random model, in this process. `tierwise doctor` collects the libraries' warnings.

It loads a checkpoint from disk and runs the loop as the worker does. It downloads nothing and opens no port.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from queue import SimpleQueue

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tierwise.engines.transformers.settings import ModelLevers
from tierwise.spec.errors import TierwiseError
from tierwise.worker.batching import Loop
from tierwise.worker.job import Job, Update
from tierwise.worker.loading import load
from tierwise.worker.routers import Routers
from tierwise.worker.sampling import SamplingParameters
from tierwise.worker.text import StreamDecoder

_TOKENS = 3
_SECONDS = 60.0


def run_smoke_test() -> None:
    """Load a random model of one layer and sample three tokens.

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
        decoder = StreamDecoder(loaded.tokenizer)
        job = Job(prompt=[1, 2, 3], sampling=SamplingParameters(), decoder=decoder, max_tokens=_TOKENS, on_update=print)
        loop.submit(job)
        while True:
            for _, update in updates.get(timeout=_SECONDS):
                if update.fault:
                    raise TierwiseError(update.fault)
                if update.finish:
                    return
    finally:
        loop.stop()


def _write_checkpoint(folder: Path) -> None:
    """Write a Llama model of one layer with a byte-level tokenizer."""
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
