"""Reads what an installed vLLM supports from its files: importing it takes seconds and a gigabyte.

If a file or name is missing in this version, nothing is known, and vLLM itself decides at launch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tierwise.engines.served.installed import ask, strings, text
from tierwise.spec.errors import SpecError

_PLUGINS = {"bitsandbytes": "vllm-bnb-plugin", "gguf": "vllm-gguf-plugin"}
"""Quantization methods that vLLM moved to separate packages (vLLM 0.32.0, extra `extra-quant`)."""

_ASK = """
import json, sys
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec

def place(name):
    spec = find_spec(name)
    return list(spec.submodule_search_locations or ()) if spec and spec.origin else []

def held(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""

print(json.dumps({
    "vllm": place("vllm"), "transformers": place("transformers"), "transformers_version": held("transformers"),
    "plugins": [name for name in sys.argv[1:] if held(name)],
    "extended": any(not one.value.startswith("vllm.") for one in entry_points(group="vllm.general_plugins")),
}))
"""
"""Finds packages without importing them."""


@dataclass(frozen=True, slots=True)
class InstalledVllm:
    """The vLLM in one Python environment."""

    root: Path
    """The folder of the package vllm."""
    transformers: Path | None
    """The folder of the package transformers in the same environment."""
    transformers_version: str
    plugins: frozenset[str]
    """Packages of the same environment that quantization methods need."""
    extended: bool
    """Whether a plugin may add architectures that its own files do not have."""

    @property
    def version(self) -> str:
        """The version of vLLM; "?" if unknown."""
        found = re.search(r"""^__version__\b.*=\s*['"]([^'"]+)""", text(self.root / "_version.py"), re.MULTILINE)
        return found[1] if found else "?"

    def plugin_for(self, method: str) -> str:
        """The missing package that a quantization method needs; empty if none is missing."""
        package = _PLUGINS.get(method, "")
        return "" if method in self.values("quantization") or package in self.plugins else package

    def architectures(self) -> frozenset[str]:
        """Class names of the models that it implements; empty if unknown."""
        file = self.root / "model_executor" / "models" / "registry.py"
        names = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
        return frozenset(name for table in names for name in strings(file, table))

    def may_run(self, architecture: str) -> bool:
        """Whether it implements a model, or may use the implementation of Transformers."""
        known = self.architectures()
        if not known or architecture in known or self.extended or self.transformers is None:
            return True
        return f'"{architecture}"' in text(self.transformers / "models" / "auto" / "modeling_auto.py")

    def values(self, lever: str) -> frozenset[str]:
        """Legal values of a lever; empty if all are legal or if unknown."""
        if lever not in _VALUES or (lever == "quantization" and self.extended):
            return frozenset()
        file, name = _VALUES[lever]
        return frozenset(strings(self.root / file, name))

    def has_flag(self, flag: str) -> bool:
        """Whether its command line has a flag, as a dataclass field or literally."""
        files = [self.root / name for name in _FLAG_FILES if (self.root / name).is_file()]
        field = re.compile(rf"^ +{re.escape(flag.removeprefix('--').replace('-', '_'))}\b *:", re.MULTILINE)
        return not files or any(f'"{flag}"' in (words := text(file)) or field.search(words) for file in files)


_VALUES = {
    "quantization": ("model_executor/layers/quantization/__init__.py", "QuantizationMethods"),
    "dtype": ("config/model.py", "ModelDType"),
    "kv_cache_dtype": ("config/cache.py", "CacheDType"),
    "attention_backend": ("v1/attention/backends/registry.py", "AttentionBackendEnum"),
    "reasoning_parser": ("reasoning/__init__.py", "_REASONING_PARSERS_TO_REGISTER"),
    "tool_parser": ("tool_parsers/__init__.py", "_TOOL_PARSERS_TO_REGISTER"),
}
_FLAG_FILES = ("engine/arg_utils.py", "entrypoints/launchers/cli_args.py", "entrypoints/openai/cli_args.py")


@cache
def find(python: str) -> InstalledVllm:
    """Find the vLLM in an interpreter's environment; cached, takes about 0.1 s.

    Raises:
        SpecError: the interpreter is missing or has no vLLM.
    """
    told = ask(python, _ASK, *_PLUGINS.values())
    if not told["vllm"]:
        raise SpecError(f"{python} has no vLLM; set `python` to the interpreter of an environment with vLLM")
    transformers = told["transformers"]
    return InstalledVllm(
        root=Path(told["vllm"][0]),
        transformers=Path(transformers[0]) if transformers else None,
        transformers_version=told["transformers_version"],
        plugins=frozenset(told["plugins"]),
        extended=told["extended"],
    )
