"""Measures the tiers of an endpoint on a workload, through the endpoint as any client would."""
