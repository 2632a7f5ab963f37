"""What the vLLM of another interpreter knows, read from its files: to import it takes seconds and a gigabyte.

A file or a name that this version does not have tells nothing; then vLLM itself has the last word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tierwise.engines.served.installed import ask, strings, text
from tierwise.spec.errors import SpecError

_PLUGINS = {"bitsandbytes": "vllm-bnb-plugin", "gguf": "vllm-gguf-plugin"}
"""Quantization methods that left vLLM for packages of their own (vLLM 0.32.0, extra `extra-quant`)."""

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
class Installed:
    """A vLLM on this machine."""

    root: Path
    """Its package folder."""
    transformers: Path | None
    """That of the Transformers beside it."""
    transformers_version: str
    plugins: frozenset[str]
    """Those that we know, among the packages beside it."""
    extended: bool
    """Whether any plugin adds to it what its own files do not tell."""

    @property
    def version(self) -> str:
        """Of vLLM; "?" where its files do not tell."""
        found = re.search(r"""^__version__\b.*=\s*['"]([^'"]+)""", text(self.root / "_version.py"), re.MULTILINE)
        return found[1] if found else "?"

    def plugin_for(self, method: str) -> str:
        """The package that a quantization method needs and that is not there; empty where nothing is missing."""
        package = _PLUGINS.get(method, "")
        return "" if method in self.values("quantization") or package in self.plugins else package

    def architectures(self) -> frozenset[str]:
        """Class names of models that it has code of its own for; empty where that cannot be told."""
        file = self.root / "model_executor" / "models" / "registry.py"
        names = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
        return frozenset(name for table in names for name in strings(file, table))

    def may_run(self, architecture: str) -> bool:
        """Whether it has code for a model, or may borrow that of Transformers."""
        known = self.architectures()
        if not known or architecture in known or self.extended or self.transformers is None:
            return True
        return f'"{architecture}"' in text(self.transformers / "models" / "auto" / "modeling_auto.py")

    def values(self, lever: str) -> frozenset[str]:
        """The words that it takes for a lever; empty where any may do, or where that cannot be told."""
        if lever not in _VALUES or (lever == "quantization" and self.extended):
            return frozenset()
        file, name = _VALUES[lever]
        return frozenset(strings(self.root / file, name))

    def has_flag(self, flag: str) -> bool:
        """Whether its command line has a flag, under the name of its dataclass's field or as it stands."""
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
def find(python: str) -> Installed:
    """The vLLM of an interpreter; asked once, in about a tenth of a second.

    Raises:
        SpecError: there is no such interpreter, or it has no vLLM.
    """
    told = ask(python, _ASK, *_PLUGINS.values())
    if not told["vllm"]:
        raise SpecError(f"{python} has no vLLM; name the interpreter of an environment that has it")
    transformers = told["transformers"]
    return Installed(
        root=Path(told["vllm"][0]),
        transformers=Path(transformers[0]) if transformers else None,
        transformers_version=told["transformers_version"],
        plugins=frozenset(told["plugins"]),
        extended=told["extended"],
    )
