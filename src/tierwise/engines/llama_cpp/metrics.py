"""llama.cpp's names for the metrics."""

from tierwise.engines.metrics import MetricNames

METRIC_NAMES = MetricNames(
    samples={
        "requests_running": ("llamacpp:requests_processing",),
        "requests_waiting": ("llamacpp:requests_deferred",),
        "prefix_cache_queries": ("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total"),
        "prefix_cache_hits": ("llamacpp:prompt_tokens_cached_total",),
        "drafts": ("llamacpp:spec_decode_num_drafts_total",),
        "drafted_tokens": ("llamacpp:spec_decode_num_draft_tokens_total",),
        "accepted_tokens": ("llamacpp:spec_decode_num_accepted_tokens_total",),
    }
)
"""llama.cpp b11549, with `--metrics`. Its `prompt_tokens_total` excludes cached tokens."""
