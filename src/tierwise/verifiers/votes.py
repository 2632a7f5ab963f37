"""The answer of a vote in canonical form, so that equal answers are equal texts."""

from __future__ import annotations

from tierwise.spec import limits
from tierwise.spec.ask import Checkable, Equality
from tierwise.spec.call import Completion, Pass
from tierwise.spec.prompt import Prompt
from tierwise.verifiers.answers import marked, spoken, with_asked_unit
from tierwise.verifiers.code.behaviour import behaviour_key
from tierwise.verifiers.pooled import key_of, vote_of

SHORT = 3
"""Words of an answer that can be whole although `max_tokens` ended it."""


async def key_of_vote(vote: Pass, equality: Equality, verifier: Checkable | None) -> str | None:
    """The key of a vote, a pass that finished: as `key_of_answer`."""
    return await key_of_answer(vote.completion, vote.call.prompt, equality, verifier)


async def key_of_answer(
    completion: Completion, prompt: Prompt, equality: Equality, verifier: Checkable | None
) -> str | None:
    """The key of an answer; None without an answer, or if it is too much work to read.

    Args:
        completion: the answer.
        prompt: what was asked.
        equality: how votes are compared. Tool calls are always compared by name and arguments.
        verifier: whose form of an answer counts where the equality is `auto`; None if there is none.
    """
    if len(completion.text) > limits.ANSWER_CHARACTERS:
        return None
    if _runs_code(completion, equality, verifier):
        return await behaviour_key(spoken(completion), _asked(prompt))
    by = equality if verifier is None or equality != "auto" else verifier.kind
    if by in ("auto", "number", "math_verify") and _is_unfinished(completion):
        return None
    if verifier is not None and equality == "auto" and not completion.tool_calls:
        return await key_of(verifier, completion)
    key = await vote_of(completion, equality)
    if key is None or completion.tool_calls or equality not in ("auto", "number"):
        return key
    return with_asked_unit(key, _asked(prompt))


def are_different(one: tuple[str | None, str], other: tuple[str | None, str]) -> bool:
    """Whether two answers to one prompt differ, each given by its key (`key_of_answer`) and its text.

    Where one has no key, because it has no answer or is too much work to read, whole texts are compared.
    """
    if one[0] is None or other[0] is None:
        return one[1].strip() != other[1].strip()
    return one[0] != other[0]


def runs_code(vote: Pass, equality: Equality, verifier: Checkable | None) -> bool:
    """Whether the key of a vote is what its program does, so that it must run."""
    return _runs_code(vote.completion, equality, verifier)


def _runs_code(completion: Completion, equality: Equality, verifier: Checkable | None) -> bool:
    by = equality if verifier is None or equality != "auto" else verifier.kind
    return by in ("code", "python_tests") and not completion.tool_calls


def _asked(prompt: Prompt) -> str:
    """The texts of the user's messages."""
    parts: list[str] = []
    for message in prompt.messages:
        content = message.get("content")
        if message.get("role") == "user" and isinstance(content, str):
            parts.append(content)
        elif message.get("role") == "user" and isinstance(content, list):
            texts = (part.get("text") for part in content if isinstance(part, dict))
            parts += [text for text in texts if isinstance(text, str)]
    return "\n\n".join(parts)


def _is_unfinished(completion: Completion) -> bool:
    """Whether `max_tokens` ended the answer before it said its result: the last number so far is not the answer."""
    if completion.finish != "length" or completion.tool_calls:
        return False
    text = spoken(completion)
    return len(text.split()) > SHORT and marked(text[-2000:]) is None and not text.rstrip().endswith(("}", "]", "```"))
