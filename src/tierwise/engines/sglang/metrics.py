"""SGLang's names for the metrics."""

from tierwise.engines.metrics import MetricNames

METRIC_NAMES = MetricNames(
    samples={
        "requests_running": ("sglang:num_running_reqs",),
        "requests_waiting": ("sglang:num_queue_reqs",),
        "kv_cache_use": ("sglang:token_usage",),
        "prefix_cache_queries": ("sglang:prompt_tokens_total",),
        "prefix_cache_hits": ("sglang:cached_tokens_total",),
        "preemptions": ("sglang:num_retracted_requests_total",),
        "rejections": ("sglang:num_aborted_requests_total",),
        "expert_balancedness": ("sglang:eplb_balancedness",),
    }
)
"""SGLang 0.5.23, srt/observability, with `--enable-metrics`. It reports speculative decoding as rates, not counts."""
