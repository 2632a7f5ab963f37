"""The file of settings that a replay tries: tiers as in the config file, of which `each` makes several."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.ledger.prices import Price
from tierwise.policies import PolicyChoice
from tierwise.spec.budget import Budget
from tierwise.spec.files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tierwise.plan import Plan
    from tierwise.policies.policy import Policy
    from tierwise.spec.reading import Reading
    from tierwise.verifiers import Verifier

EACH = "each"
MOST_SETTINGS = 10_000


class SettingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One setting: a tier of the recorded config file, with another policy or budget."""

    tier: str = ""
    """A tier of the recorded config file: its deployment and sampling are used, and its policy and budget if none are
    given. Optional for a policy that asks other tiers: then that of the last of them."""
    policy: PolicyChoice | None = None
    """How it spends passes; as in the config file."""
    budget: Budget | None = None
    """What one action may spend; as in the config file."""


class GridFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents of a file of settings."""

    settings: dict[str, Any]
    """Settings by name. A value `{each: [A, B]}` anywhere in one makes a setting for A and one for B."""
    baseline: str = ""
    """The setting that the others are compared with; the first if not given."""
    prices: dict[str, Price] | None = None
    """Prices by deployment; those of the recorded config file if not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting to try."""

    name: str
    tier: str
    """The tier of the config file whose deployment and sampling it uses."""
    policy: Policy
    verifier: Verifier | None
    """The policy's own, for requests without one."""
    budget: Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """All settings of a file."""

    settings: tuple[Setting, ...]
    baseline: str
    prices: Mapping[str, Price]


def read_grid(path: Path, plan: Plan) -> Grid:
    """Read a file of settings for a pool that was recorded with a plan.

    Raises:
        NotFound: the file does not exist.
        ConfigErrors: all errors, each with its path in the file and its line.
    """
    document = read_yaml(path, "file of settings", advice="docs/pools.md has an example")
    file = document.convert(GridFile)
    found: list[Setting] = []
    if file is not None:
        for name, given in file.settings.items():
            found += _settings(str(name), given, plan, document)
        if not file.settings:
            document.wrong("settings", "is empty; give at least one setting")
        if len(found) > MOST_SETTINGS:
            document.wrong("settings", f"makes {len(found):,} settings; at most {MOST_SETTINGS:,} are allowed")
        names = [one.name for one in found] + [name for name in plan.tiers if name in file.settings]
        for name in sorted({name for name in names if names.count(name) > 1} if len(names) < MOST_SETTINGS else ()):
            document.wrong(f"settings.{name}", "is already the name of a tier or another setting; names must be unique")
        known = [*(one.name for one in found), *plan.tiers]
        if file.baseline:
            document.known(file.baseline, [one.name for one in found], "baseline", "setting")
        for one in found:
            for other in one.policy.tiers():
                document.known(other, known, f"settings.{one.name}.policy", "tier or setting")
        for name in file.prices or ():
            document.known(name, plan.file.deployments, f"prices.{name}", "deployment")
    file = document.finish(file)
    prices = plan.file.prices if file.prices is None else file.prices
    return Grid(settings=tuple(found), baseline=file.baseline or found[0].name, prices=prices)


def tiers_as_settings(plan: Plan, names: list[str]) -> Grid:
    """The tiers of the recorded config file as settings."""
    found = tuple(
        Setting(
            name=name,
            tier=name,
            policy=plan.tiers[name].policy.member,
            verifier=plan.tiers[name].policy.verifier,
            budget=plan.tiers[name].budget,
        )
        for name in names
    )
    return Grid(settings=found, baseline=names[0], prices=plan.file.prices)


def _settings(name: str, given: Any, plan: Plan, reading: Reading) -> Iterator[Setting]:
    """The settings that one entry makes."""
    field = f"settings.{name}"
    if isinstance(given, str):
        given = {"tier": given}
    made = itertools.islice(_expanded(given), MOST_SETTINGS + 1)
    for label, value in made:
        errors = len(reading.errors)
        config = reading.read(SettingConfig, value, field)
        if config is not None:
            setting = _setting(f"{name} {label}".strip(), config, plan, reading, field)
            if setting is not None:
                yield setting
        if len(reading.errors) > errors:
            return  # the others would repeat it


def _setting(name: str, config: SettingConfig, plan: Plan, reading: Reading, field: str) -> Setting | None:
    tier = config.tier
    if not tier and config.policy is not None and (others := config.policy.member.tiers()):
        tier = next((other for other in reversed(others) if other in plan.tiers), "")
        tier = tier or next(iter(plan.file.tiers))
    if not tier:
        reading.wrong(field, "the key 'tier' is missing: which tier's deployment and sampling it uses")
        return None
    if not reading.known(tier, plan.tiers, f"{field}.tier", "tier"):
        return None
    own = plan.tiers[tier]
    choice = own.policy if config.policy is None else config.policy
    return Setting(
        name=name,
        tier=tier,
        policy=choice.member,
        verifier=choice.verifier,
        budget=(own.budget if config.policy is None else Budget()) if config.budget is None else config.budget,
    )


def _expanded(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value that `each` makes of one, with a label of what was chosen: `n=3 equality=number`."""
    places = [(place, list(zip(options, _labels(options), strict=True))) for place, options in _places(value, ())]
    for chosen in itertools.product(*(options for _, options in places)):
        made = value
        for (place, _), (one, _label) in zip(places, chosen, strict=True):
            made = _with(made, place, one)
        yield " ".join(f"{_name(place)}={label}" for (place, _), (_, label) in zip(places, chosen, strict=True)), made


def _name(place: tuple[Any, ...]) -> str:
    """What is chosen at a place: the last name on the way to it."""
    return next(one for one in reversed(place) if isinstance(one, str))


def _labels(options: Sequence[Any]) -> list[str]:
    """A label for each option: its kind where that tells them apart, else all of it."""
    short = [_said(one) for one in options]
    return short if len(set(short)) == len(short) else [msgspec.json.encode(one).decode() for one in options]


def _places(value: Any, at: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    if isinstance(value, dict):
        if value.keys() == {EACH} and isinstance(value[EACH], list) and value[EACH]:
            yield at or ("setting",), value[EACH]
            return
        for name, inner in value.items():
            yield from _places(inner, (*at, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*at, index))


def _with(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if place == ("setting",) and not (isinstance(value, dict) and "setting" in value):
        return new
    name, *rest = place
    inner = _with(value[name], tuple(rest), new) if rest else new
    if isinstance(value, list):
        return [*value[:name], inner, *value[name + 1 :]]
    return {**value, name: inner}


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        return str(next(iter(value)))
    return msgspec.json.encode(value).decode()
