"""`/metrics` of the worker, in Prometheus' text format."""

from __future__ import annotations

from tierwise.worker.job import Counts

_GAUGES = {
    "requests_running": ("running", "Passes in the model's hands."),
    "requests_waiting": ("waiting", "Passes that wait for a slot."),
}
_COUNTERS = {
    "prompt_tokens": ("prompt_tokens", "Tokens of prompts, the cached ones too."),
    "prompt_tokens_cached": ("cached_tokens", "Tokens of prompts that were not computed again."),
    "completion_tokens": ("completion_tokens", "Tokens that were drawn."),
    "steps": ("steps", "Steps of a batch."),
    "stepped_rows": ("stepped_rows", "Rows in those steps; over them, the mean size of a batch."),
}


def exposition(counts: Counts) -> str:
    """The text of all series."""
    lines = []
    for kind, table, ending in (("gauge", _GAUGES, ""), ("counter", _COUNTERS, "_total")):
        for name, (field, help_text) in table.items():
            full = f"tierwise_worker_{name}{ending}"
            lines += [f"# HELP {full} {help_text}", f"# TYPE {full} {kind}", f"{full} {getattr(counts, field)}"]
    return "\n".join(lines) + "\n"
