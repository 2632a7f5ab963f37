"""Transformers in a worker process (`tierwise.worker`): the engine's side, without PyTorch."""

from tierwise.engines.row import EngineRow
from tierwise.engines.transformers.capabilities import capabilities
from tierwise.engines.transformers.launch import build, command
from tierwise.engines.transformers.levers import LEVERS
from tierwise.engines.transformers.metrics import METRIC_NAMES
from tierwise.engines.transformers.preflight import preflight
from tierwise.engines.transformers.recipe import RECIPE
from tierwise.engines.transformers.settings import INHERITS, Transformers

__all__ = ["ROW", "Transformers"]

ROW: EngineRow[Transformers] = EngineRow(
    settings=Transformers,
    title="Transformers",
    levers=LEVERS,
    preflight=preflight,
    command=command,
    build=build,
    capabilities=capabilities,
    shares_prompts=lambda settings: settings.prefix_cache and not settings.deterministic,
    metrics=METRIC_NAMES,
    inherits=INHERITS,
    packages=("transformers", "torch"),
    recipe=RECIPE,
)
