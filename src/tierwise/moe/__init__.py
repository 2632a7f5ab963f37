"""Measures a mixture of experts: which experts a workload uses, and the effect of more or fewer active experts."""
