"""`tierwise families`: shows model families, each figure with its source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tierwise.catalog.families import Family, Variant
    from tierwise.catalog.families.family import Fact, PublishedClaim
    from tierwise.cli.console import Console


def families(
    name: Annotated[str | None, typer.Argument(help="A family, such as gemma-4; all if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the known model families, or show one in detail.

    Figures are published ones and were not measured by Tierwise.
    """
    import json

    import msgspec

    from tierwise.catalog import families as catalog

    if as_json:
        one = None if name is None else catalog.family(name)
        found = one or list(catalog.families().values())
        print(json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False))
    elif name is None:
        _print_all(catalog.families().values())
    else:
        _print_one(catalog.family(name))


def row(family: Family, variant: Variant) -> tuple[str, ...]:
    """The table row of one variant, with `COLUMNS`."""
    experts = variant.experts
    name = family.name if len(family.variants) == 1 else f"{family.name} {variant.name}"
    thinks = "on" if family.thinking.default else "off"
    return (
        name,
        f"{variant.parameters_billion:g}B" + (f" / {variant.active_billion:g}B" if experts else ""),
        f"{experts.active} / {experts.routed}" if experts else "dense",
        f"{variant.context.tokens:,}",
        thinks if family.thinking.switch else "cannot",
        family.licence.name,
        _engines(family),
    )


def _engines(family: Family) -> str:
    serving = [name for name, support in family.engines.items() if support.serves]
    without = [name for name in family.engines if name not in serving]
    return f"all but {', '.join(without)}" if without else "all"


COLUMNS = ("family", "size / active", "experts", "context", "thinks", "licence", "engines")
"""size / active: total and active parameters · experts: active and total · thinks: whether it thinks by default."""


def _print_all(found: Iterable[Family]) -> None:
    from rich.table import Table

    from tierwise.cli.console import Console

    table = Table(*COLUMNS[:-1], box=None, padding=(0, 2, 0, 0))  # with the engines it is wider than 80 columns
    for family in found:
        for variant in family.variants:
            table.add_row(*row(family, variant)[:-1])
    console = Console(highlight=False)
    console.print(table)
    console.print("\nPublished figures, not measured here. Details of one, with sources: tierwise families NAME")


def _print_one(family: Family) -> None:
    from tierwise.cli.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{family.title}[/bold] ({family.maker})   published, not measured here")
    _section(console, "licence", [(family.licence.name, family.licence.conditions, family.licence)])
    for variant in family.variants:
        console.print(f"\n[bold]{variant.name}[/bold]")
        for line in _about(variant):
            console.print(f"  {line}", markup=False)
    key = family.active_experts
    says = f"{key.key or 'none'}: " + (key.why_not or "may be changed")
    _section(console, "active experts", [(says, "", key)])
    _section(console, "thinking", [(_thinking(family), family.thinking.note, family.thinking)])
    _section(
        console,
        "sampling advice",
        [(f"{one.use}: {_pairs(one.sampling.fields())}", "", one) for one in family.sampling],
    )
    _section(console, "engines", [(_engine(name, one), one.needs, one) for name, one in family.engines.items()])
    _section(console, "published scores", [(_claim(one), "; ".join(one.doubts), one) for one in family.claims])
    _section(console, "successors", [(one.name, one.note, one) for one in family.successors])
    console.print("\n[bold]sources[/bold]")
    for name, citation in family.sources.items():
        console.print(f"  {name}: {citation}", markup=False)


def _section(console: Console, title: str, lines: Sequence[tuple[str, str, Fact | PublishedClaim]]) -> None:
    if lines:
        console.print(f"\n[bold]{title}[/bold]")
    for text, note, fact in lines:
        console.print(f"  {text}{f' ({note})' if note else ''}  {_origin(fact)}", markup=False)


def _origin(fact: Fact | PublishedClaim) -> str:
    return f"[{fact.source}]" if fact.confirmed else f"[{fact.source}, not confirmed]"


def _about(variant: Variant) -> Iterable[str]:
    yield f"{variant.parameters_billion:g}B parameters, {variant.active_billion:g}B active per token  " + _origin(
        variant
    )
    yield (
        f"{variant.layers} layers" + (f" of width {variant.hidden}" if variant.hidden else "") + f"  {_origin(variant)}"
    )
    if (experts := variant.experts) is not None:
        parts = [f"{experts.active} of {experts.routed} experts"]
        parts += [f"and {experts.shared} shared"] * bool(experts.shared)
        parts += [f"; first {experts.dense_layers} layers dense"] * bool(experts.dense_layers)
        weights = {True: "weights renormalised", False: "weights as they are", None: ""}[experts.renormalised]
        yield f"{' '.join(parts).replace(' ;', ';')}; router: {experts.router}; {weights}  {_origin(experts)}"
    attention = variant.attention
    detail = f" ({attention.detail})" if attention.detail else ""
    yield f"attention: {attention.kind}{detail}  {_origin(attention)}"
    note = f" ({variant.context.note})" if variant.context.note else ""
    yield f"context: {variant.context.tokens:,} tokens{note}  {_origin(variant.context)}"
    for one in variant.weights:
        wants = f", for {' or '.join(one.wants)}" if one.wants else ""
        note = f" ({one.note})" if one.note else ""
        yield f"{one.repository}: {one.precision}, {one.memory_gb:g} GB{wants}{note}  {_origin(one)}"
    for guess in variant.speculation:
        model = f" with {guess.model}" if guess.model else ""
        note = f" ({guess.note})" if guess.note else ""
        yield f"speculative decoding: {guess.method}, {guess.tokens} tokens{model}{note}  {_origin(guess)}"


def _thinking(family: Family) -> str:
    thinking = family.thinking
    if thinking.switch is None:
        return "does not think"
    said = (
        f"{'on' if thinking.default else 'off'} by default; on {_pairs(thinking.on or {})}, off {_pairs(thinking.off)}"
    )
    if thinking.most is not None:
        said += f", most {_pairs(thinking.most)}"
    if thinking.most_context is not None:
        said += f" with a context of {thinking.most_context:,}"
    return said + ("" if thinking.ships_template else "; ships no chat template")


def _engine(name: str, support: Any) -> str:
    parsers = [f"reasoning {support.reasoning_parser}"] * bool(support.reasoning_parser)
    parsers += [f"tools {support.tool_parser}"] * bool(support.tool_parser)
    serves = "" if support.serves else " cannot be served:"
    flags = f", flags {' '.join(support.flags)}" if support.flags else ""
    return f"{name}:{serves} {support.architecture}" + "".join(f", {one}" for one in parsers) + flags


def _claim(one: PublishedClaim) -> str:
    of = f" ({one.variant})" if one.variant else ""
    samples = "" if one.samples is None else ", greedy" if one.samples == "greedy" else f", {one.samples} samples"
    return f"{one.what}{of} {one.score:g}, {one.how}{samples}, harness {one.harness}, date {one.date}"


def _pairs(values: dict[str, Any]) -> str:
    import json

    return " ".join(f"{name}={json.dumps(value)}" for name, value in values.items())
