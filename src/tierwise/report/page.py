"""The result as one HTML page that needs no network and runs no script. All text from users and models is escaped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tierwise.report import claim_table, numbers, plots, sentences
from tierwise.spec.replacing import replace_file
from tierwise.workloads.task import read_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jinja2 import Template

    from tierwise.analysis.summary import RunSummary
    from tierwise.runs.directory import Manifest, RunDirectory, SourceFile
    from tierwise.runs.records import TrialRecord
    from tierwise.workloads.files import Task

WIDTHS = {"narrow": 350, "wide": 900}
"""Pixels; each plot is rendered at both widths, and the page shows the one that fits."""

MOST_FAILURES = 300
"""Tasks whose answers are shown; the others are in the records."""

LONGEST_TEXT = 3000
"""Characters shown of a message or an answer."""


MOST_ANSWERS = 3
"""Answers of one row to one task that are shown, incorrect ones first."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A task that was not solved by every row, with each row's records."""

    task: Task
    rows: list[list[TrialRecord]]

    @property
    def shown(self) -> list[TrialRecord]:
        """Up to `MOST_ANSWERS` records of each row, unsolved ones first."""
        return [one for row in self.rows for one in sorted(row, key=lambda one: one.is_solved)[:MOST_ANSWERS]]


def write_page(directory: RunDirectory, summary: RunSummary) -> None:
    """Write the page of a run into its directory."""
    tasks = read_tasks(directory.tasks_path)
    html = page(directory.read_manifest(), tasks, directory.read_records(), summary)
    replace_file(directory.report_path, html.encode())


def page(manifest: Manifest, tasks: Sequence[Task], records: Sequence[TrialRecord], summary: RunSummary) -> str:
    """The page as HTML."""
    failures = list(_failures(manifest, tasks, records))
    return template("page.html.jinja").render(
        manifest=manifest,
        summary=summary,
        records=records,
        numbers=numbers,
        sentences=sentences,
        claim_table=claim_table,
        short=_short,
        file_name=_file_name,
        content=_content,
        check=_check,
        cost_plot=both(lambda width: plots.quality_against_cost(summary, width)),
        selection_plot=both(lambda width: plots.selections(summary, width)),
        latency_plots=[
            drawn
            for measure in get_args(plots.LatencyMeasure)
            if (drawn := both(partial(plots.latency, summary, records, measure=measure)))
        ],
        runner_error=max(
            (found for one in manifest.sessions if one.runner and (found := one.runner.p99())), default=None
        ),
        latest=max((record.late for record in records), default=0.0),
        failures=failures[:MOST_FAILURES],
        unshown=len(failures[MOST_FAILURES:]),
        manifest_text=msgspec.json.format(msgspec.json.encode(_without_text(manifest)), indent=2).decode(),
    )


def template(name: str) -> Template:
    """A page's template, beside this file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def both(draw: Callable[[int], str | None]) -> dict[str, Markup]:
    """The plot at each width; empty when there is nothing to show."""
    drawn = {size: draw(width) for size, width in WIDTHS.items()}
    return {size: Markup(svg) for size, svg in drawn.items() if svg is not None}  # noqa: S704 - Vega escapes its text


def _failures(manifest: Manifest, tasks: Sequence[Task], records: Sequence[TrialRecord]) -> Iterable[_Failure]:
    place = {planned.variant: number for number, planned in enumerate(manifest.variants)}

    def row(record: TrialRecord) -> int:
        return place.get(record.variant, len(place))

    of: dict[str, list[TrialRecord]] = {task.id: [] for task in tasks}
    for record in records:
        of.setdefault(record.task, []).append(record)
    for task in tasks:
        if any(not record.is_solved for record in of[task.id]):
            rows = groupby(sorted(of[task.id], key=row), key=row)
            yield _Failure(task, [list(these) for _, these in rows])


def _without_text(manifest: Manifest) -> dict[str, Any]:
    """The manifest without the text of the config file, which is shown separately."""
    values: dict[str, Any] = msgspec.to_builtins(manifest)
    del values["config"]["text"]
    return values


def _short(text: str) -> str:
    return (
        text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text) - LONGEST_TEXT} characters more)"
    )


def _file_name(source: SourceFile) -> str:
    """A file's name without its folders, which the manifest shows."""
    return PurePath(source.path).name or source.path


def _content(message: Mapping[str, Any]) -> str:
    """A message's content, or the whole message as JSON where the content is not text."""
    content = message.get("content")
    return content if isinstance(content, str) else msgspec.json.encode(message).decode()


def _check(task: Task) -> str:
    if task.environment is not None:
        return f"the tests of {task.environment}"
    return "none" if task.check is None else msgspec.json.encode(task.check).decode()
