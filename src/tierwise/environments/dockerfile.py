"""A task's Dockerfile, followed in a sandbox without docker: this machine's own programs stand for the base image.

FROM (of a plain system: see `STAND_INS`), WORKDIR, ENV, ARG, COPY, ADD of local files and RUN are followed. What only
matters to a container that serves (CMD, ENTRYPOINT, EXPOSE, LABEL …) is skipped. All else is refused by its line.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from tierwise.environments.sandbox import Sandbox
from tierwise.environments.transfer import upload
from tierwise.spec.errors import SpecError

STAND_INS = ("buildpack-deps", "debian", "python", "scratch", "ubuntu")
"""Images without content of a task: this machine stands for them. Any other may hold what a task needs."""

SKIPPED = ("CMD", "ENTRYPOINT", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "STOPSIGNAL", "VOLUME")
BUILD_SECONDS = 600.0
NAME = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
PAIR = re.compile(r"""(\w+)=("(?:[^"\\]|\\.)*"|'[^']*'|(?:[^\s\\]|\\.)*)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction, with the line that it begins on."""

    line: int
    name: str
    text: str


def read(path: Path) -> list[Instruction]:
    """The instructions of a Dockerfile, continued lines joined and comments left out."""
    found: list[Instruction] = []
    held, began = "", 0
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if raw.lstrip().startswith("#") or (not raw.strip() and not held):
            continue
        began = began or number
        if raw.rstrip().endswith("\\"):
            held += raw.rstrip()[:-1]
            continue
        name, _, text = (held + raw).strip().partition(" ")
        found.append(Instruction(line=began, name=name.upper(), text=text.strip()))
        held, began = "", 0
    return found


def check(path: Path) -> list[Instruction]:
    """Its instructions, if all of them can be followed here.

    Raises:
        SpecError: one cannot: with the file, the line, and what can.
    """
    instructions = read(path)
    for one in instructions:
        if why := _refusal(one):
            raise SpecError(f"{path}:{one.line}: {one.name} {one.text}: {why}", field="environment")
    if sum(one.name == "FROM" for one in instructions) != 1:
        raise SpecError(f"{path}: expected one FROM; several stages are not followed", field="FROM")
    return instructions


def _refusal(one: Instruction) -> str:
    known = ("FROM", "WORKDIR", "ENV", "ARG", "COPY", "ADD", "RUN", "USER", "SHELL", *SKIPPED)
    if one.name not in known:
        return f"not followed here; what is: {', '.join(known)}"
    if one.name == "FROM" and image_name(_image(one)) not in STAND_INS:
        return (
            f"only {', '.join(STAND_INS)} can be stood for by this machine; an image with content of its own needs a "
            "container runtime (`harbor run -e docker`)"
        )
    if one.name in ("COPY", "ADD") and (one.text.startswith("--from") or "://" in one.text):
        return "only files of the task's own environment folder can be copied"
    if one.name == "USER" and one.text not in ("root", "0"):
        return "the sandbox has one user, root"
    if one.name == "SHELL" and "bash" not in one.text:
        return "commands run in bash"
    return ""


def _image(one: Instruction) -> str:
    """The image of a FROM, whose platform does not matter here; empty if it names none."""
    return next((word for word in one.text.split() if not word.startswith("--")), "")


def image_name(image: str) -> str:
    """`python` of `docker.io/library/python:3.12-slim@sha256:…`; the whole name of an image of somebody's own."""
    bare = image.partition("@")[0].rpartition("/")
    name = bare[2].partition(":")[0]
    return name if bare[0] in ("", "library", "docker.io/library", "docker.io") else f"{bare[0]}/{name}"


async def build(sandbox: Sandbox, instructions: list[Instruction], context: Path) -> None:
    """Follow the instructions; afterwards `sandbox.workdir` and `sandbox.env` are as the file says.

    Args:
        sandbox: a new one.
        instructions: from `check`.
        context: the folder that COPY reads.

    Raises:
        SpecError: a RUN failed, or a file to copy does not exist.
    """
    arguments: dict[str, str] = {}
    for one in instructions:
        known = {**arguments, **sandbox.env}
        match one.name:
            case "WORKDIR":
                sandbox.workdir = str(PurePosixPath(sandbox.workdir, _filled(one.text, known)))
                await sandbox.run(f"mkdir -p {shlex.quote(sandbox.workdir)}", cwd="/")
            case "ENV":
                sandbox.env.update(_pairs(one.text, known))
            case "ARG":
                name, _, value = one.text.partition("=")
                arguments[name] = _filled(value.strip("\"'"), known)
            case "COPY" | "ADD":
                await _copy(sandbox, one, context, known)
            case "RUN":
                words = json.loads(one.text) if one.text.startswith("[") else None
                command = shlex.join(words) if words else one.text
                done = await sandbox.run(command, env=arguments, seconds=BUILD_SECONDS)
                if done.code:
                    said = (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]
                    raise SpecError(
                        f"line {one.line} of the Dockerfile: RUN {one.text}: ended with {done.code}: {said}. A sandbox "
                        "has this machine's programs, no package manager can add to them, and there is no network "
                        "unless the task asks for it",
                        field="environment",
                    )


def _filled(text: str, known: dict[str, str]) -> str:
    return NAME.sub(lambda found: known.get(found[1] or found[2], ""), text)


def _pairs(text: str, known: dict[str, str]) -> dict[str, str]:
    """`A=1 B="two words"`, or the old `A the rest`."""
    first, _, rest = text.partition(" ")
    if "=" not in first:
        return {first: _filled(rest.strip(), known)}
    found = {}
    for name, value in PAIR.findall(text):
        plain = value[1:-1] if value[:1] in ("'", '"') else value
        found[name] = plain if value.startswith("'") else _filled(plain.replace("\\", ""), known)
    return found


async def _copy(sandbox: Sandbox, one: Instruction, context: Path, known: dict[str, str]) -> None:
    words = json.loads(one.text) if one.text.startswith("[") else shlex.split(one.text)
    *sources, target = [_filled(word, known) for word in words if not word.startswith("--")]
    place = str(PurePosixPath(sandbox.workdir, target))
    into = target.endswith(("/", "/.")) or target == "." or len(sources) > 1
    for source in sources:
        for path in _matching(context, source, one):
            inside = path.is_dir() or not into
            await upload(sandbox, path, place if inside else f"{place}/{path.name}", keep=_wanted(context))


def _matching(context: Path, pattern: str, one: Instruction) -> list[Path]:
    plain = pattern.strip("/").removeprefix("./") or "."
    found = [context] if plain == "." else sorted(context.glob(plain))
    if not found or not all(path.resolve().is_relative_to(context.resolve()) for path in found):
        raise SpecError(f"line {one.line} of the Dockerfile: {pattern!r} is no file in {context}", field="environment")
    return found


def _wanted(context: Path) -> Callable[[str], bool]:
    file = context / ".dockerignore"
    lines = file.read_text(encoding="utf-8").split() if file.exists() else []
    return lambda name: not any(fnmatch(name, line) or name.startswith(f"{line.rstrip('/')}/") for line in lines)
