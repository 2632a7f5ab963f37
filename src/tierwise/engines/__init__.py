"""What runs a model: the table of engines. A new one is a file here and a line in it.

An engine's settings are a struct with its name as tag; they say what is wrong with them, and what they load.
"""

from __future__ import annotations

from typing import TypeAlias

from tierwise.engines.llama_cpp.settings import LlamaCpp
from tierwise.engines.openai.client import Http
from tierwise.engines.replay.engine import Replay
from tierwise.engines.sglang import Sglang
from tierwise.engines.transformers.settings import Transformers
from tierwise.engines.vllm import Vllm

__all__ = ["DeploymentSettings", "Http", "LlamaCpp", "Replay", "Sglang", "Transformers", "Vllm"]

DeploymentSettings: TypeAlias = LlamaCpp | Http | Replay | Sglang | Transformers | Vllm
