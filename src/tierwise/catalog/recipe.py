"""Writes a config file with three tiers for a family on a machine. A comment above each published number gives its
source, and says that it was not measured here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tierwise.catalog.engine_recipe import EngineRecipe, Fit, RecipeContext, inline
from tierwise.catalog.families import EngineSupport, Family
from tierwise.catalog.families.family import Advice, Fact, PublishedClaim
from tierwise.catalog.fit import fit
from tierwise.catalog.gpus import Machine
from tierwise.spec.claims import UNKNOWN

COMMIT = "COMMIT"
"""Placeholder for an unknown revision. `pull` rejects it; a branch name would not be reproducible."""
_LONG, _SHORT, _RESERVED, _CPU = 262_144, 131_072, 32_768, 4096
"""Maximum context in tokens: with room for the cache, with little room, on engines that reserve it, on a CPU."""
_VOTES = 5
_SCORES = 4


def recipe(
    family: Family, machine: Machine, engine: EngineRecipe, *, variant: str = "", revision: str = "", command: str = ""
) -> str:
    """The text of a tierwise.yaml with the tiers fast, standard and max, all on one process.

    Args:
        family: the family to serve.
        machine: the machine.
        engine: the engine.
        variant: the size; the first if empty.
        revision: the commit of the checkpoint on the Hugging Face Hub; a placeholder if empty.
        command: the command that prints it, for the first line.

    Raises:
        SpecError: the engine does not support the family, or nothing fits; names what would.
    """
    found = fit(family, machine, engine, variant)
    writer = _RecipeWriter(family, found, engine, family.engines[engine.engine], revision or COMMIT)
    body = [*writer.checkpoint(), "", *writer.deployment(), "", *writer.tiers()]
    return "\n".join([*writer.head(command), "", *body]) + "\n"


@dataclass(frozen=True, slots=True)
class _RecipeWriter:
    """The lines of a recipe, section by section."""

    family: Family
    found: Fit
    engine: EngineRecipe
    support: EngineSupport
    revision: str
    cited: dict[str, str] = field(default_factory=dict)
    """Sources cited in the other sections, by name. The header lists them, so it is written last."""

    def head(self, command: str) -> Iterator[str]:
        family, found = self.family, self.found
        size = "" if len(family.variants) == 1 else f" {found.variant.name}"
        yield f"# {family.title}{size} on {found.machine} with {self.engine.engine}" + (
            f": {command}" if command else ""
        )
        yield "# Published figures were not measured here. To measure: tierwise bench THIS_FILE YOUR_WORKLOAD"
        conditions = f"; {' '.join(family.licence.conditions.split())}" if family.licence.conditions else ""
        yield f"# licence: {family.licence.name}{conditions}"
        if self.support.needs:
            yield f"# needs: {self.support.needs}"
        for name, citation in self.cited.items():
            yield f"# [{name}] {citation}"

    @property
    def context(self) -> int:
        """Tokens of prompt and answer of one pass: the checkpoint's maximum, up to a limit that leaves room for several
        passes.
        """
        most = self.found.variant.context.tokens
        if self.found.machine.gpu is None:
            return min(most, _CPU)
        if self.engine.reserves_cache:
            return min(most, _RESERVED)
        if self.found.tight:
            return min(most, _SHORT)
        return min(most, max(_LONG, self.family.thinking.most_context or 0))

    @property
    def slots(self) -> int:
        if self.found.machine.gpu is None or self.engine.reserves_cache:
            return 4
        return 16 if self.found.tight else 32

    def checkpoint(self) -> Iterator[str]:
        weights = self.found.weights
        yield "checkpoints:"
        yield f"  {self.family.name}:"
        yield self._published(f"at least {weights.memory_gb:g} GB in {weights.precision}", weights)
        if weights.note:
            yield f"    # {weights.note}"
        if weights.parts:
            yield f"    # {weights.file} of {weights.repository}"
            yield from _listed("    source", weights.parts)
        elif weights.file is not None:
            yield f"    # from {weights.repository}; merge shards with llama-gguf-split --merge"
            yield f"    source: file:models/{weights.file}"
        else:
            yield f"    source: hf:{weights.repository}@{self.revision}"
            if self.revision == COMMIT:
                yield f"    # for {COMMIT}: git ls-remote https://huggingface.co/{weights.repository} main"
        if weights.sha256 is not None:
            yield f"    sha256: {weights.sha256}"

    def deployment(self) -> Iterator[str]:
        variant = self.found.variant
        yield "deployments:"
        yield "  # The three tiers share this process, because they differ only in request settings."
        yield "  all:"
        yield f"    engine: {self.engine.engine}"
        yield f"    checkpoint: {self.family.name}"
        note = f" ({variant.context.note})" if variant.context.note else ""
        yield self._published(f"supports {variant.context.tokens:,} tokens{note}", variant.context)
        yield f"    context: {self.context}"
        yield f"    slots: {self.slots}"
        context = RecipeContext(family=self.family, fit=self.found, support=self.support, published=self._published)
        yield from self.engine.settings(context)
        yield from self._experts()

    def _experts(self) -> Iterator[str]:
        experts, key = self.found.variant.experts, self.family.active_experts
        if experts is None:
            return
        yield self._published(f"{experts.active} of {experts.routed} experts are active per token", experts)
        if not key.may_change:
            yield f"    # active_experts cannot be changed: {' '.join(key.why_not.split())}"
        elif self.engine.suggests_active_experts:
            yield f"    # active_experts: {experts.active}    # no source shows that more experts help: measure first"

    def tiers(self) -> Iterator[str]:
        family = self.family
        can_think = family.thinking.switch is not None
        yield "tiers:"
        yield "  fast:"
        yield from self._tier({"thinking": False} if can_think else {}, thinks=False)
        yield "    policy: single"
        yield "  standard:"
        # Without this, fast and standard would be identical for a family that does not think by default.
        switched = {"thinking": True} if can_think and not family.thinking.default else {}
        yield from self._tier(switched, thinks=can_think)
        yield "    policy: single" if can_think else "    policy: {majority: {n: 3}}"
        yield "  max:"
        if can_think and family.thinking.most is not None and not self._most:
            yield f"    # maximum thinking needs a context of {family.thinking.most_context:,}, which does not fit here"
        yield from self._tier(({"thinking": True} | self._most) if can_think else {}, thinks=can_think, most=True)
        yield f"    # or, if requests contain tests: {{best_of_n: {{n: {_VOTES}, verifier: {{python_tests: {{}}}}}}}}"
        yield f"    policy: {{majority: {{n: {_VOTES}}}}}"
        yield f"    budget: {{passes: {_VOTES}, completion_tokens: {_VOTES * self._room}, seconds: 1800}}"
        yield ""
        yield "routes:"
        yield "  auto: {cascade: [fast, standard, max]}"
        yield ""
        yield f"# Set the hourly price of {self.found.machine} to record the cost of each answer:"
        yield "# prices: {all: {dollars_per_hour: …}}"

    @property
    def _room(self) -> int:
        """Maximum tokens of one answer: half of the context, which leaves room for the prompt."""
        return self.context // 2

    @property
    def _most(self) -> dict[str, Any]:
        """Chat template variables for maximum thinking besides the switch; empty if the context is too short."""
        thinking = self.family.thinking
        if thinking.most is None or (thinking.most_context or 0) > self.context:
            return {}
        beyond = {name: value for name, value in thinking.most.items() if (thinking.on or {}).get(name) != value}
        return {"chat_template_kwargs": beyond}

    def _tier(self, switched: dict[str, Any], *, thinks: bool, most: bool = False) -> Iterator[str]:
        yield "    deployment: all"
        variables = {**(self.family.thinking.on or {}), **(self._most.get("chat_template_kwargs", {}) if most else {})}
        yield from self._scores(thinks=thinks, effort=str(variables.get("reasoning_effort")))
        values: dict[str, Any] = {}
        if (advice := self._advice(thinks=thinks)) is not None:
            values = advice.sampling.fields()
            yield self._published(f"sampling for {advice.use}", advice)
        if "max_tokens" in values:
            values["max_tokens"] = min(values["max_tokens"], self._room)
        if most and values.get("temperature", 1.0) < 0.5:
            yield "    # higher than advised, because votes must differ"
            values["temperature"] = 0.8
        yield f"    sampling: {inline(values | switched)}"

    def _advice(self, *, thinks: bool) -> Advice | None:
        fitting = [one for one in self.family.sampling if one.thinking is thinks]
        return next(iter(fitting or self.family.sampling), None)

    def _scores(self, *, thinks: bool, effort: str) -> Iterator[str]:
        """The first published scores of this mode, one for each suite."""
        fitting = [one for one in self.family.claims if one.variant in ("", self.found.variant.name)]
        fitting = [one for one in fitting if one.mode == ("think" if thinks else "average")]
        fitting = [one for one in fitting if one.effort in ("", effort)]
        first = {(one.suite, one.release): one for one in reversed(fitting)}
        for one in [first[name] for name in dict.fromkeys((one.suite, one.release) for one in fitting)][:_SCORES]:
            harness = "" if one.harness == UNKNOWN else f", {one.harness}"
            yield self._published(f"{one.what} {one.score:g} ({one.how}{harness})", one)

    def _published(self, what: str, fact: Fact | PublishedClaim) -> str:
        self.cited[fact.source] = self.family.sources[fact.source]
        doubt = "" if fact.confirmed else ", not confirmed"
        return f"    # published, not measured here{doubt}: {what} [{fact.source}]"


def _listed(key: str, values: list[str]) -> Iterator[str]:
    if len(values) == 1:
        yield f"{key}: {values[0]}"
        return
    yield f"{key}:"
    yield from (f"      - {value}" for value in values)
