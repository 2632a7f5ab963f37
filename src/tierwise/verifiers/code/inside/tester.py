"""The tests' side: it runs the tests, and alone has the pipe that says whether they passed."""

from __future__ import annotations

import _thread
import os
import sys

import calling
import remote
import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FUNCTIONS: tuple[type, ...] = type(lambda: None), type(len), type([].append), type(object().__str__)

MOST_CHARACTERS = 500


class NeedsOneProcess(BaseException):
    """The tests hand over what cannot cross, or use what only the answer's process has."""


class Peer:
    """The other end of the pipe.

    Args:
        pipe: to the answer's process.
        trusted: classes that the tests name, whose operators they rely on.
        watches: whether arguments that a function changes are changed here.
    """

    def __init__(self, pipe: wire.Pipe, trusted: list[str], *, watches: bool) -> None:
        self._pipe = pipe
        self._names = trusted
        self._watches = watches
        self._trusted: set[int] = set()
        self._given: list[Any] = []
        self.codec = wire.Codec(self._export, self._resolve)
        self.errors = remote.Errors()
        self.marks: list[str] = []
        self.problem: BaseException | None = None
        self._gives = remote.RESULT
        self._loads = False
        self._turn = _thread.RLock()

    def begin(self, started: Callable[[], object]) -> Any:
        """Wait for the answer's process, and have it run the answer's code."""
        self._pipe.receive()
        started()
        self._pipe.send(["go"])
        return self._reply()

    def load(self, names: list[str]) -> dict[str, Any]:
        """Those of these names that the answer defines."""
        self._pipe.send(["load", names])
        self._loads = True
        found = self._reply()
        self._loads = False
        if type(found) is not dict:
            raise wire.Ended("it talks nonsense")
        for name in self._names:
            if isinstance(value := found.get(name), remote.Remote):
                self._trusted.add(value._tw_number)
                object.__setattr__(value, "_tw_trusted", remote.DERIVED)
        return found

    def ask(self, what: str, target: Any, *args: Any, **kwargs: Any) -> Any:
        """Have the answer's process do something with one of its objects."""
        with self._turn:
            return self._ask(what, target, args, kwargs)

    def _ask(self, what: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.problem is not None:
            raise self.problem
        try:
            written = self.codec.rows(args)
            message = [what, ["o", target._tw_number], written, self.codec.write(kwargs), self._watches]
        except wire.CannotCross as error:
            self.problem = NeedsOneProcess(str(error))
            raise self.problem from error
        before, self._gives = self._gives, self._given_by(what, target)
        try:
            self._pipe.send(message)
            return self._reply(args, what)
        except wire.Ended as error:
            self.problem = error
            raise
        finally:
            self._gives = before

    def relied_on(self, value: remote.Remote, operator: str) -> None:
        """Note that the verdict depends on what an object of the answer says about itself."""
        mark = f"it relies on {operator} of the answer's own class {remote.kind_of(value)}"
        if mark not in self.marks:
            self.marks.append(mark)

    def _reply(self, args: tuple[Any, ...] = (), what: str = "") -> Any:
        while True:
            message = self._pipe.receive()
            if message[0] == "ask":
                self._pipe.send(self._done(message))
                continue
            if len(message) != 4:
                raise wire.Ended("it talks nonsense")
            kind, body, printed, changed = message
            if printed:
                sys.stdout.write(str(printed))
            if changed is not None and self._watches:
                self._change(args, self.codec.all(changed))
            if kind == "ok":
                return self.codec.read(body)
            raise self._error(body, what)

    def _error(self, body: Any, what: str) -> BaseException:
        try:
            error = self.errors.make(self, body)
        except (TypeError, ValueError, IndexError, KeyError) as nonsense:
            raise wire.Ended("it talks nonsense") from nonsense
        ends_a_loop = isinstance(error, StopIteration | StopAsyncIteration | GeneratorExit)
        if ends_a_loop and what not in ("next", "anext"):  # in `map(f, …)` it would end the tests early, in silence
            return RuntimeError(f"it raised {type(error).__name__}")
        return error

    def _change(self, ours: Any, theirs: list[Any]) -> None:
        self.marks.append("it relies on arguments that the answer changed")
        for old, new in zip(ours, theirs, strict=False):
            restore(old, new)

    def _done(self, message: list[Any]) -> list[Any]:
        """Call a function that the tests have handed over."""
        try:
            _, what, number, args, kwargs = message
            target = self._given[number]
            if what == "next":
                return ["answer", self.codec.write(next(target))]
            return ["answer", self.codec.write(target(*self.codec.all(args), **self.codec.read(kwargs)))]
        except (wire.Ended, NeedsOneProcess):
            raise
        except wire.CannotCross as error:
            self.problem = NeedsOneProcess(str(error))
            raise self.problem from error
        except Exception as error:
            kind = next(one.__name__ for one in type(error).__mro__ if one.__module__ == "builtins")
            return ["raise", kind, [str(error)]]

    def _export(self, value: Any) -> list[Any]:
        if isinstance(value, remote.Remote):
            return ["o", value._tw_number]
        if isinstance(value, remote.Mixed):
            return ["o", value._tw_remote._tw_number]
        if "_tw_remote" in getattr(value, "__dict__", ()):
            return ["o", value._tw_remote._tw_number]
        if isinstance(value, (*FUNCTIONS, type(self._export))) or wire.is_iterator(value):
            self._given.append(value)
            return ["g" if wire.is_iterator(value) else "h", len(self._given) - 1]
        raise wire.CannotCross(f"{type(value).__name__} of the tests is no plain data")

    def _resolve(self, raw: list[Any]) -> Any:
        match raw:
            case ["o", int(number)] if 0 <= number < len(self._given):
                return self._given[number]
            case ["m", str(name), int(number)]:
                if self._loads and name in sys.stdlib_module_names and not name.startswith(remote.BANNED):
                    return calling.imported(name)
                return remote.Remote(self, number, [], trusted=remote.RESULT)
            case ["x", data, int(number), list(classes), _]:
                return remote.mixed(self.codec.read(data), self._remote(number, classes))
            case ["h", int(number), list(classes), sends]:
                if sends == "error":
                    return self.errors.kind(classes)
                made = self._remote(number, classes)
                return self._awaited(made) if sends == "coroutine" else made
        raise wire.Ended("it talks nonsense")

    def _remote(self, number: int, classes: list[Any]) -> remote.Remote:
        is_named = any(row[2] in self._trusted for row in classes)
        return remote.Remote(self, number, classes, trusted=max(self._gives, int(is_named)))

    def _given_by(self, what: str, target: remote.Remote) -> int:
        """How far the result of an operation is trusted."""
        if what == "call" and target._tw_number in self._trusted:
            return remote.MADE
        if what in ("get", "call", "getitem", "next", "await"):
            return min(int(target._tw_trusted), remote.DERIVED)
        return int(target._tw_trusted)

    async def _awaited(self, value: remote.Remote) -> Any:
        return self.ask("await", value)


def restore(old: Any, new: Any) -> None:
    """Make a list, dict or set of the tests what the answer made of its copy, and all that is in it."""
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        kept = [mine if _restored(mine, now) else now for mine, now in zip(old, new, strict=False)]
        if isinstance(old, list):
            old[:] = [*kept, *new[len(kept) :]]
    elif isinstance(old, dict) and isinstance(new, dict):
        rows = {key: old[key] if key in old and _restored(old[key], now) else now for key, now in new.items()}
        old.clear()
        old.update(rows)
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray) or type(old).__name__ == "deque":
        old.clear()
        old.extend(new)


