"""What the tests of engines share."""

from engines.vllm.fixtures import moe_folder, new_vllm, smollm2_folder, vllm, vllm_python

__all__ = ["moe_folder", "new_vllm", "smollm2_folder", "vllm", "vllm_python"]
