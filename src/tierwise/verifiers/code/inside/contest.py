"""Runs in the sandbox: an answer's program on every input of a contest problem, each in a process of its own.

It reports what each wrote or returned. No right output is here. After the first that fails, none is run.
"""

from __future__ import annotations

import io
import json
import math
import os
import resource
import signal
import sys
from typing import Any

MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing"),
)
"""What LiveCodeBench imports before an answer: all names of each, then the modules."""
RECURSION = 50_000
IN, OUT, WHY = "/tmp/in", "/tmp/out", "/tmp/why"  # noqa: S108 -- of the sandbox alone


def prelude() -> dict[str, Any]:
    """A program's names before its first line."""
    space: dict[str, Any] = {"__name__": "__main__"}
    lines = [f"from {name} import *" for name in MODULES]
    lines += [f"import {name}" for name in MODULES if name not in ("builtins", "typing")]
    exec("\n".join(lines), space)
    sys.setrecursionlimit(RECURSION)
    return space


def plain(value: Any) -> Any:
    """A value as JSON that tells a tuple from a list, and 1 from 1.0; `x` is equal to nothing."""
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, int):
        return ["i", hex(int(value))]
    if isinstance(value, float):
        return ["f", float(value).hex()]
    if isinstance(value, list | tuple):
        return ["l" if isinstance(value, list) else "t", [plain(one) for one in value]]
    if isinstance(value, dict):
        return ["d", [[plain(key), plain(one)] for key, one in value.items()]]
    return ["x", repr(value)[:200]]


def called(space: dict[str, Any], function: str, text: str) -> str:
    """What the answer's function returns for the arguments, one JSON value per line."""
    owner = space["Solution"]() if "Solution" in space else None
    target = space[function] if owner is None else getattr(owner, function)
    value = target(*(json.loads(line) for line in text.split("\n")))
    return json.dumps(plain(list(value) if isinstance(value, tuple) else value))


def child(code: Any, space: dict[str, Any], given: dict[str, Any], text: str) -> None:
    """Run one case; the process ends with it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (given["most"], given["most"]))
    most = math.ceil(given["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    stdin, stdout = os.open(IN, os.O_RDONLY), os.open(OUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.closerange(3, 256)
    sys.stdin = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8", errors="surrogatepass"
    )
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8", errors="replace"
    )
    signal.setitimer(signal.ITIMER_PROF, given["seconds"])
    status = 0
    try:
        try:
            exec(code, space)
            if given["function"]:
                said = called(space, given["function"], text)
                os.ftruncate(1, 0)
                os.pwrite(1, said.encode(errors="surrogatepass"), 0)
        except SystemExit:
            status = 1 if given["function"] else 0
        if not given["function"]:
            sys.stdout.flush()
    except BaseException as error:
        status = 1
        with open(WHY, "w", errors="replace") as file:
            file.write(f"{type(error).__name__}: {error}"[:200])
    os._exit(status)


def ran(code: Any, space: dict[str, Any], given: dict[str, Any], text: str) -> dict[str, str]:
    """The output of one case, or why there is none."""
    with open(IN, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        file.write(text)
    for place in (OUT, WHY):
        if os.path.exists(place):
            os.unlink(place)
    pid = os.fork()
    if pid == 0:
        child(code, space, given, text)
    _, status, used = os.wait4(pid, 0)
    ended = os.waitstatus_to_exitcode(status)
    if used.ru_utime + used.ru_stime >= given["seconds"] or ended in (-signal.SIGPROF, -signal.SIGXCPU):
        return {"why": "stopped: cpu"}
    if ended == -signal.SIGXFSZ:
        return {"why": "stopped: output"}
    if ended:
        try:
            with open(WHY, errors="replace") as file:
                return {"why": file.read() or f"exit code {ended}"}
        except OSError:
            return {"why": f"exit code {ended}"}
    with open(OUT, encoding="utf-8", errors="replace", newline="") as file:
        return {"said": file.read()}


def main() -> None:
    given = json.loads(sys.stdin.buffer.read())
    done: list[dict[str, str]] = []
    try:
        code = compile(given["code"], "answer.py", "exec", dont_inherit=True)
    except BaseException as error:
        done = [{"why": f"{type(error).__name__}: {error}"[:200]}]
    else:
        space = prelude()
        for text in given["inputs"]:
            done.append(ran(code, space, given, text))
            if "why" in done[-1]:
                break
    os.write(1, b"\n")
    sys.stdout.write(json.dumps(done))


main()
