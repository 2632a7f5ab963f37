"""The file format of model families: the structs below define it, and `read_family` validates a file. Every fact names
its source; unconfirmed facts are marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from tierwise.spec.claims import Claim
from tierwise.spec.errors import SpecError
from tierwise.spec.files import read_yaml
from tierwise.spec.reading import Reading, allowed
from tierwise.spec.sampling import Sampling

EngineName = Literal["vllm", "sglang", "llama.cpp", "transformers"]
Precision = Literal["float32", "bfloat16", "float16", "fp8", "fp4+fp8", "int8", "int4", "nvfp4", "mxfp4", "gguf"]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published fact, or one from an engine's source code; not measured by us."""

    source: Text
    """A name under `sources`."""
    confirmed: bool = True
    """False if the source is second-hand, speculative, or contradicted."""


class EngineSupport(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine's support for the family."""

    architecture: Text
    """Its name for the architecture: a class in vLLM, SGLang or Transformers, or llama.cpp's name."""
    reasoning_parser: str | None = None
    """Value of `--reasoning-parser`."""
    tool_parser: str | None = None
    """Value of `--tool-call-parser`."""
    flags: list[str] = []
    """Additional command-line flags that it needs."""
    needs: str = ""
    """Required version or setting, or what is missing."""
    settings: dict[str, Any] = {}
    """Additional deployment settings that it needs."""
    serves: bool = True
    """False if the engine knows the architecture but cannot serve it, for the reason in `needs`."""


class Experts(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mixture of experts of a variant; dense variants have none."""

    routed: Count
    """Routed experts per layer."""
    active: Count
    """Active routed experts per token."""
    shared: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Shared experts, used by every token."""
    dense_layers: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Number of first layers without experts."""
    router: Text
    """How the router scores and selects experts."""
    renormalised: bool | None = None
    """Whether the weights of the selected experts are renormalised to sum to 1, so that another number of them keeps
    the scale."""


class AttentionScheme(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The attention mechanism."""

    kind: Text
    detail: str = ""


class Context(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The variant's maximum context, in tokens."""

    tokens: Count
    note: str = ""


class Weights(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published checkpoint of a variant, with its memory requirement."""

    repository: Text
    """OWNER/REPO on the Hugging Face Hub."""
    precision: Precision
    file: str | None = None
    """Name of the file; for shards, of the merged file."""
    parts: list[str] = []
    """Alternative sources of the file, as in a config file."""
    sha256: str | None = None
    """Hash of the file, if known."""
    memory_gb: Annotated[float, msgspec.Meta(gt=0)]
    """Minimum memory to serve it, in 10⁹ bytes, as published; most sources add a fifth to the weights."""
    wants: list[str] = []
    """Required kinds of GPU (`blackwell`); empty for any."""
    speculation: str | None = None
    """The method of `speculation` that it supports, or `none`; the variant's first if not given."""
    note: str = ""


class SpeculativeMethod(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A speculative decoding method for this variant; it changes speed but not answers."""

    method: Text
    """vLLM's name of the method."""
    tokens: Count
    """Tokens drafted at a time."""
    model: str | None = None
    """Repository of the draft model, if separate."""
    settings: dict[str, Any] = {}
    """Other keys of vLLM's speculative config."""
    note: str = ""


class Variant(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One size of the family."""

    name: Text
    parameters_billion: Annotated[float, msgspec.Meta(gt=0)]
    active_billion: Annotated[float, msgspec.Meta(gt=0)]
    """Active parameters per token."""
    layers: Count
    hidden: Count | None = None
    """Hidden size."""
    experts: Experts | None = None
    attention: AttentionScheme
    context: Context
    weights: list[Weights]
    """In order of preference: the most precise first."""
    speculation: list[SpeculativeMethod] = []

    def has_shape(self, layers: int | None, hidden: int | None, experts: int | None) -> bool:
        """Whether a checkpoint's shape matches this variant."""
        routed = self.experts.routed if self.experts else None
        return (layers, hidden, experts) == (self.layers, self.hidden, routed)


class ActiveExperts(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key of the number of active experts, and whether it may be changed."""

    key: str | None = None
    """Dotted path in `config.json`; None for a dense family."""
    why_not: str = ""
    """Why it must not be changed; empty if other numbers load and run."""

    @property
    def may_change(self) -> bool:
        return not self.why_not


class ThinkingSupport(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests switch thinking on and off."""

    default: bool
    """Whether it thinks by default."""
    # YAML reads a bare `on` or `off` as true and false.
    on: dict[str, Any] | None = msgspec.field(default=None, name="switch_on")
    """`chat_template_kwargs` that enable thinking; None if it cannot think."""
    off: dict[str, Any] = msgspec.field(default_factory=dict, name="switch_off")
    """`chat_template_kwargs` that disable thinking; empty if it cannot think."""
    efforts: list[str] = []
    """Reasoning efforts, lowest first."""
    most: dict[str, Any] | None = None
    """`chat_template_kwargs` of the highest effort, if higher than `on`."""
    most_context: Count | None = None
    """Context, in tokens, that the highest effort needs to avoid truncation."""
    ships_template: bool
    """Whether checkpoints include a Jinja chat template; otherwise an engine needs a built-in encoding."""
    marks: tuple[str, str] | None = None
    """What opens and closes thinking in the model's text. Verifiers leave out what stands between them;
    `spec/thinking.py` has the marks of all families."""
    note: str = ""

    @property
    def switch(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Template arguments that enable and disable thinking; None if there is no switch."""
        return None if self.on is None else (self.on, self.off)


class Advice(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sampling parameters recommended by the model's authors."""

    use: Text
    """Use case: `thinking`, `thinking, code`, `instant` …"""
    thinking: bool
    """Whether it applies to answers with thinking."""
    sampling: Sampling


class Licence(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    conditions: str = ""
    """Conditions beyond keeping the licence text."""


class PublishedClaim(Claim, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim about a variant. Its source is a name under `sources`."""

    variant: str = ""
    """The variant; empty if there is only one."""
    confirmed: bool = True
    """False if the source is second-hand, speculative, or contradicted."""


class Successor(Fact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    note: str = ""


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model family."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """Name on the command line and of the file."""
    title: Text
    maker: Text
    sources: dict[str, str]
    """Sources of facts: short name and citation."""
    model_types: list[str] = []
    """Transformers' `model_type`s and llama.cpp's architectures of this family only."""
    shared_model_types: list[str] = []
    """Those that other families use too; such a checkpoint belongs here only if its shape matches a variant."""
    engines: dict[str, EngineSupport]
    """By engine name, as in a config file."""
    variants: list[Variant]
    """The first is the default."""
    active_experts: ActiveExperts
    thinking: ThinkingSupport
    sampling: list[Advice] = []
    licence: Licence
    claims: list[PublishedClaim] = []
    """Published scores."""
    successors: list[Successor] = []

    def __post_init__(self) -> None:
        if not self.model_types and not self.shared_model_types:
            raise ValueError("neither model_types nor shared_model_types is given, so no checkpoint would match it")
        if not self.variants or not all(variant.weights for variant in self.variants):
            raise ValueError("give at least one variant, each with the weights of at least one checkpoint")
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants must have different names: {', '.join(names)}")

    def variant(self, name: str) -> Variant:
        """The variant of a name; the first if empty. Raises SpecError with the existing names."""
        for variant in self.variants:
            if name in ("", variant.name):
                return variant
        names = [variant.name for variant in self.variants]
        raise SpecError(f"{self.name} has no variant {name!r}; {allowed(name, names)}")

    def is_of(self, model_type: str, *, layers: int | None, hidden: int | None, experts: int | None) -> bool:
        """Whether a checkpoint belongs to this family; the shape matters only for shared model types."""
        if model_type in self.model_types:
            return True
        shared = model_type in self.shared_model_types
        return shared and any(variant.has_shape(layers, hidden, experts) for variant in self.variants)


def read_family(path: Path) -> Family:
    """Read and validate one file.

    Raises:
        ConfigErrors: all errors, each with file, line and path.
    """
    document = read_yaml(path, "family file")
    family = document.convert(Family)
    if isinstance(document.value, dict):
        _check_sources(document.value, document)
    if family is not None:
        _check_whole(family, path, document)
    return document.finish(family)


def _check_sources(value: Mapping[str, Any], reading: Reading) -> None:
    """Check that every fact names an existing source and every source is used."""
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
            reading.wrong(f"sources.{name}", "no fact uses it; remove it, or name it in a fact")


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
    """Checks across sections of the file."""
    if family.name != path.stem:
        reading.wrong("name", f"{family.name!r} does not match the file name {path.name}; they must be equal")
    for name in family.engines:
        reading.known(name, get_args(EngineName), f"engines.{name}", "engine")
    names = [variant.name for variant in family.variants]
    for position, claim in enumerate(family.claims):
        if claim.variant:
            reading.known(claim.variant, names, f"claims[{position}].variant", "variant")
    mixed = any(variant.experts for variant in family.variants)
    if mixed and family.active_experts.key is None:
        reading.wrong(
            "active_experts", "a variant has experts, so the key for the number of active experts is required"
        )
    if not mixed and family.active_experts.may_change:
        reading.wrong("active_experts", "no variant has experts, so why_not must state that there is nothing to change")
    for position, variant in enumerate(family.variants):
        if variant.experts and variant.experts.active > variant.experts.routed:
            reading.wrong(
                f"variants[{position}].experts.active",
                f"{variant.experts.active} of {variant.experts.routed} experts cannot be active",
            )
