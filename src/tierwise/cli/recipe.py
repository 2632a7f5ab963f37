"""`tierwise recipe`: the former name of `tierwise init --family`, kept for scripts."""

from __future__ import annotations

from typing import Annotated

import typer


def recipe(
    name: Annotated[str, typer.Argument(help="A family, such as gemma-4; `tierwise families` lists them.")],
    gpus: Annotated[str, typer.Option(help="The machine: 8xH200, H100, 2xRTX4090, or cpu.")],
    engine: Annotated[
        str, typer.Option(help="An engine of the config file; the first that can serve the family if not given.")
    ] = "",
    variant: Annotated[str, typer.Option(help="The size, if a family has several; the first if not given.")] = "",
    revision: Annotated[str, typer.Option(help="The commit of the checkpoint on the Hugging Face Hub.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the config file as JSON without comments.")] = False,
) -> None:
    """Deprecated: use `tierwise init --family NAME --gpus … --out -`.

    Exit code 2 if the family does not fit; the message says what would.
    """
    import json
    import sys

    from tierwise.cli.init import for_family
    from tierwise.spec.files import yaml_document

    text = for_family(name, gpus, engine, variant=variant, revision=revision).text
    print(json.dumps(yaml_document(text, "recipe").value, indent=2) if as_json else text, end="\n" if as_json else "")
    print(f"`tierwise recipe` is now `tierwise init --family {name} --gpus {gpus}`", file=sys.stderr)
