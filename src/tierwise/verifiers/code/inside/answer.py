"""The answer's side: it runs the answer's code, and does what the tests ask of it.

Nothing here is trusted by the other side, because the answer can change all of it.
"""

from __future__ import annotations

import _operator as operator
import io
import os
import sys

import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Callable
    from typing import Any

MOST_PRINTED = 64 * 1024
FILES = {"setup": "setup.py", "code": "answer.py"}
MUTABLE = (list, dict, set, bytearray)


class Printed(io.TextIOWrapper):
    """What the answer prints while it is asked for something; the tests' side prints it there."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="replace", write_through=True)

    def write(self, text: str) -> int:
        buffer: Any = self.buffer
        return super().write(text) if buffer.tell() < MOST_PRINTED else len(text)

    def taken(self) -> str:
        """What was printed since the last time."""
        buffer: Any = self.buffer
        text = buffer.getvalue()[:MOST_PRINTED].decode(errors="replace")
        buffer.seek(0)
        buffer.truncate()
        return str(text)


class Theirs:
    """A function or an iterator of the tests; all that can be done with it is to call it, or to take the next item."""

    def __init__(self, peer: Peer, number: int) -> None:
        self._peer = peer
        self._number = number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._peer.ask("call", self._number, args, kwargs)


class TheirIterator(Theirs):
    def __iter__(self) -> TheirIterator:
        return self

    def __next__(self) -> Any:
        return self._peer.ask("next", self._number, (), {})


def sends(value: Any) -> str:
    """How an object behaves on the other side."""
    if isinstance(value, type):
        return "error" if issubclass(value, BaseException) else "class"
    return "coroutine" if hasattr(type(value), "__await__") else ""


def awaited(value: Any) -> Any:
    import asyncio

    async def main() -> Any:
        return await value

    return asyncio.run(main())


def item_of(value: Any, key: Any) -> Any:
    return value[key]


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, *args, **kwargs: target(*args, **kwargs),
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "getitem": item_of,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "contains": lambda value, one: one in value,
    "instance": lambda kind, value: isinstance(value, kind),
    "subclass": lambda kind, other: issubclass(other, kind),
    "bool": bool,
    "len": len,
    "iter": iter,
    "next": next,
    "reversed": reversed,
    "str": str,
    "repr": repr,
    "format": format,
    "hash": hash,
    "int": int,
    "float": float,
    "complex": complex,
    "index": operator.index,
    "round": round,
    "abs": abs,
    "neg": operator.neg,
    "pos": operator.pos,
    "invert": operator.invert,
    "bytes": bytes,
    "dir": dir,
    "copy": lambda value: __import__("copy").copy(value),
    "deepcopy": lambda value: __import__("copy").deepcopy(value),
    "await": awaited,
    "enter": lambda value: type(value).__enter__(value),
    "exit": lambda value: type(value).__exit__(value, None, None, None),
    "aenter": lambda value: awaited(type(value).__aenter__(value)),
    "aexit": lambda value: awaited(type(value).__aexit__(value, None, None, None)),
    "aiter": lambda value: type(value).__aiter__(value),
    "anext": lambda value: awaited(type(value).__anext__(value)),
}
_ARITHMETIC = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
    *("and_", "or_", "xor", "lshift", "rshift"),
)
_BINARY = (*_ARITHMETIC, "eq", "ne", "lt", "le", "gt", "ge")


def _reflected(do: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: do(b, a)


OPERATIONS |= {name: getattr(operator, name) for name in _BINARY}
OPERATIONS |= {f"r{name}": _reflected(getattr(operator, name)) for name in _ARITHMETIC}
OPERATIONS |= {f"i{name}": getattr(operator, f"i{name.rstrip('_')}") for name in _ARITHMETIC}
OPERATIONS["divmod"] = divmod


class Peer:
    """The other end of the pipe."""

    def __init__(self, pipe: wire.Pipe, module: types.ModuleType) -> None:
        self._pipe = pipe
        self._module = module
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._codec = wire.Codec(self._export, self._resolve)
        self.printed = Printed()

    def serve(self) -> None:
        """Do what the tests ask until they have ended."""
        while True:
            self._pipe.send(self._done(self._pipe.receive()))

    def ask(self, what: str, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the tests call one of their functions; they may ask for more meanwhile."""
        self._pipe.send(["ask", what, number, self._codec.rows(args), self._codec.write(kwargs)])
        while True:
            message = self._pipe.receive()
            if message[0] == "answer":
                return self._codec.read(message[1])
            if message[0] == "raise":
                kind = getattr(__import__("builtins"), message[1], RuntimeError)
                raise kind(*self._codec.all(message[2]))
            self._pipe.send(self._done(message))

    def _done(self, message: list[Any]) -> list[Any]:
        changed = None
        try:
            what, *rest = message
            if what == "load":
                value = self._loaded(rest[0])
            else:
                target, args, kwargs, watches = rest
                given = self._codec.all(args)
                named = self._codec.read(kwargs)
                before = self._codec.rows(given) if watches and _is_mutable(given) else None
                value = OPERATIONS[what](self._codec.read(target), *given, **named)
                if before is not None and (after := self._codec.rows(given)) != before:
                    changed = after
            written = ["ok", self._codec.write(value)]
        except wire.Ended:
            raise
        except BaseException as error:
            written = ["error", self._error(error)]
        return [*written, self.printed.taken(), changed]

    def _loaded(self, names: list[str]) -> Any:
        """Those of these names that the answer defines."""
        return {name: getattr(self._module, name) for name in names if hasattr(self._module, name)}

    def _error(self, error: BaseException) -> list[Any]:
        try:
            args = self._codec.rows(error.args)
        except Exception:
            args = [str(error)]
        said, where = "", ""
        try:
            said = str(error)
            lines = [frame for frame in _frames(error.__traceback__) if frame[0] == "answer.py"]
            where = f"line {lines[-1][1]}" if lines else ""
        except Exception:
            pass
        return [self._classes(type(error)), args, said, where, self._number(error)]

    def _classes(self, kind: type) -> list[Any]:
        return [[one.__module__, one.__qualname__, self._number(one)] for one in kind.__mro__[:-1]]

    def _number(self, value: Any) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return number

    def _export(self, value: Any) -> list[Any]:
        if isinstance(value, Theirs):
            return ["o", value._number]
        if isinstance(value, type(sys)):
            return ["m", value.__name__, self._number(value)]
        kind = type(value)
        described = [self._number(value), self._classes(value if isinstance(value, type) else kind), sends(value)]
        for base in wire.MIXED:
            if isinstance(value, base):
                return ["x", self._codec.write(_as(base, value)), *described]
        return ["h", *described]

    def _resolve(self, raw: list[Any]) -> Any:
        match raw:
            case ["o", number]:
                return self._objects[number]
            case ["g", number]:
                return TheirIterator(self, number)
            case ["h", number]:
                return Theirs(self, number)
        raise wire.CannotCross(f"unknown: {raw[0]}")


