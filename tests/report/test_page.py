"""The page, the plots and the table: everything is there, nothing is fetched, and nobody's text becomes markup."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from bench.runs import manifest, record, spent, task
from tierwise.bench.summary import summarise
from tierwise.report import plots, words
from tierwise.report.page import MOST_FAILURES, page
from tierwise.report.tables import table

ROWS = (("fast", "both", 1), ("max", "average", 4), ("max", "max", 4))
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}"


class Reader(HTMLParser):
    """Collects the elements, the attributes and the visible text of a page."""

    def __init__(self):
        super().__init__()
        self.elements, self.attributes, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def a_run(count=12, **more):
    names = [f"t{number}" for number in range(count)]
    records = [
        record(
            name,
            "pass" if number % 3 or mode == "max" else "fail",
            tier=tier,
            mode=mode,
            seconds=0.5 + number,
            tags=["odd"] if number % 2 else ["even"],
            passes=[spent(dollars=0.0001 * (1 + number % 5))] * (most if mode == "max" else 1),
            answer="five",
            why="5 instead of 4",
            **more,
        )
        for number, name in enumerate(names)
        for tier, mode, most in ROWS
    ]
    return manifest(names, *ROWS), [task(name) for name in names], records


def rendered(made, tasks, records):
    return page(made, tasks, records, summarise(made, records))


def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


def test_the_page_holds_every_part_of_the_result():
    reader = read(rendered(*a_run()))
    for words_ in (
        "12 tasks, 36 actions",
        "Did the extra passes pay?",
        "Quality against cost",
        "Latency and passes",
        "By kind of task",
        "What the passes were for",
        "What was not solved",
        "5 instead of 4",
        "tasks like these 12",
        "AMD EPYC",
        "tiers: {}",
        "n=12, no interval",
    ):
        assert words_ in reader.text, words_
    assert reader.elements.count("svg") == 4
    assert "details" in reader.elements


def test_the_page_fetches_nothing_and_runs_nothing():
    text = rendered(*a_run())
    reader = read(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.elements)
    assert not re.search(r"https?://|url\(|@import", text)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in reader.attributes


def test_what_others_wrote_never_becomes_markup():
    made, _, _ = a_run()
    names = [HOSTILE[:79]]
    made = manifest(names, *ROWS, path=HOSTILE)
    records = [
        record(
            names[0],
            outcome,
            tier=tier,
            mode=mode,
            tags=[HOSTILE[:79]],
            why=HOSTILE,
            answer=HOSTILE,
            chosen_because=HOSTILE,
            passes=[spent(role=HOSTILE, outcome=HOSTILE)],
        )
        for (tier, mode, _), outcome in zip(ROWS, ("fail", "error", "no_answer"), strict=True)
    ]
    tasks = [task(names[0], HOSTILE, tags=[HOSTILE[:79]], check={"exact": {"equals": HOSTILE}})]
    text = rendered(made, tasks, records)
    reader = read(text)
    assert not {"script", "img"} & set(reader.elements)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert "49" not in re.findall(r"\b49\b", reader.text), "templates do not run twice"
    assert reader.text.count("<script>alert(1)</script>") > 10


def test_hostile_tier_names_do_not_break_out_of_the_plots():
    made = manifest(["a"], ("x<y&z", "both", 1))
    summary = summarise(made, [record("a", tier="x<y&z")])
    svg = plots.quality_against_cost(summary, 400)
    assert "x&lt;y&amp;z" in svg
    assert "x<y" not in svg


@pytest.mark.parametrize("outcome", ["error", "no_answer"])
def test_a_run_without_answers_still_has_a_page(outcome):
    made = manifest(["a", "b"], *ROWS)
    records = (
        [record("a", outcome, why="connection lost", dollars=None, passes=None, prompt_tokens=None)] if outcome else []
    )
    reader = read(rendered(made, [task("a"), task("b")], records))
    assert "connection lost" in reader.text
    assert "Partial: 5 of 6 actions were not run" in reader.text


def test_a_run_without_prices_says_so():
    made = manifest(["a"])
    records = [record("a", passes=[spent(dollars=0.0)])]
    assert "No deployment has a price" in read(rendered(made, [task("a")], records)).text


def test_parts_of_a_message_are_shown_too():
    parts = [{"role": "user", "content": [{"type": "text", "text": "look"}]}, {"role": "assistant", "content": None}]
    made = manifest(["a"])
    text = read(rendered(made, [task("a", messages=parts)], [record("a", "fail")])).text
    assert '"text":"look"' in text


def test_a_message_without_content_is_shown_as_it_came():
    made = manifest(["a"])
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [{"id": "1"}]}]
    assert "tool_calls" in read(rendered(made, [task("a", messages=messages)], [record("a", "fail")])).text


def test_long_answers_and_many_failures_are_cut_and_say_so():
    names = [f"t{number}" for number in range(MOST_FAILURES + 5)]
    made = manifest(names)
    records = [record(name, "fail", answer="x" * 4000) for name in names]
    text = read(rendered(made, [task(name) for name in names], records)).text
    assert "1000 characters more" in text
    assert "5 more tasks were not solved" in text


def test_costs_and_times_that_lie_far_apart_get_logarithmic_axes():
    made = manifest(["a", "b"], *ROWS)
    records = [
        record("a", tier="fast", seconds=0.01, passes=[spent(dollars=1e-6)]),
        record("a", tier="max", mode="max", seconds=9.0, passes=[spent(dollars=1e-2)]),
    ]
    summary = summarise(made, records)
    for svg in (plots.quality_against_cost(summary, 400), plots.latency(summary, records, 400)):
        assert "logarithmic" in svg


def test_there_is_no_plot_of_nothing():
    made = manifest(["a"])
    summary = summarise(made, [record("a", "error", why="x", dollars=None, passes=None)])
    assert plots.quality_against_cost(summary, 400) is None
    assert plots.latency(summary, [], 400) is None


def shown(summary, width):
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(table(summary))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_fits_the_terminal_and_is_not_cut(width):
    made, _, records = a_run(count=40)
    text = shown(summarise(made, records), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "26 of 40" in text
    flat = " ".join(text.split())
    assert "n=40, no" in flat
    assert "$0.0003" in flat


def test_the_verdict_on_the_extra_passes_gives_its_evidence():
    made, _, records = a_run(count=30)
    (gain,) = summarise(made, records).gains
    text = words.gain(gain)
    assert text.startswith("max: the extra passes help. Of 30 tasks, max mode alone solved 10 and average mode alone 0")
    assert "+33.3 points [" in text
    assert "p = 0.002" in text
    assert "more [" in text
    assert "per action" in text
