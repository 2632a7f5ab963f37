"""Whether a JSON Schema can be applied at all: its references lead somewhere, and not round in a circle; its patterns
can be matched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import referencing
import referencing.exceptions
import referencing.jsonschema

from tierwise.verifiers.ecma import to_re2
from tierwise.verifiers.patterns import compiled

_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_IN_PLACE = ("not", "if", "then", "else")
_SPECIFICATION = referencing.jsonschema.DRAFT202012


def check(schema: Any, dialect: str, validate: Callable[[Any], str | None]) -> None:
    """Read every part of a schema that can be reached.

    Args:
        schema: one that fits the meta-schema of its draft.
        dialect: the URL of that draft.
        validate: why a part that is only referred to does not fit the meta-schema; None where it does.

    Raises:
        ValueError: it can never be applied, and why.
    """
    specification = referencing.jsonschema.specification_with(dialect, default=_SPECIFICATION)
    try:
        _Walk(specification, validate).all(schema)
    except (referencing.exceptions.Unresolvable, referencing.exceptions.CannotDetermineSpecification) as error:
        raise ValueError(f"a reference leads to nothing within the schema: {str(error)[:120]}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (AttributeError, KeyError, TypeError, LookupError) as error:
        raise ValueError(f"a part of it is no schema: {str(error)[:120]}") from error


class _Walk:
    def __init__(self, specification: Any, validate: Callable[[Any], str | None]) -> None:
        self._specification = specification
        self._validate = validate
        self._seen: set[int] = set()
        self._edges: dict[int, list[int]] = {}
        self._held: list[Any] = []  # keeps what is identified by its id alive

    def all(self, schema: Any) -> None:
        resource = self._specification.create_resource(schema)
        base = (resource.id() if isinstance(schema, dict) else "") or ""
        registry: Any = referencing.Registry().with_resource(base, resource)
        waiting = [(schema, registry.crawl().resolver(base))]
        referred: list[tuple[Any, Any]] = []
        while waiting or referred:
            if not waiting:
                target, resolver = referred.pop()
                if id(target) in self._seen:
                    continue
                if not isinstance(target, dict | bool):
                    raise ValueError(f"a reference leads to {str(target)[:40]!r}, which is no schema")
                if (wrong := self._validate(target)) is not None:
                    raise ValueError(f"a part that is referred to is no schema: {wrong}")
                waiting.append((target, resolver))
            part, resolver = waiting.pop()
            if id(part) in self._seen or not isinstance(part, dict):
                continue
            self._seen.add(id(part))
            self._held.append(part)
            self._patterns(part)
            self._edges[id(part)] = [id(inner) for inner in _in_place(part)]
            if isinstance(part.get("$ref"), str):
                found = resolver.lookup(part["$ref"])
                self._edges[id(part)].append(id(found.contents))
                referred.append((found.contents, found.resolver))
            for inner in self._specification.subresources_of(part):
                inside = self._specification.create_resource(inner)
                waiting.append((inner, resolver.in_subresource(inside) if isinstance(inner, dict) else resolver))
        self._no_circle()

    @staticmethod
    def _patterns(part: dict[str, Any]) -> None:
        pattern, named = part.get("pattern"), part.get("patternProperties")
        for one in (*([pattern] if isinstance(pattern, str) else ()), *(named if isinstance(named, dict) else ())):
            compiled(to_re2(one))

    def _no_circle(self) -> None:
        """Follow references without going into the value; coming back to a part would go on for ever."""
        done: set[int] = set()
        for start in self._edges:
            path: list[tuple[int, Iterator[int]]] = [] if start in done else [(start, iter(self._edges[start]))]
            on_path = {start}
            while path:
                part, edges = path[-1]
                following = next(edges, None)
                if following is None:
                    path.pop()
                    on_path.discard(part)
                    done.add(part)
                elif following in on_path:
                    raise ValueError("it refers to itself without end")
                elif following not in done and following in self._edges:
                    on_path.add(following)
                    path.append((following, iter(self._edges[following])))


def _in_place(part: dict[str, Any]) -> Iterator[Any]:
    """The schemas within a schema that are applied to the same value."""
    for name in _IN_PLACE_LISTS:
        yield from part[name] if isinstance(part.get(name), list) else ()
    for name in _IN_PLACE:
        if name in part:
            yield part[name]
    dependent = part.get("dependentSchemas")
    yield from dependent.values() if isinstance(dependent, dict) else ()
