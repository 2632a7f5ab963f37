"""Tierwise beside optillm, its-hub and firstpass on one backend. `benchmarks/side_by_side.py` is the command."""
