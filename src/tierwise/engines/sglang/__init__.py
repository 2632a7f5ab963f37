"""SGLang: launched in an interpreter of its own, or found where it runs already."""

from tierwise.engines.sglang.settings import Sglang

__all__ = ["Sglang"]
