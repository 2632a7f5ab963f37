"""Measures the tiers of an endpoint on a workload. The bench is an ordinary client of the endpoint."""
