"""`python -m tierwise.worker SETTINGS`."""

from tierwise.worker.server import main

if __name__ == "__main__":
    main()
