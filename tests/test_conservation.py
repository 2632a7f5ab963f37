"""The ledger holds every token that the backends made, whatever goes wrong: a short run of the benchmark."""

from __future__ import annotations

from pathlib import Path


def test_no_token_is_lost_between_the_backends_and_the_ledger(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    from conservation import measure  # noqa: PLC0415 - benchmarks are programs, not a package

    outcome = measure(actions=500, seed=0)
    assert list(outcome.differences) == []
    assert set(outcome.passes) == {"finished", "failed", "aborted", "cut"}
    assert set(outcome.endings) == {"answered", "failed", "disconnected"}
    assert sum(one.usage is not None for one in outcome.users) > 200
    assert sum(prompt + completion for prompt, _, completion in outcome.produced.values()) > 8000
