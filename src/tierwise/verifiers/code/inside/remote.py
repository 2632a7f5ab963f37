"""The tests' side of an object that the answer made: what is asked of it, the answer's process does.

Tests compare a result with what they expect. An object of the answer's own could say yes to any comparison, so a result
that is no plain data equals no plain data, and no operator takes both. Only an object that the tests have made, by
calling a class that they name (`Vector(1, 2)`), has its own operators; the verdict says then that it relied on them.
"""

from __future__ import annotations

import sys

import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PLAIN_NAMES = {name for kind in wire.PLAIN_TYPES for name in dir(kind) if not name.startswith("__")}
BANNED = ("unittest", "doctest", "bdb", "pdb")
"""Modules whose exceptions mean something to what runs the tests: `unittest.SkipTest`."""

RESULT, DERIVED, MADE = range(3)
"""How far an object is trusted: the result of a function; what comes of an object that the tests know; and one that the
tests have made themselves."""

NO_OPERATOR = "the answer returned an object of its own class {}, where the tests treat it as plain data"


class Remote:
    # An object in the answer's process. Its docstring is that of the object.

    __slots__ = ("_tw_classes", "_tw_number", "_tw_peer", "_tw_trusted")
    __hash__: Any

    def __init__(self, peer: Any, number: int, classes: list[Any], *, trusted: int) -> None:
        object.__setattr__(self, "_tw_peer", peer)
        object.__setattr__(self, "_tw_number", number)
        object.__setattr__(self, "_tw_classes", classes)
        object.__setattr__(self, "_tw_trusted", trusted)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self._tw_peer.ask("get", self, "__doc__")

    def __getattr__(self, name: str) -> Any:
        if self._tw_trusted == RESULT and name in PLAIN_NAMES:
            raise AttributeError(NO_OPERATOR.format(kind_of(self)))
        return self._tw_peer.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._tw_peer.ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._tw_peer.ask("delete", self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._tw_peer.ask("call", self, *args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self._tw_peer.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._tw_peer.ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._tw_peer.ask("delitem", self, key)

    def __instancecheck__(self, value: Any) -> bool:
        if isinstance(value, Remote):
            return any(row[2] == self._tw_number for row in value._tw_classes)
        data = getattr(value, "_tw_remote", None)
        return isinstance(data, Remote) and self.__instancecheck__(data)

    def __subclasscheck__(self, other: Any) -> bool:
        return isinstance(other, Remote) and any(row[2] == self._tw_number for row in other._tw_classes)

    def __enter__(self) -> Any:
        return self._tw_peer.ask("enter", self)

    def __exit__(self, *error: object) -> Any:
        return self._tw_peer.ask("exit", self) and error[0] is None

    async def __aenter__(self) -> Any:
        return self._tw_peer.ask("aenter", self)

    async def __aexit__(self, *error: object) -> None:
        self._tw_peer.ask("aexit", self)

    def __aiter__(self) -> Any:
        return self._tw_peer.ask("aiter", self)

    async def __anext__(self) -> Any:
        return self._tw_peer.ask("anext", self)

    def __iter__(self) -> Any:
        return self._tw_peer.ask("iter", self)

    def __next__(self) -> Any:
        return self._tw_peer.ask("next", self)

    def __reversed__(self) -> Any:
        return self._tw_peer.ask("reversed", self)

    def __bool__(self) -> bool:
        return exactly(bool, self._tw_peer.ask("bool", self))

    def __len__(self) -> int:
        return exactly(int, self._tw_peer.ask("len", self))

    def __str__(self) -> str:
        return exactly(str, self._tw_peer.ask("str", self))

    def __repr__(self) -> str:
        return exactly(str, self._tw_peer.ask("repr", self))

    def __format__(self, how: str) -> str:
        return exactly(str, self._tw_peer.ask("format", self, how))

    def __bytes__(self) -> bytes:
        return exactly(bytes, self._tw_peer.ask("bytes", self))

    def __int__(self) -> int:
        return exactly(int, self._tw_peer.ask("int", self))

    def __float__(self) -> float:
        return exactly(float, self._tw_peer.ask("float", self))

    def __complex__(self) -> complex:
        return exactly(complex, self._tw_peer.ask("complex", self))

    def __index__(self) -> int:
        return exactly(int, self._tw_peer.ask("index", self))

    def __dir__(self) -> Any:
        return self._tw_peer.ask("dir", self)

    def __copy__(self) -> Any:
        return self._tw_peer.ask("copy", self)

    def __deepcopy__(self, seen: Any) -> Any:
        return self._tw_peer.ask("deepcopy", self)

    def __hash__(self) -> int:  # type: ignore[no-redef]
        return exactly(int, self._tw_peer.ask("hash", self)) if self._tw_trusted else id(self)

    def __contains__(self, one: Any) -> bool:
        if self._tw_trusted < MADE:
            raise TypeError(NO_OPERATOR.format(kind_of(self)))
        self._tw_peer.relied_on(self, "in")
        return exactly(bool, self._tw_peer.ask("contains", self, one))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Remote) and other._tw_number == self._tw_number:
            return True
        if self._tw_trusted < MADE and not isinstance(other, Remote):
            return False
        found = self._tw_peer.ask("eq", self, other) is True
        if found:
            self._tw_peer.relied_on(self, "==")
        return found

    def __ne__(self, other: object) -> bool:
        if isinstance(other, Remote) and other._tw_number == self._tw_number:
            return False
        if self._tw_trusted < MADE and not isinstance(other, Remote):
            return True
        found = self._tw_peer.ask("ne", self, other) is not False
        if found:
            self._tw_peer.relied_on(self, "!=")
        return found


def _binary(name: str) -> Any:
    def operator(self: Remote, *others: Any) -> Any:
        if self._tw_trusted < MADE and not (others and all(isinstance(one, Remote) for one in others)):
            return NotImplemented
        self._tw_peer.relied_on(self, name)
        return self._tw_peer.ask(name, self, *others)

    return operator


def _unary(name: str) -> Any:
    def operator(self: Remote, *others: Any) -> Any:
        return self._tw_peer.ask(name, self, *others)

    return operator


_ARITHMETIC = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
    *("and_", "or_", "xor", "lshift", "rshift"),
)
for _name in (*_ARITHMETIC, "lt", "le", "gt", "ge", "divmod"):
    _bare = _name.rstrip("_")
    setattr(Remote, f"__{_bare}__", _binary(_name))
    if _name in _ARITHMETIC:
        setattr(Remote, f"__r{_bare}__", _binary(f"r{_name}"))
        setattr(Remote, f"__i{_bare}__", _binary(f"i{_name}"))
