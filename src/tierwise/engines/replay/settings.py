"""A deployment on a recording, in the config file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from tierwise.engines.settings import BaseSettings
from tierwise.spec.paths import FilePath

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.engines.settings import Problem


class Replay(BaseSettings, frozen=True, kw_only=True, tag="replay", tag_field="engine"):
    """Recorded candidates instead of a model."""

    recording: FilePath
    """A JSONL file of candidates."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    """Maximum number of concurrent passes of one action."""
    speed: float = 0.0
    """0 answers immediately; 1 takes as long as the recorded passes; 2 takes twice as long."""

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:  # noqa: ARG002 - it loads none
        if self.speed < 0:
            yield "speed", f"{self.speed:g} is negative; 0 answers immediately, 1 as fast as recorded"
