"""What a tier's policy keeps of a session between its actions, within bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MOST_SESSIONS = 10_000
"""Sessions that a tier remembers; the one that was used least recently is forgotten first."""


class SessionMemory:
    """One word for each session, such as the tier that it reached. In memory only: a restart forgets it."""

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._most = most
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """The word and when it is forgotten, by session; least recently kept first."""
        self.when_kept: Callable[[str, str, float], None] | None = None
        """Called with the arguments of `keep`, for processes that serve the same tier."""

    def __len__(self) -> int:
        return len(self._kept)

    def recall(self, session: str, now: float) -> str:
        """The word of a session; empty if there is none."""
        word, ends = self._kept.get(session, ("", now))
        if now < ends:
            return word
        self._kept.pop(session, None)
        return ""

    def keep(self, session: str, word: str, until: float) -> None:
        """Keep a word for a session, in place of the one before, and tell it."""
        self.learn(session, word, until)
        if self.when_kept is not None:
            self.when_kept(session, word, until)

    def learn(self, session: str, word: str, until: float) -> None:
        """As `keep`, of a word that was told."""
        self._kept[session] = (word, until)
        self._kept.move_to_end(session)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
