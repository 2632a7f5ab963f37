"""The terminal: rich's console, in which no text of others moves the cursor, colours, or forges a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich.console
from rich.segment import Segment

from tierwise.spec.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType


class Console(rich.console.Console):
    """Writes control characters of the texts that it prints as escapes. Its own styles are not texts."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, lines=True), segment.style)
