"""Signals of a completion: how sure the model was, from its log-probabilities. All are higher for surer answers.

A calibration turns one into the probability that an answer is right; a cascade compares one with a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from tierwise.spec.ask import Ask, Watch
from tierwise.spec.call import Chunk, Completion
from tierwise.spec.prompt import Prompt
from tierwise.stats import confidence
from tierwise.stats.confidence import number_of_alternatives
from tierwise.stopping import Calibration
from tierwise.verifiers.spans import answer_tokens, reasoning_tokens, span_tokens

ALTERNATIVES = 5
"""Alternatives of each token that are asked for where no calibration says how many. Thresholds in nats depend on it."""
LEAST_ALTERNATIVES = 2
"""A margin and an entropy need the most likely token and another."""
FIRST_TOKENS = 64
"""Tokens whose entropy the signal `entropy` is."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One row of the table."""

    value: Callable[[Completion], float | None]
    """None if the pass has no log-probabilities, or too few alternatives."""
    needs_alternatives: bool = True
    """Whether it needs `top_logprobs` besides `logprobs`."""


SIGNALS: Mapping[str, Signal] = {
    "mean_logprob": Signal(lambda one: one.mean_logprob, needs_alternatives=False),
    "answer_logprob": Signal(lambda one: confidence.mean_logprob(answer_tokens(one)), needs_alternatives=False),
    "span_probability": Signal(lambda one: confidence.lowest_probability(span_tokens(one)), needs_alternatives=False),
    "margin": Signal(lambda one: confidence.mean_margin(span_tokens(one))),
    "mean_confidence": Signal(lambda one: confidence.mean_confidence(answer_tokens(one))),
    "tail_confidence": Signal(lambda one: confidence.tail_confidence(answer_tokens(one))),
    "lowest_confidence": Signal(lambda one: confidence.lowest_window(answer_tokens(one), confidence.SHORTEST_WINDOW)),
    "reasoning_confidence": Signal(lambda one: confidence.tail_confidence(reasoning_tokens(one))),
    "entropy": Signal(lambda one: _negative(confidence.mean_entropy(one.logprobs, FIRST_TOKENS))),
}
"""By their name in a calibration. Formulas and units are those of `stats.confidence`; `entropy` is negative."""


def calibrated_signal(calibration: Calibration, completion: Completion) -> float | None:
    """The signal of a calibration; None if it is unknown or the pass is not of the kind that was calibrated."""
    if calibration.thinking is not None and calibration.thinking is not bool(completion.reasoning):
        return None
    if (wanted := calibration.alternatives) and not has_k(number_of_alternatives(completion.logprobs), wanted):
        return None
    return SIGNALS[calibration.signal].value(completion)


def has_k(found: int, wanted: int) -> bool:
    """Whether there are as many alternatives as a threshold holds for. One more is allowed, because some servers list
    the sampled token besides.
    """
    return found in (wanted, wanted + 1)


def with_logprobs(prompt: Prompt, alternatives: int) -> Prompt:
    """The request with log-probabilities where the client has not set them, as far as the engine gives them. A client
    who asks for them itself is shown what comes, and therefore gets no alternatives of ours.
    """
    if alternatives and not prompt.fields.get("logprobs"):
        return prompt.preferring(logprobs=True, top_logprobs=alternatives)
    return prompt.preferring(logprobs=True)


class Cut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ends a pass while it is written, as soon as it has become too unsure (DeepConf, Fu et al., 2025, arXiv
    2508.15260): `{below: 9.5, window: 64}`.
    """

    below: Annotated[float, msgspec.Meta(ge=0)]
    """In nats: a pass is cut when the mean token confidence of its last `window` tokens falls below this. Thinking
    counts. `tierwise pool calibrate` measures it on a pool of the same deployment."""
    window: Annotated[int, msgspec.Meta(ge=1, le=confidence.LONGEST_WINDOW)] = confidence.SHORTEST_WINDOW
    """In tokens. A shorter pass is never cut."""

    def watched(self, ask: Ask, alternatives: int = ALTERNATIVES, is_spared: Callable[[], bool] | None = None) -> Ask:
        """An `Ask` for the same tier whose candidates are cut, each noted in the trace. None is while `is_spared`."""

        def note(mean: float) -> None:
            ask.note(
                f"{ask.tier} cut a pass: confidence {mean:.3g} over {self.window} tokens, allowed {self.below:g}",
                signal="cut",
                level=mean,
            )

        return ask.watching(lambda: cut_below(self.below, self.window, alternatives, note, is_spared))


def cut_below(
    threshold: float,
    window: int,
    alternatives: int = 0,
    when_cut: Callable[[float], None] | None = None,
    is_spared: Callable[[], bool] | None = None,
) -> Watch:
    """Watches one pass, and cuts it as soon as a full window of its token confidence falls below a threshold.

    Source: DeepConf online (Fu et al., 2025, arXiv 2508.15260). Tokens without alternatives are left out.

    Args:
        threshold: in nats, such as a percentile of the lowest windows of recorded passes of the same deployment.
        window: in tokens: `stats.confidence.window_for` the median length of those passes.
        alternatives: tokens that do not have this number of them (`has_k`) are left out, because the threshold does not
            hold for them; 0 for any number.
        when_cut: called with the mean that fell below the threshold.
        is_spared: whether the pass goes on in spite of it, for now.
    """
    sliding = confidence.SlidingMean(window)

    def watch(chunk: Chunk) -> Literal["cut"] | None:
        content = None if chunk.logprobs is None else chunk.logprobs.get("content")
        for token in content if isinstance(content, list) else ():
            if not isinstance(token, dict) or (value := confidence.token_confidence(token)) is None:
                continue
            if alternatives and not has_k(number_of_alternatives([token]), alternatives):
                continue
            mean = sliding.add(value)
            if mean is not None and mean < threshold and not (is_spared is not None and is_spared()):
                if when_cut is not None:
                    when_cut(mean)
                return "cut"
        return None

    return watch


def _negative(value: float | None) -> float | None:
    return None if value is None else -value
