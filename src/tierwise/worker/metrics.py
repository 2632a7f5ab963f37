"""`/metrics` of the worker, in Prometheus' text format."""

from __future__ import annotations

from tierwise.worker.job import Counts

_GAUGES = {
    "requests_running": ("running", "Passes that are running."),
    "requests_waiting": ("waiting", "Passes waiting for a slot."),
}
_COUNTERS = {
    "prompt_tokens": ("prompt_tokens", "Prompt tokens, including cached ones."),
    "prompt_tokens_cached": ("cached_tokens", "Prompt tokens served from the prefix cache."),
    "completion_tokens": ("completion_tokens", "Tokens generated."),
    "steps": ("steps", "Decoding steps, each of one batch."),
    "stepped_rows": ("stepped_rows", "Rows in those steps; divided by steps: mean batch size."),
}


def exposition(counts: Counts) -> str:
    """All series as text."""
    lines = []
    for kind, table, ending in (("gauge", _GAUGES, ""), ("counter", _COUNTERS, "_total")):
        for name, (field, help_text) in table.items():
            full = f"tierwise_worker_{name}{ending}"
            lines += [f"# HELP {full} {help_text}", f"# TYPE {full} {kind}", f"{full} {getattr(counts, field)}"]
    return "\n".join(lines) + "\n"
