"""`engine: transformers`: a checkpoint on a worker process of ours, for what servers do not give."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import aiohttp
import msgspec

from tierwise.catalog.architecture import read as read_architecture
from tierwise.catalog.families import family_of
from tierwise.engines.dialect import Dialect
from tierwise.engines.http import ChatClient
from tierwise.engines.launched import LaunchedEngine
from tierwise.engines.lever import Lever
from tierwise.engines.scrape import TRANSFORMERS
from tierwise.engines.supervisor import Launch
from tierwise.engines.transformers.levers import LEVERS as MODEL_LEVERS
from tierwise.engines.transformers.levers import ModelLevers
from tierwise.engines.transformers.wire import read_event
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from tierwise.catalog.architecture import Architecture
    from tierwise.catalog.families import Family
    from tierwise.engines.engine import Site
    from tierwise.spec.json import Fields
    from tierwise.spec.sampling import Sampling

# Makes the worker send its count with every chunk, so that an aborted pass is counted as far as it came.
_COUNTING: Fields = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

_DIALECT = Dialect(
    engine="transformers",
    priority="higher first",
    thinking_tokens="thinking_tokens",
    active_experts="active_experts",
)

_OURS = "our worker, engines/transformers/"

LEVERS: tuple[Lever, ...] = (
    *MODEL_LEVERS,
    Lever(
        name="context",
        sets="a bound on prompt and answer",
        scope="launch",
        values="128 to what the model was made for",
        changes="tokens that one pass may hold; memory is taken as it is needed",
        source=_OURS + "chat.py",
    ),
    Lever(
        name="slots",
        sets="rows of a batch",
        scope="launch",
        values="1 to 1024",
        changes="passes side by side: more tokens a second together, fewer each",
        source=_OURS + "batching.py",
    ),
    Lever(
        name="queue",
        sets="passes that may wait",
        scope="launch",
        values="0 to 100,000",
        changes="who is turned away with 503 instead of waiting",
        source=_OURS + "batching.py",
    ),
    Lever(
        name="deterministic",
        sets="batches of one, no prefix cache",
        scope="launch",
        values="true, false",
        changes="greedy text is the same run after run, whatever else runs; costs what batches win",
        source=_OURS + "batching.py",
    ),
    Lever(
        name="prefix_cache",
        sets="keys and values that are kept, 512 MiB of them",
        scope="launch",
        values="true, false",
        needs="layers of full or windowed attention, and nothing else",
        changes="time to the first token where prompts begin alike; memory",
        source=_OURS + "prefixes.py",
    ),
    Lever(
        name="packed",
        sets="oneDNN's order of weights",
        scope="launch",
        values="true, false",
        needs="bfloat16 weights on a processor; elsewhere it does nothing",
        changes="a third off each step; no bit of an answer",
        source=_OURS + "packing.py",
    ),
    Lever(
        name="experts_sampled",
        sets="hooks on the routers",
        scope="launch",
        values="0 to 1, a share of the passes",
        needs="a mixture of experts",
        changes="what is known of its routing, gate probabilities included; time of the sampled passes",
        source=_OURS + "experts.py",
    ),
    Lever(
        name="active_experts",
        sets="active_experts",
        scope="request",
        values="1 to the experts of a layer",
        needs="a mixture of experts whose routers compute",
        changes="as at launch; passes with other numbers run in batches of their own",
        source=_OURS + "experts.py",
    ),
    Lever(
        name="thinking",
        sets="chat_template_kwargs",
        scope="request",
        values="true, false",
        needs="a family whose switch is known",
        changes="whether it thinks before it answers: tokens, and quality where that helps",
        source="the family's file, catalog/families/",
    ),
    Lever(
        name="thinking_tokens",
        sets="thinking_tokens",
        scope="request",
        values="0 and more",
        needs="marks around thinking that are tokens of the model",
        changes="where thinking ends at the latest",
        source=_OURS + "text.py",
    ),
    Lever(
        name="reasoning_effort",
        sets="a variable of the chat template",
        scope="request",
        values="words of the family",
        needs="a chat template that knows it",
        changes="quality and tokens",
        source=_OURS + "chat.py",
    ),
    Lever(
        name="priority",
        sets="priority",
        scope="request",
        values="whole numbers, higher is earlier",
        changes="who waits for a slot",
        source=_OURS + "batching.py",
    ),
)


class Serving(ModelLevers, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the deployment and its worker both know."""

    context: Annotated[int, msgspec.Meta(ge=128)] = 4096
    """Tokens of prompt and answer that one pass may hold."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    """Passes that run side by side, in one batch where the model's caches can be joined."""
    queue: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 256
    """Passes that may wait for a slot; more are turned away."""
    deterministic: bool = False
    """The same greedy text whatever else runs: each pass goes through the model alone, which costs what batches win."""
    prefix_cache: bool = True
    """Remember the keys and values of prompts and answers, and compute no common beginning twice."""
    packed: bool = True
    """On a processor, keep bfloat16 weights in the order that its kernels want: a third off each step."""
    experts_sampled: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Share of the passes whose experts are recorded; 0 records none."""


class Orders(Serving, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is started with, as JSON on its command line."""

    model: str
    """Path of the checkpoint: a folder or a GGUF file."""
    port: int
    host: str = "127.0.0.1"
    alias: str = "model"
    """The model's name in its answers."""
    thinks: bool = True
    """Whether to look for thinking in what the model says."""


