"""YAML parsing beyond PyYAML: repeated keys and infinite numbers are errors, and every value has a line."""

from __future__ import annotations

import math
from typing import Any

import yaml

from tierwise.spec.reading import Reading

MOST_VALUES = 100_000
"""Limit per file with aliases expanded: a few lines of nested aliases can expand to more values than fit in memory."""


class NotYamlError(ValueError):
    """The text is not YAML; `line` is the line of the syntax error, if known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str, lines: dict[str, int], reading: Reading) -> Any:
    """Parse a document.

    Args:
        text: the document's text.
        lines: filled with the line, from 1, of each path.
        reading: records repeated keys and numbers that are not finite.

    Raises:
        NotYamlError: it is empty, or not YAML.
    """
    try:
        return _parsed(text, lines, reading)
    except NotYamlError:
        raise
    except RecursionError:
        raise NotYamlError("not YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # PyYAML passes `2024-13-45` and `!!int x` on to Python
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"column {mark.column + 1}: "
        problem = getattr(error, "problem", None) or error
        raise NotYamlError(f"not YAML: {where}{problem}", None if mark is None else mark.line + 1) from None


def _parsed(text: str, lines: dict[str, int], reading: Reading) -> Any:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        raise NotYamlError("the file is empty")
    _walk(root, "", lines, reading, ())
    return yaml.constructor.SafeConstructor().construct_document(root)


def _walk(node: yaml.Node, path: str, lines: dict[str, int], reading: Reading, around: tuple[yaml.Node, ...]) -> None:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if len(lines) > MOST_VALUES:
        raise NotYamlError(f"holds more than {MOST_VALUES:,} values")
    if any(node is outer for outer in around):
        raise NotYamlError(f"not YAML: {path} contains itself; an alias must refer to a value outside of it", line)
    around = (*around, node)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            inner = f"{path}.{name}" if path else name
            line = key.start_mark.line + 1
            if name in seen:
                reading.repeated(inner, lines[inner], line)
            seen.add(name)
            lines[inner] = line
            _walk(value, inner, lines, reading, around)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _walk(item, f"{path}[{position}]", lines, reading, around)
    elif isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:float" and not _is_finite(node):
        reading.wrong(path, f"{node.value} is not a finite number")


def _is_finite(node: yaml.ScalarNode) -> bool:
    return math.isfinite(yaml.constructor.SafeConstructor().construct_yaml_float(node))
