"""What the SGLang of another interpreter knows, read from its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tierwise.engines.served.installed import ask, strings, text
from tierwise.spec.errors import SpecError

_PACKAGES = {"bitsandbytes": "bitsandbytes", "gguf": "gguf"}
"""Packages that quantization methods load weights with (SGLang 0.5.23)."""

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
class Installed:
    """An SGLang on this machine."""

    root: Path
    """Its package folder."""
    packages: frozenset[str]
    """Those that we know, among the packages beside it."""

    @property
    def version(self) -> str:
        """Of SGLang; "?" where its files do not tell."""
        found = re.search(r"""^__version__\b.*=\s*['"]([^'"]+)""", text(self.root / "_version.py"), re.MULTILINE)
        return found[1] if found else "?"

    def package_for(self, method: str) -> str:
        """The package that a quantization method needs and that is not there; empty where nothing is missing."""
        package = _PACKAGES.get(method, "")
        return "" if package in self.packages else package

    def may_run(self, architecture: str) -> bool:
        """Whether it has code for a model, or may borrow that of Transformers."""
        models = self.root / "srt" / "models"
        if not models.is_dir() or (models / "transformers.py").is_file():
            return True
        named = re.compile(rf"^class {re.escape(architecture)}\b", re.MULTILINE)
        return any(named.search(text(file)) for file in models.glob("*.py"))

    def values(self, lever: str) -> frozenset[str]:
        """The words that it takes for a lever; empty where any may do, or where that cannot be told."""
        if lever not in _VALUES:
            return frozenset()
        file, name = _VALUES[lever]
        return frozenset(strings(self.root / "srt" / file, name))

    def has_flag(self, flag: str) -> bool:
        """Whether its command line has a flag, under the name of a field, as another name of one, or by itself."""
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
def find(python: str) -> Installed:
    """The SGLang of an interpreter; asked once, in about a tenth of a second.

    Raises:
        SpecError: there is no such interpreter, or it has no SGLang.
    """
    told = ask(python, _ASK, *_PACKAGES.values())
    if not told["sglang"]:
        raise SpecError(f"{python} has no SGLang; name the interpreter of an environment that has it")
    return Installed(root=Path(told["sglang"][0]), packages=frozenset(told["packages"]))
