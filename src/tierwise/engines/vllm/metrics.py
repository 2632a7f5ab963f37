"""vLLM's names for the metrics."""

import re

from tierwise.engines.metrics import MetricNames

METRIC_NAMES = MetricNames(
    samples={
        "requests_running": ("vllm:num_requests_running",),
        "requests_waiting": ("vllm:num_requests_waiting",),
        "kv_cache_use": ("vllm:kv_cache_usage_perc",),
        "prefix_cache_queries": ("vllm:prefix_cache_queries_total",),
        "prefix_cache_hits": ("vllm:prefix_cache_hits_total",),
        "preemptions": ("vllm:num_preemptions_total",),
        "rejections": ("vllm:admission_rejections_total",),
        "drafts": ("vllm:spec_decode_num_drafts_total",),
        "drafted_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
        "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
    },
    lines={"expert_balancedness": re.compile(r"EPLB step: \d+ .*balancedness=(?P<value>[\d.]+)")},
)
"""vLLM 0.32.0: v1/metrics/loggers.py, v1/spec_decode/metrics.py, distributed/eplb/eplb_state.py."""
