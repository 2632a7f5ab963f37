"""`tierwise recipe`: a family on a machine, as a config file that is ready to be checked, pulled and measured."""

from __future__ import annotations

from typing import Annotated

import typer


def recipe(
    name: Annotated[str, typer.Argument(help="A family, such as gemma-4; `tierwise families` lists them.")],
    gpus: Annotated[str, typer.Option(help="The machine: 8xH200, H100, 2xRTX4090, or cpu.")],
    engine: Annotated[
        str, typer.Option(help="vllm, sglang, llama.cpp or transformers; the first that can if not given.")
    ] = "",
    variant: Annotated[str, typer.Option(help="The size, where a family has several; its first if not given.")] = "",
    revision: Annotated[str, typer.Option(help="The commit of the checkpoint on the Hugging Face Hub.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the config file as JSON, without its comments.")
    ] = False,
) -> None:
    """Print a config file with the tiers fast, standard and max for a family on your machine.

    Picks the most precise checkpoint that fits, splits it over the GPUs, and sets parsers, thinking and sampling. Says
    at each number that is published that it was not measured here. Exit code 2 when it cannot fit, with what would.
    """
    import json

    from tierwise.catalog import recipe as catalog
    from tierwise.catalog.families import family
    from tierwise.catalog.fit import engine_for
    from tierwise.catalog.gpus import parse_machine
    from tierwise.spec.files import yaml_document

    found, machine = family(name), parse_machine(gpus)
    chosen = engine_for(found, machine, engine)
    said = f"tierwise recipe {found.name} --gpus {machine} --engine {chosen}"
    said += f" --variant {variant}" if variant else ""
    text = catalog.recipe(found, machine, chosen, variant=variant, revision=revision, command=said)
    print(json.dumps(yaml_document(text, said).value, indent=2) if as_json else text, end="\n" if as_json else "")
