"""SGLang: launched in its own Python environment, or already running at a URL."""

from tierwise.engines.row import EngineRow
from tierwise.engines.sglang.capabilities import capabilities
from tierwise.engines.sglang.launch import LAUNCHER
from tierwise.engines.sglang.levers import LEVERS
from tierwise.engines.sglang.metrics import METRIC_NAMES
from tierwise.engines.sglang.preflight import preflight
from tierwise.engines.sglang.recipe import RECIPE
from tierwise.engines.sglang.settings import INHERITS, Sglang

__all__ = ["ROW", "Sglang"]

ROW: EngineRow[Sglang] = EngineRow(
    settings=Sglang,
    title="SGLang",
    levers=LEVERS,
    preflight=preflight,
    command=LAUNCHER.command,
    build=LAUNCHER.build,
    capabilities=capabilities,
    shares_prompts=lambda settings: settings.url is None and settings.prefix_cache is not False,
    metrics=METRIC_NAMES,
    inherits=INHERITS,
    packages=("sglang", "transformers", "torch"),
    recipe=RECIPE,
)
