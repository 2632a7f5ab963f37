"""What a soak left in the ledger and in the metrics."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path


def metric(page: str, name: str, **labels: str) -> float:
    """The sum of the lines of a metric with these labels."""
    lines = (line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(one in line for one in wanted))


def recorded(path: Path) -> dict[str, int]:
    """What a ledger has."""
    with closing(sqlite3.connect(path)) as database:
        names = ("passes", "prompt", "completion", "inexact")
        row = database.execute(
            "SELECT COUNT(*), TOTAL(prompt), TOTAL(completion), TOTAL(NOT exact) FROM passes"
        ).fetchone()
        actions = database.execute("SELECT COUNT(*) FROM actions").fetchone()
    return {"actions": actions[0], **{name: int(value) for name, value in zip(names, row, strict=True)}}


@dataclass
class Beside:
    """Passes that ran beside one that failed, or were it."""

    passes: int = 0
    aborted: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    """Tokens by kind."""
    ledger: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    """Completion tokens of aborted passes that were sent, and are not in the ledger."""
    wrong: list[str] = field(default_factory=list)
    """Passes whose tokens in the ledger cannot be."""


def beside(path: Path, sent: dict[str, tuple[int, int]]) -> Beside:
    """Compare passes one by one.

    Args:
        path: the ledger.
        sent: prompt and completion tokens by id of the request to the server.
    """
    found = Beside()
    for prompt, completion in sent.values():
        found.sent.update(prompt=prompt, completion=completion)
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            "SELECT caller, number, outcome, prompt, completion FROM passes JOIN actions ON passes.action = actions.id"
            " WHERE caller LIKE 'beside-%'"
        )
        for caller, number, outcome, prompt, completion in rows:
            found.passes += 1
            found.ledger.update(prompt=prompt, completion=completion)
            was_sent = sent.get(f"{caller}-{number}" if number else caller, (0, 0))
            if outcome == "aborted":
                found.aborted += 1
                found.missing += was_sent[1] - completion
            lacks = outcome == "aborted" and prompt <= was_sent[0] and completion <= was_sent[1]
            if not lacks and (prompt, completion) != tuple(was_sent):
                found.wrong.append(f"{outcome} pass {number} of {caller}: {prompt}, {completion} of {was_sent}")
    return found
