"""Runs in the sandbox: calls one function of an answer with every input, and writes a digest of what it did.

The answer runs in this process. What it could forge is its own digest, which then equals that of no other answer.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import os
import re
import signal
import sys
from typing import Any

SECONDS = 0.5
"""CPU time of one call."""
MOST_SLOW = 3
"""Calls that may take longer."""
MOST_ITEMS = 1000
MOST_TEXT = 20_000
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")


class TooSlow(BaseException):
    """One call took too long."""


def too_slow(*_: object) -> None:
    raise TooSlow


def said(value: Any, depth: int = 8) -> str:
    """A value as text, so that equal values are equal texts: to nine digits, sets and dicts in order."""
    if depth < 0:
        return "…"
    if value is None or isinstance(value, bool | int | str | bytes):
        return f"{type(value).__name__}:{value!r}"[:MOST_TEXT]
    if isinstance(value, float):
        return f"int:{int(value)}" if value.is_integer() and abs(value) < 1 << 53 else f"float:{value:.9g}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[{','.join(said(one, depth - 1) for one in value[:MOST_ITEMS])}]"
    if isinstance(value, set | frozenset):
        return f"set[{','.join(sorted(said(one, depth - 1) for one in value))}]"
    if isinstance(value, dict):
        pairs = (f"{said(key, depth - 1)}={said(one, depth - 1)}" for key, one in value.items())
        return f"dict[{','.join(sorted(pairs))}]"
    if hasattr(value, "__next__"):
        items = []
        for one in value:
            items.append(said(one, depth - 1))
            if len(items) >= MOST_ITEMS:
                break
        return f"iterator[{','.join(items)}]"
    return f"{type(value).__name__}:{ADDRESS.sub('', repr(value))}"[:MOST_TEXT]


def outcome(function: Any, written: str) -> str:
    """What a call returns and prints, and what it leaves of its arguments if it returns nothing; or `error`, `slow`."""
    arguments = ast.literal_eval(written)
    printed = io.StringIO()
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        with contextlib.redirect_stdout(printed):
            value = function(*arguments)
            shown = said(value)
        if value is None:
            shown += said(arguments)
        return shown + printed.getvalue()[:MOST_TEXT].rstrip()
    except TooSlow:
        return "slow"
    except BaseException:
        return "error"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def main() -> None:
    given = json.loads(sys.stdin.buffer.read())
    stdout = os.dup(1)
    space: dict[str, Any] = {"__name__": "answer"}
    signal.signal(signal.SIGVTALRM, too_slow)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(given["code"], "answer.py", "exec", dont_inherit=True), space)
    function = space[given["name"]]
    outcomes: list[str] = []
    for written in given["inputs"]:
        outcomes.append(outcome(function, written))
        if outcomes.count("slow") >= MOST_SLOW:
            sys.exit("too slow")
    if set(outcomes) <= {"error", "slow"}:
        sys.exit("every call failed")
    os.write(stdout, ("\n" + hashlib.sha256("\n".join(outcomes).encode(errors="surrogatepass")).hexdigest()).encode())


main()
