"""YAML with two things that PyYAML does not give: names that stand twice are errors, and values know their line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from tierwise.spec.reading import Reading


def read_yaml(text: str, reading: Reading) -> tuple[Any, dict[str, int]]:
    """The value of a document, and the line (from 1) of each of its paths; what is wrong is noted in `reading`."""
    lines: dict[str, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            reading.wrong("", "the file is empty")
            return None, lines
        _walk(root, "", lines, reading, ())
        return yaml.safe_load(text), lines
    except RecursionError:
        reading.wrong("", "not YAML: it nests too deep")
        return None, lines
    except (yaml.YAMLError, ValueError) as error:  # PyYAML lets `2024-13-45` and `!!int x` through to Python
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        reading.wrong("", f"not YAML: {where}{getattr(error, 'problem', None) or error}")
        return None, lines


def _walk(node: yaml.Node, path: str, lines: dict[str, int], reading: Reading, around: tuple[yaml.Node, ...]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if any(node is outer for outer in around):
        raise yaml.YAMLError(f"{path} holds itself; an alias may only name what stands elsewhere")
    around = (*around, node)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            inner = f"{path}.{name}" if path else name
            line = key.start_mark.line + 1
            if name in seen:
                reading.wrong(inner, f"stands twice, at line {lines[inner]} and at line {line}; names are given once")
            seen.add(name)
            lines[inner] = line
            _walk(value, inner, lines, reading, around)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _walk(item, f"{path}[{position}]", lines, reading, around)
