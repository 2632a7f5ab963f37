"""Workloads: tasks with their checks, the files that hold them, and the suites that generate them."""
