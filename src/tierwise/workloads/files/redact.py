"""Redacts recorded texts before they are written.

Rules match patterns, and no rule finds every name: a person must review the result before it is shared.
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
"""Built-in patterns by name, in the order in which they are applied."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One redaction rule."""

    pattern: str
    """A regular expression in RE2's syntax: that of `re` without look-around and back-references."""
    replacement: str
    r"""The replacement; `\1` is the first group."""
    name: str = ""


class RulesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of `--redact`."""

    built_in: tuple[str, ...] = tuple(BUILT_IN)
    rules: list[Rule] = []


@dataclass(frozen=True, slots=True)
class Redactor:
    """Applies rules to texts, and counts the replacements."""

    rules: tuple[tuple[str, Any, str], ...]
    """Name, compiled pattern, replacement."""
    counts: Counter[str] = field(default_factory=Counter)

    def text(self, text: str) -> str:
        for name, pattern, replacement in self.rules:
            text, found = pattern.subn(replacement, text)
            self.counts[name] += found
        return text

    def value(self, value: Any) -> Any:
        """A JSON value with every text redacted, except field names and `data:` URLs."""
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
    """Compile rules. The user's rules apply before the built-in ones, because they are more specific.

    Raises:
        ConfigErrors: rules that do not compile, and unknown built-in rules.
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
            if (group := max(map(int, re.findall(r"\\(\d)", rule.replacement)), default=0)) > compiled[-1][1].groups:
                reading.wrong(
                    f"rules[{number}]", f"the replacement refers to group {group}, which the pattern does not have"
                )
        except re2.error as error:
            reason = error.args[0] if error.args else error
            message = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            reading.wrong(f"rules[{number}]", f"{rule.pattern[:80]!r} does not compile: {message}")
    for number, name in enumerate(built_in):
        if reading.known(name, BUILT_IN, f"built_in[{number}]", "built-in rule"):
            compiled.append((name, _pattern(BUILT_IN[name]), f"[{name.removesuffix('s')}]"))
    return Redactor(tuple(compiled))


def _pattern(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def read_rules(path: Path) -> Redactor:
    """Read the rules of a YAML file: `rules: [{pattern, replacement}]`, and the `built_in` rules to apply.

    Raises:
        NotFound: the file does not exist.
        ConfigErrors: every error, with its line.
    """
    document = read_yaml(path, "file of rules", field="--redact")
    file = document.convert(RulesFile)
    compiled = None if file is None else _rules_of(file.built_in, file.rules, document)
    return document.finish(compiled)
