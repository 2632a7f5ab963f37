"""OpenAI-compatible servers: the client that all engines use, and the engine `http`."""

from collections.abc import Iterator

from tierwise.engines.openai.capabilities import capabilities
from tierwise.engines.openai.launch import build, command
from tierwise.engines.openai.settings import Http
from tierwise.engines.row import Component, EngineRow

__all__ = ["ROW", "Http"]


def _components() -> Iterator[Component]:
    yield Component(name="http", seen="any OpenAI-compatible server: vLLM, SGLang, TGI, Ollama, hosted ones")


ROW: EngineRow[Http] = EngineRow(
    settings=Http,
    title="any OpenAI-compatible server",
    command=command,
    build=build,
    capabilities=capabilities,
    notes=lambda settings, context: settings.notes(),  # noqa: ARG005 - they need nothing of this machine
    components=_components,
)