for _name in ("abs", "neg", "pos", "invert", "round"):
    setattr(Remote, f"__{_name}__", _unary(_name))


def exactly(kind: type[Any], value: Any) -> Any:
    """The value, of which only this type is taken."""
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def kind_of(remote: Remote) -> str:
    """The name of its class."""
    return str(remote._tw_classes[0][1]) if remote._tw_classes else "object"


class Mixed:
    """Data of a built-in type that is an object besides: a named tuple, a member of an IntEnum."""

    _tw_remote: Remote

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_tw_"):
            raise AttributeError(name)
        return getattr(self._tw_remote, name)


_MIXED: dict[type, Any] = {base: type(base.__name__, (Mixed, base), {}) for base in wire.MIXED}


def mixed(data: Any, remote: Remote) -> Any:
    """The data with the object's other attributes; it compares as data of its built-in type does."""
    made = _MIXED[type(data)](data)
    object.__setattr__(made, "_tw_remote", remote)
    return made


class Errors:
    """The exceptions of the answer: built-in ones and those of modules that the tests have imported are themselves;
    for each class of the answer's own there is one here.
    """

    def __init__(self) -> None:
        self._made: dict[int, type[BaseException]] = {}

    def kind(self, classes: list[Any]) -> type[BaseException]:
        """The class for a list of a class and its bases, each with module, name and number."""
        for place, (module, name, number) in enumerate(classes):
            if number in self._made:
                return self._made[number]
            if found := _known(str(module), str(name)):
                return found
            base = self.kind(classes[place + 1 :])
            attributes = {"__module__": "answer", "__getattr__": _of_remote, "__str__": _text}
            self._made[number] = type(str(name), (base,), attributes)
            return self._made[number]
        return Exception

    def make(self, peer: Any, raw: list[Any]) -> BaseException:
        """The exception that the answer raised."""
        classes, args, said, where, number = raw
        kind = self.kind(classes)
        values = peer.codec.all(args)
        try:
            error = kind(*values)
        except Exception:
            error = kind.__new__(kind)
        error.args = tuple(values)
        if kind.__module__ == "answer":
            vars(error)["_tw_said"] = str(said)
            vars(error)["_tw_remote"] = Remote(peer, number, classes, trusted=DERIVED)
        if where:
            vars(error)["_tw_where"] = str(where)
        return error


def _known(module: str, name: str) -> type[BaseException] | None:
    is_ours = module == "builtins" or module.partition(".")[0] in sys.stdlib_module_names
    if not is_ours or module.partition(".")[0] in BANNED or module not in sys.modules:
        return None
    found = vars(sys.modules[module]).get(name)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _of_remote(error: Any, name: str) -> Any:
    if name.startswith("_tw_"):
        raise AttributeError(name)
    return getattr(error._tw_remote, name)


def _text(error: Any) -> str:
    return str(vars(error).get("_tw_said", Exception.__str__(error)))
