"""vLLM: launched in its own Python environment, or already running at a URL."""

from tierwise.engines.row import EngineRow
from tierwise.engines.vllm.capabilities import capabilities
from tierwise.engines.vllm.launch import LAUNCHER
from tierwise.engines.vllm.levers import LEVERS
from tierwise.engines.vllm.metrics import METRIC_NAMES
from tierwise.engines.vllm.preflight import preflight
from tierwise.engines.vllm.recipe import RECIPE
from tierwise.engines.vllm.settings import INHERITS, Vllm

__all__ = ["ROW", "Vllm"]

ROW: EngineRow[Vllm] = EngineRow(
    settings=Vllm,
    title="vLLM",
    levers=LEVERS,
    preflight=preflight,
    command=LAUNCHER.command,
    build=LAUNCHER.build,
    capabilities=capabilities,
    shares_prompts=lambda settings: (
        settings.url is None and settings.prefix_cache is not False and not settings.rewards
    ),
    grades=lambda settings: settings.rewards,
    metrics=METRIC_NAMES,
    inherits=INHERITS,
    packages=("vllm", "transformers", "torch"),
    recipe=RECIPE,
)
