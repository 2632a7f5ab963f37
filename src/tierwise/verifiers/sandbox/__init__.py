"""Runs untrusted Python code in isolation, with limited resources.

Isolation is by Linux namespaces, created by bubblewrap or by our own code; without either, code is not run.
`inside.py` is the part that runs inside.

What it cannot hold: a flaw of the kernel, and side channels such as timing. Where no memory cgroup can be created, the
memory of all processes together is checked every 50 ms, so it may exceed the limit for that long.
"""

from tierwise.verifiers.sandbox.limits import DEFAULT_LIMITS, MIB, Limits, SandboxResult, SandboxUnavailable, Stop
from tierwise.verifiers.sandbox.live import run_for_grade, run_python
from tierwise.verifiers.sandbox.mechanism import PACKAGES, Backend, Mechanism, backend

__all__ = [
    "DEFAULT_LIMITS",
    "MIB",
    "PACKAGES",
    "Backend",
    "Limits",
    "Mechanism",
    "SandboxResult",
    "SandboxUnavailable",
    "Stop",
    "backend",
    "run_for_grade",
    "run_python",
]