class Transformers(
    Serving, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="transformers", tag_field="engine"
):
    """Any checkpoint that Transformers loads as a causal language model (`pip install tierwise[transformers]`)."""

    checkpoint: str
    """A name under `checkpoints`: a folder, or a GGUF file."""

    @property
    def loads(self) -> str:
        return self.checkpoint

    def problems(self, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        if self.checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {self.checkpoint!r}; {allowed(self.checkpoint, checkpoints)}"
        yield from self.contradictions()

    def refuses(self, sampling: Sampling) -> Iterable[tuple[str, str]]:
        return _DIALECT.refuses(sampling)

    def misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        if missing := [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]:
            yield (
                "engine",
                f"{' and '.join(missing)} is not installed in this environment; pip install 'tierwise[transformers]'",
            )
            return
        try:
            architecture = None if site.model is None else read_architecture(site.model)
        except SpecError as error:
            yield "checkpoint", str(error)
            return
        yield from self.unfit(architecture)
        if architecture is not None:
            yield from self._unservable(architecture)

    def _unservable(self, architecture: Architecture) -> Iterable[tuple[str, str]]:
        if not architecture.has_tokenizer:
            yield "checkpoint", "it has no tokenizer; put its tokenizer.json beside the weights"
        elif not architecture.has_chat_template:
            yield "checkpoint", "it has no chat template; put its chat_template.jinja beside the weights"
        if architecture.context is not None and self.context > architecture.context:
            yield "context", f"{self.context}: the checkpoint was made for {architecture.context} tokens; give no more"

    @classmethod
    def levers(cls) -> tuple[Lever, ...]:
        return LEVERS

    def command(self, site: Site) -> str:
        model = site.model or Path(f"<{self.checkpoint}>")
        return shlex.join(self._launch("transformers", model, 0, thinks=True).command)

    def build(self, name: str, site: Site) -> LaunchedEngine:
        if site.model is None:
            raise SpecError(f"checkpoint {self.checkpoint!r} is not here yet; run `tierwise pull` first")
        model, family = site.model, _family(read_architecture(site.model))
        switch = family.thinking.switch if family is not None else None
        thinks = family is None or family.thinking.on is not None
        return LaunchedEngine(
            name,
            lambda port: self._launch(name, model, port, thinks=thinks),
            logs=site.logs,
            client=ChatClient(
                name,
                name,
                extras=_COUNTING,
                translate=partial(_DIALECT.translate, switch=switch),
                read=read_event,
            ),
            facts=_facts,
            table=TRANSFORMERS,
        )

    def _launch(self, name: str, model: Path, port: int, *, thinks: bool) -> Launch:
        """What starts this deployment on a port (0: one that is free at the time)."""
        shared = {field: getattr(self, field) for field in Serving.__struct_fields__}
        orders = Orders(**shared, model=str(model), port=port, alias=name, thinks=thinks)
        program = (sys.executable, "-m", "tierwise.engines.transformers.worker")
        return Launch(
            command=(*program, msgspec.json.encode(orders).decode()),
            # Threads that spin while they wait starve everything else on a machine that is not theirs alone; nothing
            # here may ask a hub for a file that the checkpoint lacks; and a library's warning is a line in the log,
            # never an error, whatever PYTHONWARNINGS says where we were started.
            environment={
                "OMP_WAIT_POLICY": "passive",
                "HF_HUB_OFFLINE": "1",
                "PYTHONWARNINGS": "",
                "TOKENIZERS_PARALLELISM": "false",
                "TQDM_DISABLE": "1",
            },
            url=f"http://127.0.0.1:{port}",
        )


def _family(architecture: Architecture) -> Family | None:
    return family_of(
        architecture.model_type,
        layers=architecture.layers,
        hidden=architecture.hidden,
        experts=architecture.experts,
    )


async def _facts(url: str) -> Mapping[str, str]:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/facts") as response:
        return msgspec.json.decode(await response.read(), type=dict[str, str])
