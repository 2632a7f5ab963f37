"""Runs on disk: the run directory, its records, and importers for other tools' results."""