def _restored(old: Any, new: Any) -> bool:
    if type(old) is type(new) and isinstance(old, list | tuple | dict | set | bytearray):
        restore(old, new)
        return not isinstance(old, tuple) or old == new
    return False


def run_tests(peer: Peer, given: dict[str, Any]) -> None:
    """Run the tests; raises whatever they raise."""
    if "unittest" in given["imports"]:
        unittest: Any = calling.imported("unittest")
        unittest.main = lambda *_, **__: None  # test cases are called below
    sys.modules["__main__"] = module = type(sys)("__main__")
    space = module.__dict__
    exec(compile(given["setup"], "setup.py", "exec", dont_inherit=True), space)
    space.update(peer.load(given["names"]))
    space.update({name: calling.imported(name) for name in given["borrowed"]})
    exec(compile(given["tests"], "tests.py", "exec", dont_inherit=True), space)
    calling.call_tests(space, given)


def run(source: int, sink: int, given: dict[str, Any]) -> None:
    """Prepare, run the tests, and write the verdict."""
    out = os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    for name in given["imports"]:
        try:
            calling.imported(name)
        except Exception:  # the tests' own import will say so
            pass
    peer = Peer(wire.Pipe(source, sink), given["classes_named"], watches=given["watches"])
    verdict: dict[str, Any] = {"passed": False, "why": "", "one_process": ""}
    try:
        peer.begin(lambda: os.write(out, b"\n"))
        run_tests(peer, given)
        verdict["passed"] = True
    except BaseException as error:
        verdict["why"] = said(error)
    if peer.problem is not None:
        verdict["passed"] = False
        if isinstance(peer.problem, NeedsOneProcess):
            verdict["one_process"] = str(peer.problem)
        else:
            verdict["why"] = f"the answer's process ended: {peer.problem}"
    verdict["marks"] = list(dict.fromkeys(peer.marks))
    os.write(out, wire.encoded(verdict))
    os._exit(0)


def said(error: BaseException) -> str:
    """One line about an exception."""
    where = getattr(error, "_tw_where", "") if type(error).__dict__.get("__getattr__") is None else ""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    text = f"{name}: {lines[0]}" if lines else name
    return (f"{text} ({where})" if where else text)[:MOST_CHARACTERS]
