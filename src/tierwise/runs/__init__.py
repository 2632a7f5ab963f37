"""A run on disk: its directory, its records, and the runs that other tools made."""
