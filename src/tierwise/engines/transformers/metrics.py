"""The Transformers worker's names for the metrics."""

from tierwise.engines.metrics import MetricNames

METRIC_NAMES = MetricNames(
    samples={
        "requests_running": ("tierwise_worker_requests_running",),
        "requests_waiting": ("tierwise_worker_requests_waiting",),
        "prefix_cache_queries": ("tierwise_worker_prompt_tokens_total",),
        "prefix_cache_hits": ("tierwise_worker_prompt_tokens_cached_total",),
    }
)
"""tierwise/worker/metrics.py."""
