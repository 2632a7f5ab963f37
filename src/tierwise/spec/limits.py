"""The size limits of what a request brings, in one place. An error names the limit that was exceeded.

A limit keeps the work that one request causes in the server's own process small, so that no request delays the others.
What may still take longer than a few milliseconds runs in `verifiers.check_pool`.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# ── the request ──────────────────────────────────────────────────────────
BODY_BYTES = 32 * MIB
"""A request's body, which may contain images; also after decompression."""
HEAD_BYTES = 64 * KIB
"""Request line and headers; also the trailers, and the extensions of one chunk. Answered with 431."""
FREE_CHUNKS = 8_192
"""Chunks of a chunked body, whatever their size. Further chunks must have `CHUNK_BYTES` on average."""
PIPELINED = 32
"""Requests of a connection that wait while another one is answered."""
CHUNK_BYTES = 64
"""Bytes that the chunks of a body must have on average beyond `FREE_CHUNKS`. Each costs a callback."""
VALUES = 50_000
"""JSON values of a body: its objects, lists, strings, numbers and constants; an empty object or list counts twice."""
ESCAPES = 500_000
r"""Backslashes in a body. A long text costs fewer as UTF-8 than as `\uXXXX`."""
WIDE_BYTES = 8 * MIB
"""Bytes of a body that are not ASCII: two million tokens or more. Images are base64, which is ASCII."""
DEPTH = 128
"""Nesting of a body. Later stages process requests recursively."""
MESSAGES = 4_096
"""Messages of a request."""

# ── verifiers of a request; a workload file may hold larger ones ───────────
TESTS_BYTES = 256 * KIB
"""Tests and setup of `python_tests`, or the cases of `stdio`. A workload's are bounded too."""
CODE_SECONDS = 30.0
"""CPU seconds for which a request may have a candidate's code run."""
CODE_RUNS = 64
"""Candidates whose code one action has run, over all its choices and tiers."""
CODE_SECONDS_IN_ALL = 600.0
"""Seconds after the first of these runs in which the others must end. About as many run at once as there are cores."""
PATTERN_BYTES = 4 * KIB
"""A pattern, on its own or in a schema."""
OPTIONS = 1_000
"""Options of `choice`."""
OPTION_CHARACTERS = 200
"""One option of `choice`."""
SCHEMA_BYTES = 64 * KIB
"""A JSON Schema, as compact JSON."""
TEXT_CHARACTERS = 64 * KIB
"""Any other text in a verifier's settings, such as `equals` of `exact`."""

# ── one check ────────────────────────────────────────────────────────────
ANSWER_CHARACTERS = 256 * KIB
"""An answer that is checked or compared. A longer one is rejected, and has no vote."""
CHECK_CPU_SECONDS = 1.0
"""CPU time of one check in the pool."""
CODE_CPU_SECONDS = 10.0
"""CPU time of reading tests, or the code in an answer, in the pool: 250 KiB of tests take some 3 s."""
CHECK_MEMORY_BYTES = 256 * MIB
"""Memory of one check in the pool, beyond what its process uses when idle."""
