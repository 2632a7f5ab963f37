"""What tiers are measured on: tasks with their checks, the files they are in, the suites they come from."""
