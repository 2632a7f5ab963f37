"""The population that an interval describes. Without it, a reader assumes the widest one, so each estimate has it."""

from __future__ import annotations

from typing import Literal

Population = Literal["tasks", "clusters", "repeats"]
"""Other tasks like these · other clusters like these, with their tasks · these same tasks, asked again."""

SENTENCES: dict[Population, str] = {
    "tasks": "describes tasks like those of the workload, drawn independently, each asked again",
    "clusters": "describes new clusters like those of the workload, drawn independently, with their tasks",
    "repeats": "describes these same tasks asked again, and no others",
}
