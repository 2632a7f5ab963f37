"""Records that somebody has edited or damaged: an error that names them, or a replay; never anything else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from made_pools import Said, make, question
from pools.test_live_path import setting
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayer
from tierwise.spec.errors import TierwiseError

ODD: Any = st.sampled_from(
    [None, "", "x", "\u0000", -1, 0, 1, 10**6, -0.5, 1e300, [], [1], [[1]], {}, {"a": 1}, True, "correct", "no_answer"]
)
PLACES = st.sampled_from(
    [
        *((name,) for name in ("task", "tier", "mode", "repeat", "outcome", "answer", "finish", "began", "seconds")),
        *((name,) for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "passes", "draw", "tool_calls")),
        *(
            ("passes", 0, name)
            for name in ("first_token", "seconds", "outcome", "started", "completion_tokens", "message")
        ),
        *(("draw", name) for name in ("reasoning", "tokens", "vote", "ok", "score", "extra")),
        *(("draw", "tokens", name) for name in ("chosen", "top", "lengths", "answer")),
    ]
)


def said(task: int, tier: str, draw: int) -> Said:
    return Said(text=f"{task + draw}", tokens=4, logprob=-0.5, began=10.0 * draw + (500 if tier == "best" else 0))


def damage(record: Any, place: tuple[Any, ...], value: Any) -> None:
    *path, last = place
    for name in path:
        record = record[name]
    record[last] = value


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15), PLACES, ODD), min_size=1, max_size=3))
def test_a_damaged_record_is_named_or_replayed(tmp_path_factory: Any, changes: Any) -> None:
    directory = make(tmp_path_factory.mktemp("damaged") / "p", [question(0), question(1)], said, draws=4)
    records = [msgspec.json.decode(line) for line in directory.records_path.read_bytes().splitlines()]
    for number, place, value in changes:
        try:
            damage(records[number], place, value)
        except (TypeError, KeyError, IndexError):
            continue  # damaged already
    directory.records_path.write_bytes(msgspec.json.Encoder().encode_lines(records))
    with suppress(TierwiseError):
        pool = read_pool(directory)
        tried = [
            setting("fast", {"majority": {"n": 3}}, name="vote"),
            setting("best", {"best_of_n": {"n": 2}}, name="pick"),
            setting("auto", {"cascade": {"tiers": ["fast", "best"]}}, name="steps"),
        ]
        with Replayer(pool, pool.plan.file.prices) as replayer:
            for concurrency in (1, 2):
                replayer.run(tried, orders=2, concurrency=concurrency)