def _as(base: Any, value: Any) -> Any:
    """The data of an instance of a class derived from a built-in type, whatever the class says about it."""
    if base is dict:
        return dict(dict.items(value))
    if base is int:
        return int.__int__(value)
    if base is float:
        return float.__float__(value)
    if base is str:
        return str.__str__(value)
    if base is bytes:
        return bytes.__getitem__(value, slice(None))
    return base(base.__iter__(value))


def _is_mutable(values: list[Any]) -> bool:
    return any(isinstance(one, MUTABLE) or (isinstance(one, tuple) and _is_mutable(list(one))) for one in values)


def _frames(trace: types.TracebackType | None) -> Any:
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def offer(main: types.ModuleType, offers: list[list[str]]) -> None:
    """What the tests import from the standard library is there for the answer's functions too, as in one program."""
    for name, module, attribute in offers:
        if not hasattr(main, name):
            try:
                __import__(module)
                found = sys.modules[module]
                setattr(main, name, getattr(found, attribute) if attribute else found)
            except Exception:
                pass


def serve(source: int, sink: int, given: dict[str, Any]) -> None:
    """Prepare, run the answer's code once the other side says so, and serve."""
    for name in given["imports"]:
        try:
            __import__(name)
        except BaseException:
            pass
    pipe = wire.Pipe(source, sink)
    main = sys.modules["answer"] = type(sys)("answer")
    peer = Peer(pipe, main)
    pipe.send(["ready"])
    pipe.receive()
    sys.stdout = peer.printed
    sys.argv = [""]
    try:
        for name in ("setup", "code"):
            exec(compile(given[name], FILES[name], "exec", dont_inherit=True), main.__dict__)
        offer(main, given["offers"])
        pipe.send(["ok", None, peer.printed.taken(), None])
    except BaseException as error:
        pipe.send(["error", peer._error(error), "", None])
    try:
        peer.serve()
    except wire.Ended:
        os._exit(0)
