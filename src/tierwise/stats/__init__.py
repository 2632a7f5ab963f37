"""Estimates, intervals and tests as pure functions over numbers."""
