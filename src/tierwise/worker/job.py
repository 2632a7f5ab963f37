"""Input and output of the loop: a job, and its updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tierwise.spec.routing import Routing
from tierwise.worker.sampling import SampledToken, SamplingParameters
from tierwise.worker.scoring import Scores
from tierwise.worker.text import DecodedText, StreamDecoder


@dataclass(eq=False, slots=True, kw_only=True)
class Job:
    """A pass for the loop to run."""

    prompt: Sequence[int]
    """Token ids; at least one."""
    sampling: SamplingParameters
    decoder: StreamDecoder
    max_tokens: int
    """Maximum tokens of the answer, including thinking."""
    on_update: Callable[[Update], None]
    """Called with each update in the server's thread."""
    active_experts: int | None = None
    """Active experts per token; None for the deployment's number."""
    priority: int = 0
    """Higher values are served first."""
    ignores_end: bool = False
    is_recorded: bool = False
    """Whether to record the experts that its tokens are routed to."""
    prompt_logprobs: int | None = None
    """Number of likeliest tokens to report at each prompt position, besides its own token; None disables the report."""
    is_aborted: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class Update:
    """What one iteration of the loop added to a pass."""

    text: DecodedText | None = None
    sampled: SampledToken | None = None
    rest: str = ""
    """Text after `text` at the end of the answer: characters held back as a possible start of a stop string."""
    finish: str = ""
    ends_here: bool = False
    """Whether the token ends the answer and is not part of its text."""
    fault: str = ""
    """The error, if the pass failed."""
    status: int = 500
    """HTTP status of a fault."""
    prompt: int = 0
    """Prompt tokens computed so far, including cached ones."""
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    routing: Routing | None = None
    scores: Sequence[Scores] | None = None
    """Scores of the prompt's tokens except the first, in the last update of a pass that requests them."""


@dataclass(eq=False, slots=True)
class Counts:
    """Counters of the loop since its start, for `/metrics`. Written by its thread only."""

    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    """Including cached ones."""
    cached_tokens: int = 0
    completion_tokens: int = 0
    steps: int = 0
    stepped_rows: int = 0
    """Rows summed over steps; divided by `steps`: mean batch size."""
