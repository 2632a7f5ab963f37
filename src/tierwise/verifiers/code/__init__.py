"""Answers that are Python: their code, and the checks that run it in the sandbox."""
