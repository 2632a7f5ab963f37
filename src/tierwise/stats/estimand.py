"""The population that an interval describes. Without it, a reader assumes the widest one, so each estimate has it."""

from __future__ import annotations

from typing import Literal

Population = Literal["tasks", "clusters", "repeats"]
"""Other tasks like these · other clusters like these, with their tasks · these same tasks, asked again."""

SENTENCES: dict[Population, str] = {
    "tasks": "speaks for tasks like those of the workload, drawn independently, each asked again",
    "clusters": "speaks for new clusters like those of the workload, drawn independently, with their tasks",
    "repeats": "speaks for these very tasks asked again, and for no others",
}
