"""vLLM: launched in an interpreter of its own, or found where it runs already."""

from tierwise.engines.vllm.settings import Vllm

__all__ = ["Vllm"]
