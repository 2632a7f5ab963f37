"""`python -m tierwise`, the same as `tierwise`."""

import sys

if not sys.flags.safe_path:  # `-m` puts the current folder first, where a `timeit.py` would replace the library's
    del sys.path[0]

from tierwise.cli import main

main()
