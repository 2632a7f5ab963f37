"""YAML parsing beyond PyYAML: repeated keys and infinite numbers are errors, and every value has a line."""

from __future__ import annotations

import math
from typing import Any

import yaml

from tierwise.spec.reading import Reading

MOST_VALUES = 20_000
"""Limit per file with aliases expanded: a few lines of nested aliases can expand to more values than fit in memory."""

MOST_BYTES = 2 * 2**20
"""Limit of a file, and of the paths of its values together: long keys multiply with aliases too."""

DEEPEST = 64
"""Limit of lists and mappings within each other."""

LONGEST_NUMBER = 400
"""Limit of the characters of a number: conversion takes quadratic time."""


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


_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
"""What a text without quotes is, by its first character."""


class _BoundedLoader(yaml.SafeLoader):
    """Stops at the limits while it reads, before anything is built. A date is a text, as it is in JSON."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = _RESOLVERS
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        _check_count(self._nodes)
        self._depth += 1
        if self._depth > DEEPEST:
            raise NotYamlError("not YAML: it is nested too deeply")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _parsed(text: str, lines: dict[str, int], reading: Reading) -> Any:
    if len(text) > MOST_BYTES:
        raise NotYamlError(f"has {len(text):,} characters; the most is {MOST_BYTES:,}")
    root = yaml.compose(text, Loader=_BoundedLoader)
    if root is None:
        raise NotYamlError("the file is empty")
    _Walk(lines, reading).take(root, "", ())
    return yaml.constructor.SafeConstructor().construct_document(root)


def _check_count(values: int) -> None:
    if values > 2 * MOST_VALUES:  # a mapping's value has a key, which is a node too
        raise NotYamlError(f"holds more than {MOST_VALUES:,} values")


class _Walk:
    """Looks at every value, aliases expanded."""

    def __init__(self, lines: dict[str, int], reading: Reading) -> None:
        self._lines, self._reading = lines, reading
        self._characters = 0

    def take(self, node: yaml.Node, path: str, around: tuple[yaml.Node, ...]) -> None:
        """Note the line of a value, which is within others, and of all values in it.

        Raises:
            NotYamlError: it exceeds a limit, or contains itself.
        """
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        self._characters += len(path)
        if len(self._lines) > MOST_VALUES:
            raise NotYamlError(f"holds more than {MOST_VALUES:,} values")
        if self._characters > MOST_BYTES or len(around) > DEEPEST:
            raise NotYamlError("its aliases expand to too much; write the values themselves", line)
        if any(node is outer for outer in around):
            raise NotYamlError(f"not YAML: {path} contains itself; an alias must refer to a value outside of it", line)
        around = (*around, node)
        if isinstance(node, yaml.MappingNode):
            self._take_mapping(node, path, around)
        elif isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self.take(item, f"{path}[{position}]", around)
        elif isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS:
            if len(node.value) > LONGEST_NUMBER:
                raise NotYamlError(
                    f"not YAML: a number has {len(node.value):,} characters; the most is {LONGEST_NUMBER}", line
                )
            if node.tag == _FLOAT and not _is_finite(node):
                self._reading.wrong(path, f"{node.value} is not a finite number")

    def _take_mapping(self, node: yaml.MappingNode, path: str, around: tuple[yaml.Node, ...]) -> None:
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            inner = f"{path}.{name}" if path else name
            line = key.start_mark.line + 1
            if name in seen:
                self._reading.repeated(inner, self._lines[inner], line)
            seen.add(name)
            self._lines[inner] = line
            self.take(value, inner, around)


_FLOAT = "tag:yaml.org,2002:float"
_NUMBERS = frozenset({_FLOAT, "tag:yaml.org,2002:int"})


def _is_finite(node: yaml.ScalarNode) -> bool:
    return math.isfinite(yaml.constructor.SafeConstructor().construct_yaml_float(node))
