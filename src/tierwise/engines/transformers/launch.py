"""Launches the worker for a deployment: its command line and its engine."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.catalog.architecture import read as read_architecture
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.process.environment import given
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.process.supervisor import Launch
from tierwise.engines.prompting import family_of_checkpoint
from tierwise.engines.thinking_switch import thinking_off
from tierwise.engines.transformers.client import COUNTING, read_event
from tierwise.engines.transformers.facts import facts
from tierwise.engines.transformers.metrics import METRIC_NAMES
from tierwise.engines.transformers.settings import DIALECT, INHERITS, SchedulerSettings, WorkerSettings
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.engines.settings import LaunchContext
    from tierwise.engines.transformers.settings import Transformers

_WORKER = "tierwise.worker"
"""A separate process that imports PyTorch; it is named here and never imported."""


def command(settings: Transformers, context: LaunchContext) -> str:
    """The command line. If the checkpoint is not downloaded, its name stands for its path."""
    model = context.model or Path(f"<{settings.checkpoint}>")
    return shlex.join(launch(settings, "transformers", model, 0, thinks=True).command)


def build(settings: Transformers, name: str, context: LaunchContext) -> LaunchedEngine:
    """The engine, not started.

    Raises:
        SpecError: its checkpoint is not on this machine.
    """
    if context.model is None:
        raise SpecError(f"checkpoint {settings.checkpoint!r} is not downloaded; run `tierwise pull` first")
    model, family = context.model, family_of_checkpoint(read_architecture(context.model))
    switch = family.thinking.switch if family is not None else None
    thinks = family is None or family.thinking.on is not None
    return LaunchedEngine(
        name,
        lambda port: launch(settings, name, model, port, thinks=thinks),
        logs=context.logs,
        client=ChatClient(
            name,
            name,
            extras=COUNTING,
            translate=partial(DIALECT.translate, switch=switch),
            thinking_off=thinking_off(switch),
            read=read_event,
        ),
        facts=facts,
        metrics=METRIC_NAMES,
    )


def launch(settings: Transformers, name: str, model: Path, port: int, *, thinks: bool) -> Launch:
    """The launch of the named deployment on a port (0: a free port)."""
    shared = {field: getattr(settings, field) for field in SchedulerSettings.__struct_fields__}
    worker = WorkerSettings(**shared, model=str(model), port=port, alias=name, thinks=thinks)
    return Launch(
        command=(sys.executable, "-P", "-m", _WORKER, msgspec.json.encode(worker).decode()),
        # Threads that busy-wait slow down everything else on the machine; nothing here may request from a hub a
        # file that the checkpoint lacks; and warnings of libraries are log lines, never errors, whatever
        # PYTHONWARNINGS is in our environment.
        inherits=INHERITS,
        environment={
            "OMP_WAIT_POLICY": "passive",
            "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "",
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",
            **given(settings.environment),
        },
        url=f"http://127.0.0.1:{port}",
    )
