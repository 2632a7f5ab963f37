"""The environment of an engine's process: what it needs, and none of the secrets in ours.

An engine inherits the variables that are listed here and in `EngineRow.inherits`, and gets those that its row and its
deployment's `environment` set. A variable whose name tells that it holds a secret is never inherited.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

EVERY_ENGINE = (
    # the system
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    # Python
    *("PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX", "COVERAGE_*", "COV_CORE_*"),
    # accelerators
    *("CUDA_*", "NVIDIA_*", "CUDNN_*", "CUBLAS_*", "HIP_*", "HSA_*", "ROCR_*", "ROCM_*", "GPU_*", "ZE_*", "SYCL_*"),
    *("ONEAPI_*", "ASCEND_*", "VK_*", "GGML_*"),
    # threads and memory
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "NUMEXPR_*", "DNNL_*", "ONEDNN_*", "MALLOC_*"),
    # where Tierwise keeps copies of checkpoints
    "TIERWISE_CACHE",
)
"""Names and patterns of the variables that every engine inherits."""

HUGGING_FACE_AND_TORCH = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_MODULES_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_*", "TOKENIZERS_*"),
    *("TORCH*", "PYTORCH_*", "TRITON_*", "NCCL_*", "RCCL_*", "GLOO_*", "UCX_*", "XLA_*"),
)
"""What engines on PyTorch inherit too."""

_SECRET = re.compile(r"(^|_)(KEYS?|TOKENS?|SECRETS?|PASS|PASSWORDS?|PASSWD|CREDENTIALS?|AUTH)(_|$)", re.IGNORECASE)


def given(environment: Mapping[str, str | None], ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that a deployment sets; null stands for our value, and for nothing if we have none."""
    values = {name: ours.get(name) if value is None else value for name, value in environment.items()}
    return {name: value for name, value in values.items() if value is not None}


def inherited(patterns: Iterable[str], ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of our environment that an engine inherits.

    Args:
        patterns: names and patterns beyond `EVERY_ENGINE`.
        ours: our environment.
    """
    allowed = (*EVERY_ENGINE, *patterns)
    return {
        name: value
        for name, value in ours.items()
        if not _SECRET.search(name) and any(fnmatchcase(name, pattern) for pattern in allowed)
    }
