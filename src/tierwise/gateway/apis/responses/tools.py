"""Tools of a request: functions, custom tools and namespaces become the functions of a chat request, and calls of those
become calls of what they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from tierwise.gateway.apis.responses.reading import kind_of, read, refuse
from tierwise.spec.json import Json

INPUT = "input"
"""The one argument of the function that a custom tool becomes."""

_LEFT_OUT = frozenset({"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"})
"""Hosted tools that are only an offer to the model, and that clients (Codex) make by default: they are left out."""

_FREE_INPUT: Json = {
    "type": "object",
    "properties": {INPUT: {"type": "string"}},
    "required": [INPUT],
    "additionalProperties": False,
}


class _Function(msgspec.Struct):
    type: str
    name: str
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: str


class _Custom(msgspec.Struct):
    type: str
    name: str
    description: str | None = None
    format: dict[str, Any] | None = None


class _Namespace(msgspec.Struct):
    type: str
    name: str
    tools: list[dict[str, Any]]
    description: str | None = None


class _Allowed(msgspec.Struct):
    type: str
    mode: str
    tools: list[dict[str, Any]]


class _Choice(msgspec.Struct):
    type: str
    name: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolName:
    """What a function of the chat request is to the client."""

    name: str
    namespace: str = ""
    is_custom: bool = False


@dataclass(slots=True)
class Tools:
    """The tools of a request."""

    functions: list[dict[str, Json]] = field(default_factory=list)
    """As a chat request has them."""
    names: dict[str, ToolName] = field(default_factory=dict)
    """What each function is to the client, by its name in the chat request."""
    left_out: list[str] = field(default_factory=list)
    """Types of hosted tools that the model is not shown."""

    def add(self, tool: Any, where: str) -> None:
        """Read one tool.

        Raises:
            SpecError: it is hosted by OpenAI, or cannot be translated.
        """
        match kind := kind_of(tool, where):
            case "function" | "custom":
                self._add_callable(tool, where)
            case "namespace":
                space = read(tool, _Namespace, where)
                for index, inner in enumerate(space.tools):
                    place = f"{where}.tools[{index}]"
                    if kind_of(inner, place) not in ("function", "custom"):
                        raise refuse(f"{place}.type", f"{inner['type']!r} is not allowed; allowed: function, custom")
                    self._add_callable(inner, place, space)
            case _ if kind in _LEFT_OUT:
                self.left_out.append(kind)
            case _:
                raise refuse(
                    f"{where}.type",
                    f"{kind!r} is a tool that runs at OpenAI, or one that no chat model is given; allowed: function, "
                    "custom, namespace, and web_search, which is left out",
                )

    def _add_callable(self, tool: Any, where: str, space: _Namespace | None = None) -> None:
        if tool["type"] == "custom":
            asked = read(tool, _Custom, where)
            if asked.format is not None:
                _check_format(asked.format, f"{where}.format")
            parameters, strict = _FREE_INPUT, None
        else:
            asked = read(tool, _Function, where)
            parameters, strict = asked.parameters, asked.strict
        name = asked.name if space is None else f"{space.name}__{asked.name}"
        if name in self.names:
            raise refuse(f"{where}.name", f"two tools are called {name!r}; give each a name of its own")
        described = [text for text in (space.description if space else None, asked.description) if text]
        function: dict[str, Json] = {"name": name}
        if described:
            function["description"] = "\n\n".join(described)
        if parameters is not None:
            function["parameters"] = parameters
        if strict is not None:
            function["strict"] = strict
        self.functions.append({"type": "function", "function": function})
        self.names[name] = ToolName(
            name=asked.name, namespace=space.name if space else "", is_custom=tool["type"] == "custom"
        )

    def choose(self, choice: Any) -> Json:
        """The `tool_choice` of the chat request. `allowed_tools` leaves only those tools.

        Raises:
            SpecError: it asks for a tool that cannot be called.
        """
        where = "tool_choice"
        if isinstance(choice, str):
            if choice not in ("auto", "none", "required"):
                raise refuse(where, f"{choice!r} is not allowed; allowed: auto, none, required, or an object")
            if choice == "required" and not self.functions:
                raise refuse(where, "required, but the request has no tool that can be called here")
            return choice
        match kind := kind_of(choice, where):
            case "function" | "custom":
                chosen: Json = self._named(choice, where)
                return chosen
            case "allowed_tools":
                allowed = read(choice, _Allowed, where)
                if allowed.mode not in ("auto", "required"):
                    raise refuse(f"{where}.mode", f"{allowed.mode!r} is not allowed; allowed: auto, required")
                kept = set()
                for index, tool in enumerate(allowed.tools):
                    place = f"{where}.tools[{index}]"
                    if kind_of(tool, place) not in _LEFT_OUT:
                        kept.add(self._named(tool, place)["function"]["name"])
                self.functions = [one for one in self.functions if _name(one) in kept]
                return self.choose(allowed.mode)
            case _:
                raise refuse(f"{where}.type", f"{kind!r} is not allowed; allowed: function, custom, allowed_tools")

    def _named(self, choice: Any, where: str) -> dict[str, Any]:
        asked = read(choice, _Choice, where)
        name = chat_name(asked.name, asked.namespace or "")
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise refuse(f"{where}.name", f"the request has no tool {name!r} that can be called here; it has: {known}")
        return {"type": "function", "function": {"name": name}}

    def named(self, name: str) -> ToolName:
        """What the model called, which may be nothing that it was given."""
        return self.names.get(name) or ToolName(name=name)


def _check_format(given: dict[str, Any], where: str) -> None:
    if kind_of(given, where) != "text":
        raise refuse(
            where,
            "a grammar would not bind the model; allowed: text. Describe the syntax in `description`",
        )
    read(given, _Format, where)


def chat_name(name: str, namespace: str) -> str:
    """The name of a tool as a function of the chat request."""
    return f"{namespace}__{name}" if namespace else name


def _name(tool: dict[str, Any]) -> str:
    return str(tool["function"]["name"])
