"""Measures a mixture of experts: which experts a workload uses, and what more or fewer of them change."""
