"""Exports runs as logs of other tools, which `tierwise import` reads back. Each has one module and one row here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.runs.exporters import evalscope, inspect, lm_eval, nemo, promptfoo
from tierwise.runs.exporters.exported import ExportedRow, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["EXPORTERS", "ExportedRow", "Exporter", "rows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """A tool."""

    label: str
    check: Callable[[ExportedRow], str]
    """What of a row the tool's format has no place for; empty if it can hold all that counts."""
    files: Callable[[ExportedRow], Mapping[str, bytes]]
    """The files of a row, by path."""


EXPORTERS: Mapping[str, Exporter] = {
    "inspect": Exporter(label="Inspect", check=inspect.check, files=inspect.files),
    "promptfoo": Exporter(label="promptfoo", check=promptfoo.check, files=promptfoo.files),
    "lm-eval": Exporter(label="lm-eval", check=lm_eval.check, files=lm_eval.files),
    "nemo": Exporter(label="NeMo Evaluator", check=nemo.check, files=nemo.files),
    "evalscope": Exporter(label="EvalScope", check=evalscope.check, files=evalscope.files),
}
"""Exporters by tool name."""
