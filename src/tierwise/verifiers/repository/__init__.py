"""Answers that change a repository, judged by the repository's own tests in the sandbox."""
