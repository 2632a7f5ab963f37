"""Reads what an installed SGLang supports from its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tierwise.engines.served.installed import ask, strings, text
from tierwise.spec.errors import SpecError

_PACKAGES = {"bitsandbytes": "bitsandbytes", "gguf": "gguf"}
"""Packages that quantization methods need (SGLang 0.5.23)."""

_ASK = """
import json, sys
from importlib.util import find_spec

def place(name):
    spec = find_spec(name)
    return list(spec.submodule_search_locations or ()) if spec and spec.origin else []

print(json.dumps({"sglang": place("sglang"), "packages": [name for name in sys.argv[1:] if find_spec(name)]}))
"""
"""Finds packages without importing them."""


@dataclass(frozen=True, slots=True)
class InstalledSglang:
    """The SGLang in one Python environment."""

    root: Path
    """The folder of the package sglang."""
    packages: frozenset[str]
    """Packages of the same environment that quantization methods need."""

    @property
    def version(self) -> str:
        """The version of SGLang; "?" if unknown."""
        found = re.search(r"""^__version__\b.*=\s*['"]([^'"]+)""", text(self.root / "_version.py"), re.MULTILINE)
        return found[1] if found else "?"

    def package_for(self, method: str) -> str:
        """The missing package that a quantization method needs; empty if none is missing."""
        package = _PACKAGES.get(method, "")
        return "" if package in self.packages else package

    def may_run(self, architecture: str) -> bool:
        """Whether it implements a model, or may use the implementation of Transformers."""
        models = self.root / "srt" / "models"
        if not models.is_dir() or (models / "transformers.py").is_file():
            return True
        named = re.compile(rf"^class {re.escape(architecture)}\b", re.MULTILINE)
        return any(named.search(text(file)) for file in models.glob("*.py"))

    def values(self, lever: str) -> frozenset[str]:
        """Legal values of a lever; empty if all are legal or if unknown."""
        if lever not in _VALUES:
            return frozenset()
        file, name = _VALUES[lever]
        return frozenset(strings(self.root / "srt" / file, name))

    def has_flag(self, flag: str) -> bool:
        """Whether its command line has a flag, as a field, as an alias of one, or literally."""
        folder = self.root / "srt"
        files = [file for file in (folder / "server_args.py", *sorted(folder.glob(_FIELDS))) if file.is_file()]
        field = re.compile(rf"^ +{re.escape(flag.removeprefix('--').replace('-', '_'))}\b *:", re.MULTILINE)
        return not files or any(f'"{flag}"' in (words := text(file)) or field.search(words) for file in files)


_CHOICES = "arg_groups/choices.py"
_VALUES = {
    "quantization": (_CHOICES, "QUANTIZATION_CHOICES"),
    "attention_backend": (_CHOICES, "ATTENTION_BACKEND_CHOICES"),
    "prefill_attention_backend": (_CHOICES, "ATTENTION_BACKEND_CHOICES"),
    "decode_attention_backend": (_CHOICES, "ATTENTION_BACKEND_CHOICES"),
    "deterministic": (_CHOICES, "DETERMINISTIC_ATTENTION_BACKEND_CHOICES"),
    "reasoning_parser": ("parser/reasoning_parser_names.py", "REASONING_PARSER_NAMES"),
    "tool_parser": ("function_call/parser_names.py", "TOOL_CALL_PARSER_NAMES"),
}
_FIELDS = "arg_groups/fields/*.py"


@cache
def find(python: str) -> InstalledSglang:
    """Find the SGLang in an interpreter's environment; cached, takes about 0.1 s.

    Raises:
        SpecError: the interpreter is missing or has no SGLang.
    """
    told = ask(python, _ASK, *_PACKAGES.values())
    if not told["sglang"]:
        raise SpecError(f"{python} has no SGLang; set `python` to the interpreter of an environment with SGLang")
    return InstalledSglang(root=Path(told["sglang"][0]), packages=frozenset(told["packages"]))
