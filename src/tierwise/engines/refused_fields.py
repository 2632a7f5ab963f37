"""Request fields that a deployment refused at run time, so that only the first pass is repeated."""

from __future__ import annotations


class RefusedFields:
    """Names of optional fields that a deployment does not accept. Kept in memory: a restart asks again."""

    def __init__(self) -> None:
        self._always: set[str] = set()
        self._with_tools: set[str] = set()
        self.in_streams_with_tools = False
        """Whether it accepts log-probabilities with tools only in a response that is not streamed."""

    def names(self, *, has_tools: bool) -> frozenset[str]:
        """The fields to leave out of a request."""
        return frozenset(self._always | self._with_tools if has_tools else self._always)

    def add(self, names: frozenset[str], *, has_tools: bool) -> None:
        """Remember fields without which a refused request was accepted.

        Args:
            names: the fields that were left out.
            has_tools: whether the request had tools. Log-probabilities are then remembered as refused with tools only.
        """
        beside = names - {"seed"} if has_tools else frozenset()
        self._with_tools |= beside
        self._always |= names - beside
