"""Answers that are one or several of some options."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected


class Choice(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    """The answer chooses one of several options, or with `all_of` exactly these.

    An explicit choice (`The answer is B`, a box, `B.` at the beginning) counts more than any later mention. What the
    answer denies or only considers is not chosen, and neither is an alternative (`A or B`).
    """

    kind = "choice"
    text_cost = 4

    options: Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)]
    """Allowed answers, matched as whole words. Single letters are matched in their case, others in any. Texts may
    also be named by their letter: the second option is `B`, unless the options bring labels of their own, as `B)
    Paris` does."""
    equals: str | None = None
    """The correct option. Without it any option is accepted."""
    any_of: tuple[str, ...] = ()
    """Several options of which each is correct, in place of `equals`."""
    all_of: tuple[str, ...] = ()
    """The options that are to be chosen together, in place of `equals`: all of them and no other."""

    def __post_init__(self) -> None:
        different = {" ".join(option.split()).casefold() for option in self.options}
        if len(different) < 2 or len(different) < len(self.options) or "" in different:
            raise ValueError("options: give at least two that differ in more than case and whitespace")
        given = {"equals": self.equals is not None, "any_of": bool(self.any_of), "all_of": bool(self.all_of)}
        if sum(given.values()) > 1:
            raise ValueError(f"{' and '.join(name for name, is_given in given.items() if is_given)}: give one of them")
        for name, wanted in (("equals", (self.equals,)), ("any_of", self.any_of), ("all_of", self.all_of)):
            for option in wanted:
                if option is not None and option not in self.options:
                    raise ValueError(f"{name}: {option!r} is not one of the options {', '.join(self.options)}")

    @property
    def decisive(self) -> bool:
        return self.equals is not None or bool(self.any_of or self.all_of)

    def _chosen(self, completion: Completion) -> list[str]:
        from tierwise.verifiers.options import options_of  # noqa: PLC0415 - see readers.py

        chosen = options_of(self.options).chosen(spoken(completion), several=bool(self.all_of))
        return [self.options[place] for place in sorted(chosen)]

    def key(self, completion: Completion) -> str | None:
        return ", ".join(self._chosen(completion)) or None

    async def verify(self, completion: Completion) -> Verdict:
        found = self._chosen(completion)
        if not found:
            return rejected(f"chooses none of {', '.join(self.options)}")
        shown = ", ".join(found)
        if self.all_of:
            right = set(found) == set(self.all_of)
            return accepted(shown) if right else rejected(f"{shown} instead of {', '.join(self.all_of)}")
        wanted = self.any_of if self.equals is None else (self.equals,)
        return (
            accepted(shown)
            if not wanted or found[0] in wanted
            else rejected(f"{shown} instead of {' or '.join(wanted)}")
        )
