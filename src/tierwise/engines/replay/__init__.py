"""Recordings as an engine."""
