"""llama.cpp: serves a GGUF file with the embedded library in a worker process, or with an external `llama-server`."""

from tierwise.engines.llama_cpp.capabilities import capabilities
from tierwise.engines.llama_cpp.components import components
from tierwise.engines.llama_cpp.facts import facts
from tierwise.engines.llama_cpp.launch import build, command
from tierwise.engines.llama_cpp.levers import LEVERS
from tierwise.engines.llama_cpp.metrics import METRIC_NAMES
from tierwise.engines.llama_cpp.preflight import notes, preflight
from tierwise.engines.llama_cpp.recipe import RECIPE
from tierwise.engines.llama_cpp.saved_prompts import prefill_pays
from tierwise.engines.llama_cpp.settings import LlamaCpp
from tierwise.engines.row import EngineRow

__all__ = ["ROW", "LlamaCpp"]

ROW: EngineRow[LlamaCpp] = EngineRow(
    settings=LlamaCpp,
    title="llama.cpp",
    levers=LEVERS,
    preflight=preflight,
    notes=notes,
    command=command,
    build=build,
    facts=facts,
    capabilities=capabilities,
    shares_prompts=lambda settings: settings.shared_prompt_mib > 0,
    prefill_pays=prefill_pays,
    metrics=METRIC_NAMES,
    packages=("xllamacpp",),
    components=components,
    recipe=RECIPE,
)
