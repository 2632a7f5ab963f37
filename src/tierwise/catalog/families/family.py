"""What is known about a line of checkpoints, as a file holds it: `read_family` checks it whole, and the structs below
are its table of contents. Every fact names its source; one that could not be confirmed says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from tierwise.spec.errors import SpecError
from tierwise.spec.files import read_yaml
from tierwise.spec.reading import Reading, allowed
from tierwise.spec.sampling import Sampling

EngineName = Literal["vllm", "sglang", "llama.cpp", "transformers"]
Precision = Literal["float32", "bfloat16", "float16", "fp8", "fp4+fp8", "int8", "int4", "nvfp4", "mxfp4", "gguf"]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that somebody has published, or that was read in an engine's code; no measurement of ours."""

    source: Text
    """A name under `sources`."""
    confirmed: bool = True
    """False where the source is second-hand, assumes, or is contradicted."""


class EngineSupport(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one engine knows the family."""

    architecture: Text
    """Its word for the architecture: a class of vLLM's, SGLang's or Transformers' registry, llama.cpp's name."""
    reasoning_parser: str | None = None
    """What `--reasoning-parser` takes."""
    tool_parser: str | None = None
    """What `--tool-call-parser` takes."""
    flags: list[str] = []
    """What its command line needs besides, as raw flags."""
    needs: str = ""
    """Which version or setting it wants, or what it lacks."""
    settings: dict[str, Any] = {}
    """Settings of a deployment that it needs besides."""
    serves: bool = True
    """False where the engine knows the architecture, and yet cannot serve it for the reason in `needs`."""


class Experts(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mixture of a variant; dense variants have none."""

    routed: Count
    """Experts of a layer, of which the router picks."""
    active: Count
    """How many it picks for one token."""
    shared: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Experts that every token passes."""
    dense_layers: Annotated[int, msgspec.Meta(ge=0)] = 0
    """First layers that have no experts."""
    router: Text
    """How it scores and picks."""
    renormalised: bool | None = None
    """Whether the weights of those picked are made to sum to one, so that another number keeps the scale."""


class AttentionScheme(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token may look at, and how."""

    kind: Text
    detail: str = ""


class Context(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens that the variant was made for."""

    tokens: Count
    note: str = ""


class Weights(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published checkpoint of a variant, with what it takes to hold it."""

    repository: Text
    """OWNER/REPO on the Hugging Face Hub."""
    precision: Precision
    file: str | None = None
    """What the one file that is meant is called; where it comes in shards, what they are merged to."""
    parts: list[str] = []
    """Where the file is to be had besides, as the sources of a config file."""
    sha256: str | None = None
    """Of the file, where it is known."""
    memory_gb: Annotated[float, msgspec.Meta(gt=0)]
    """The least to serve it with, in the 10⁹ bytes of the source; most sources count a fifth above the weights."""
    wants: list[str] = []
    """Kinds of GPU that it is made for (`blackwell`); empty where any will do."""
    speculation: str | None = None
    """The method of `speculation` that it has what it takes for, or `none`; the variant's first if not given."""
    note: str = ""


class Speculation(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to guess tokens ahead that exists for this variant; it changes speed and, but for errors, no answer."""

    method: Text
    """vLLM's word for it."""
    tokens: Count
    """How many to guess at a time."""
    model: str | None = None
    """The repository of the draft model, where it is one of its own."""
    settings: dict[str, Any] = {}
    """Other keys of vLLM's speculative config."""
    note: str = ""


class Variant(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One size of the family."""

    name: Text
    parameters_billion: Annotated[float, msgspec.Meta(gt=0)]
    active_billion: Annotated[float, msgspec.Meta(gt=0)]
    """Parameters that work on one token."""
    layers: Count
    hidden: Count | None = None
    """Width of a layer's output."""
    experts: Experts | None = None
    attention: AttentionScheme
    context: Context
    weights: list[Weights]
    """In the order in which to prefer them: what holds most of the original first."""
    speculation: list[Speculation] = []

    def has_shape(self, layers: int | None, hidden: int | None, experts: int | None) -> bool:
        """Whether a checkpoint of this shape may be this variant."""
        routed = self.experts.routed if self.experts else None
        return (layers, hidden, experts) == (self.layers, self.hidden, routed)


class ActiveExperts(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the number of experts per token stands, and whether another may be set."""

    key: str | None = None
    """The path in `config.json`, dots between its steps; None for a dense family."""
    why_not: str = ""
    """Why it must stay; empty where another number loads and runs."""

    @property
    def may_change(self) -> bool:
        return not self.why_not


class ThinkingSwitch(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The thinking switch of a request."""

    default: bool
    """Whether it thinks when nobody says."""
    # YAML reads a bare `on` or `off` as true and false.
    on: dict[str, Any] | None = msgspec.field(default=None, name="switch_on")
    """`chat_template_kwargs` that make it think; None where it cannot."""
    off: dict[str, Any] = msgspec.field(default_factory=dict, name="switch_off")
    """`chat_template_kwargs` that make it answer at once; None of them where it cannot think anyway."""
    efforts: list[str] = []
    """Words for how much to think, least first."""
    most: dict[str, Any] | None = None
    """`chat_template_kwargs` of the most thinking, where that is more than `on`."""
    most_context: Count | None = None
    """Tokens of context that the most thinking wants, so that it is not cut."""
    ships_template: bool
    """Whether checkpoints carry a Jinja chat template; where not, an engine needs its own encoding of the family."""
    note: str = ""

    @property
    def switch(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What the chat template is told to think, and not to; None where there is nothing to switch."""
        return None if self.on is None else (self.on, self.off)


class Advice(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to draw tokens, in the words of those who trained it."""

    use: Text
    """What for: `thinking`, `thinking, code`, `instant` …"""
    thinking: bool
    """Whether it is advice for answers with thinking."""
    sampling: Sampling


class Licence(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    conditions: str = ""
    """What it asks for beyond keeping its text."""


class Score(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published result. Nobody has measured it here."""

    benchmark: Text
    variant: str = ""
    """Which size; empty where there is one."""
    value: float
    """In the benchmark's own unit, percent where it has one."""
    mode: Text
    """How the model was run: thinking or not, which effort."""
    harness: str = ""
    """What was around the model, where that is known."""


class Successor(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    note: str = ""


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known about a line of checkpoints: data, never code."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """As the command line wants it; the file is named after it."""
    title: Text
    maker: Text
    sources: dict[str, str]
    """Where facts come from: a short name and the citation."""
    model_types: list[str] = []
    """`model_type`s of Transformers and architectures of llama.cpp that are this family's own."""
    shared_model_types: list[str] = []
    """Those that others use as well; a checkpoint of one belongs here only if it has the shape of a variant."""
    engines: dict[str, EngineSupport]
    """By an engine's name in a config file."""
    variants: list[Variant]
    """The first is meant where nobody says which."""
    active_experts: ActiveExperts
    thinking: ThinkingSwitch
    sampling: list[Advice] = []
    licence: Licence
    scores: list[Score] = []
    successors: list[Successor] = []

    def __post_init__(self) -> None:
        if not self.model_types and not self.shared_model_types:
            raise ValueError(
                "neither model_types nor shared_model_types is given, so no checkpoint would be known by it"
            )
        if not self.variants or not all(variant.weights for variant in self.variants):
            raise ValueError("at least one variant is wanted, and of each the weights of at least one checkpoint")
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"two variants have one name: {', '.join(names)}")

    def variant(self, name: str) -> Variant:
        """The variant of a name; the first for no name. Raises SpecError with the names that there are."""
        for variant in self.variants:
            if name in ("", variant.name):
                return variant
        names = [variant.name for variant in self.variants]
        raise SpecError(f"{self.name} has no variant {name!r}; {allowed(name, names)}")

    def is_of(self, model_type: str, *, layers: int | None, hidden: int | None, experts: int | None) -> bool:
        """Whether a checkpoint of this kind and shape is one of ours; its own kinds need no shape."""
        if model_type in self.model_types:
            return True
        shared = model_type in self.shared_model_types
        return shared and any(variant.has_shape(layers, hidden, experts) for variant in self.variants)


def read_family(path: Path) -> Family:
    """Read and check one file.

    Raises:
        ConfigErrors: all that is wrong with it, each with file, line and path.
    """
    document = read_yaml(path, "family file")
    family = document.convert(Family)
    if isinstance(document.value, dict):
        _check_sources(document.value, document)
    if family is not None:
        _check_whole(family, path, document)
    return document.finish(family)


def _check_sources(value: Mapping[str, Any], reading: Reading) -> None:
    """Every fact names a source that stands in the file, and every source that stands there is named."""
    declared = value.get("sources")
    if not isinstance(declared, dict):
        return
    used = set()
    for field, name in _named_sources(value, ""):
        used.add(name)
        if name not in declared:
            reading.wrong(field, f"there is no source {name!r}; {allowed(str(name), map(str, declared))}")
    for name in declared:
        if name not in used:
            reading.wrong(f"sources.{name}", "no fact names it; take it out, or name it where it belongs")


def _named_sources(value: Any, field: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            place = f"{field}.{name}" if field else str(name)
            if name == "source" and isinstance(inner, str):
                yield place, inner
            elif place != "sources":
                yield from _named_sources(inner, place)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _named_sources(inner, f"{field}[{position}]")


def _check_whole(family: Family, path: Path, reading: Reading) -> None:
    """What no part of the file can know alone."""
    if family.name != path.stem:
        reading.wrong("name", f"{family.name!r} stands in {path.name}; a family's file is named after it")
    for name in family.engines:
        reading.known(name, get_args(EngineName), f"engines.{name}", "engine")
    names = [variant.name for variant in family.variants]
    for position, score in enumerate(family.scores):
        if score.variant:
            reading.known(score.variant, names, f"scores[{position}].variant", "variant")
    mixed = any(variant.experts for variant in family.variants)
    if mixed and family.active_experts.key is None:
        reading.wrong("active_experts", "a variant has experts, so the key that sets how many work is wanted")
    if not mixed and family.active_experts.may_change:
        reading.wrong("active_experts", "no variant has experts, so why_not must say that there is nothing to change")
    for position, variant in enumerate(family.variants):
        if variant.experts and variant.experts.active > variant.experts.routed:
            reading.wrong(
                f"variants[{position}].experts.active",
                f"{variant.experts.active} of {variant.experts.routed} experts cannot be active",
            )
