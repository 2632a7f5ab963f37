"""What is taken out of recorded texts before anybody sees them. Rules find forms, and no rule finds every name: what
they leave must be read by a person before it is passed on.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import re2

from tierwise.spec.files import read_yaml
from tierwise.spec.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BUILT_IN = {
    "keys": (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----"
        r"|\b(?:sk|pk|rk|ghp|gho|ghu|ghs|ghr|github_pat|glpat|hf|npm|pypi|xox[abeoprs])[-_][A-Za-z0-9_-]{16,}"
        r"|\bA(?:KIA|SIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}"
        r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
        r"|(?i:\bbearer)\s+[A-Za-z0-9._~+/-]{16,}=*"
        r"|(?i:\b(?:api[_-]?key|secret|token|password|passwd)\b)[\"']?\s*[:=]\s*[\"']?[^\s\"',;]{6,}"
    ),
    "emails": r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
    "ips": r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"
    r"|\b(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\b|\b(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}\b",
    "phones": (
        r"\+\d{1,3}[ ./-]?(?:\(\d{1,4}\)[ ./-]?)?\d(?:[ ./-]?\d){6,12}\b"
        r"|\(\d{2,5}\)[ ./-]?\d{3,4}[ ./-]?\d{3,5}\b|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b|\b0\d{2,4}[ /-]\d{5,9}\b"
    ),
}
"""Forms by name, in the order in which they are looked for."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to take out."""

    pattern: str
    """In RE2's syntax: that of `re` without look-around and back-references."""
    replacement: str
    r"""What stands there instead; `\1` is the first group."""
    name: str = ""


class RulesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of `--redact`."""

    built_in: tuple[str, ...] = tuple(BUILT_IN)
    rules: list[Rule] = []


@dataclass(frozen=True, slots=True)
class Redactor:
    """Takes out what its rules find, and counts it."""

    rules: tuple[tuple[str, Any, str], ...]
    """Name, compiled pattern, replacement."""
    counts: Counter[str] = field(default_factory=Counter)

    def text(self, text: str) -> str:
        for name, pattern, replacement in self.rules:
            text, found = pattern.subn(replacement, text)
            self.counts[name] += found
        return text

    def value(self, value: Any) -> Any:
        """The same JSON with every text in it redacted, names of fields and `data:` URLs excepted."""
        match value:
            case str():
                return value if value.startswith("data:") else self.text(value)
            case list():
                return [self.value(item) for item in value]
            case dict():
                return {name: self.value(item) for name, item in value.items()}
            case _:
                return value


def redactor(built_in: Sequence[str] = tuple(BUILT_IN), rules: Sequence[Rule] = ()) -> Redactor:
    """Rules ready for use; the user's own come first, since they know best what a form means.

    Raises:
        ConfigErrors: rules that do not compile, and built-in ones that are not known.
    """
    reading = Reading()
    compiled = _rules_of(built_in, rules, reading)
    reading.done()
    return compiled


def _rules_of(built_in: Sequence[str], rules: Sequence[Rule], reading: Reading) -> Redactor:
    compiled = []
    for number, rule in enumerate(rules):
        try:
            compiled.append((rule.name or f"rule {number + 1}", _pattern(rule.pattern), rule.replacement))
            if (named := max(map(int, re.findall(r"\\(\d)", rule.replacement)), default=0)) > compiled[-1][1].groups:
                reading.wrong(
                    f"rules[{number}]", f"the replacement names group {named}, which the pattern does not have"
                )
        except re2.error as error:
            reason = error.args[0] if error.args else error
            said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            reading.wrong(f"rules[{number}]", f"{rule.pattern[:80]!r} does not compile: {said}")
    for number, name in enumerate(built_in):
        if reading.known(name, BUILT_IN, f"built_in[{number}]", "built-in rule"):
            compiled.append((name, _pattern(BUILT_IN[name]), f"[{name.removesuffix('s')}]"))
    return Redactor(tuple(compiled))


def _pattern(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def read_rules(path: Path) -> Redactor:
    """The rules of a YAML file: `rules: [{pattern, replacement}]`, and which of the `built_in` ones apply.

    Raises:
        NotFound: there is no such file.
        ConfigErrors: all that is wrong with it, with its lines.
    """
    document = read_yaml(path, "file of rules", field="--redact")
    file = document.convert(RulesFile)
    compiled = None if file is None else _rules_of(file.built_in, file.rules, document)
    return document.finish(compiled)
