"""What the tests of engines share."""

from .transformers_fixtures import new_transformers, transformers
from .vllm_fixtures import moe_folder, new_vllm, smollm2_folder, vllm, vllm_python

__all__ = ["moe_folder", "new_transformers", "new_vllm", "smollm2_folder", "transformers", "vllm", "vllm_python"]
