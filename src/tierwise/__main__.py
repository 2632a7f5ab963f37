"""`python -m tierwise`, the same as `tierwise`."""

from tierwise.cli import main

main()
