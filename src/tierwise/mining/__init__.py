"""Makes workloads from repositories: a task is a commit that changed code and tests, or a function that tests name."""
