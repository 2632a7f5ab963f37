"""What goes into the loop and what comes out of it: a pass to run, and what each turn added to it."""

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
    """Its tokens; at least one."""
    sampling: SamplingParameters
    decoder: StreamDecoder
    most_tokens: int
    """Of the answer, thinking included."""
    on_update: Callable[[Update], None]
    """Gets its updates, in the server's own thread."""
    active_experts: int | None = None
    """Experts on each token; None for as many as the deployment has."""
    priority: int = 0
    """Higher is served earlier."""
    ignores_end: bool = False
    is_recorded: bool = False
    """Whether to record the experts that its tokens went to."""
    prompt_logprobs: int | None = None
    """How many of the likeliest tokens to report at each position of the prompt, besides its own; None reports none."""
    is_aborted: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class Update:
    """What one turn added to a pass."""

    text: DecodedText | None = None
    sampled: SampledToken | None = None
    rest: str = ""
    """What follows `text` where the answer ends: characters that could have been the beginning of a stop text."""
    finish: str = ""
    ends_here: bool = False
    """Whether the token ends the answer and is not part of its text."""
    fault: str = ""
    """Why it ends without an answer."""
    status: int = 500
    """Of HTTP, for a fault."""
    prompt: int = 0
    """Tokens of the prompt that are through so far."""
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    routing: Routing | None = None
    scores: Sequence[Scores] | None = None
    """Of the prompt's tokens but the first, where it was asked for and the pass ends here."""


@dataclass(eq=False, slots=True)
class Counts:
    """What the loop has done since it began, for `/metrics`. Only its own thread writes."""

    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    """The cached ones too."""
    cached_tokens: int = 0
    completion_tokens: int = 0
    steps: int = 0
    stepped_rows: int = 0
    """Summed over steps: divided by them, the mean size of a batch."""
