"""The page, the plots and the table: everything is there, nothing is fetched, and nobody's text becomes markup."""

from __future__ import annotations

import io
import re
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from msgspec import structs
from rich.console import Console

from chromium import CHROMIUM, MISSING, look
from fake_runs import manifest, record, spent, task
from tierwise.analysis.summary import summarise
from tierwise.bench.grading import JudgeSpend
from tierwise.report import numbers, plots, sentences
from tierwise.report.page import MOST_FAILURES, page
from tierwise.report.summary_table import table
from tierwise.runs.directory import RunnerError, RunSession
from tierwise.runs.durations import Durations
from tierwise.stats.estimates import Estimate, Interval

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


def solved(number, at):
    """What becomes of a task's candidates: every fourth task has nothing right but its third."""
    return at == 2 if number % 4 == 0 else at != 1


def a_run(count=12, **more):
    names = [f"t{number}" for number in range(count)]
    records = [
        record(
            name,
            "correct" if number % 3 or mode == "max" else "incorrect",
            tier=tier,
            mode=mode,
            seconds=0.5 + number,
            tags=["odd"] if number % 2 else ["even"],
            passes=[
                structs.replace(spent(dollars=0.0001 * (1 + number % 5)), number=at, solved=solved(number, at))
                for at in range(most if mode == "max" else 1)
            ],
            gaps=Durations.of([0.01, 0.02]),
            taken="candidate" if mode == "average" else "request",
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


@cache
def usual_page():
    return rendered(*a_run())


def usual_text():
    return read(usual_page()).text


def test_the_page_holds_every_part_of_the_result():
    reader = read(usual_page())
    for words_ in (
        "12 tasks, 36 actions",
        "Most solved: max · max with 100 %",
        "On the frontier",
        "Do the extra passes help?",
        "points per extra $",
        "Every tier compared with fast",
        "Candidates and selection",
        "A perfect choice among everything that was drawn",
        "Quality against cost",
        "Latency",
        "12 of 12 are the first candidate of max mode",
        "By kind of task",
        "differences by kind",
        "Passes and costs",
        "Unsolved tasks",
        "5 instead of 4",
        "tasks like these 12",
        "AMD EPYC",
        "tiers: {}",
        "needs 72 tasks",
    ):
        assert words_ in reader.text, words_
    assert reader.elements.count("svg") == 10, "five plots, each for wide and for narrow windows"
    assert "details" in reader.elements


def test_the_page_fetches_nothing_and_runs_nothing():
    text = usual_page()
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
        for (tier, mode, _), outcome in zip(ROWS, ("incorrect", "error", "no_answer"), strict=True)
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


@pytest.mark.parametrize(
    ("config", "dollars", "is_said"),
    [
        ("tiers: {}\n", 0.0, True),
        ("tiers: {}\nprices: {}\n", 0.0, True),
        ("prices: {far: {completion: 2.0}}\n", 0.0, False),
        ("prices: {far: {completion: 2.0}}\n", None, False),
        ("tiers: {}\n", 0.001, False),
        ("", 0.0, False),
    ],
    ids=["no prices", "an empty table", "a price that nothing used", "unreported", "a cost", "an imported run"],
)
def test_missing_prices_are_reported_only_if_no_deployment_has_one(config, dollars, is_said):
    made = manifest(["a"])
    made = structs.replace(made, config=structs.replace(made.config, text=config))
    records = [record("a", dollars=dollars, passes=[spent(dollars=dollars or 0.0)])]
    assert ("No deployment has a price" in read(rendered(made, [task("a")], records)).text) == is_said


def test_each_answer_that_was_cut_says_so():
    made = manifest(["a", "b", "c"])
    records = [
        record("a", "incorrect", finish="length", answer="The number is", why="no number"),
        record("b", "incorrect", finish="stop", answer="5", why="5 is not 4"),
        record("c", "error", finish="length", why="connection lost"),
    ]
    text = " ".join(read(rendered(made, [task("a"), task("b"), task("c")], records)).text.split())
    assert text.count("The answer was cut at max_tokens.") == 1
    assert "no number The answer was cut at max_tokens." in text


def test_errors_stay_in_the_count_that_is_shown():
    made = manifest(["a", "b", "c"])
    records = [record("a"), record("b", "incorrect"), record("c", "error", why="connection lost")]
    text = " ".join(read(rendered(made, [task(name) for name in "abc"], records)).text.split())
    assert "1 of 3" in text
    assert "1 error, not in the share" in text


def test_a_run_without_prices_says_so():
    made = manifest(["a"])
    records = [record("a", passes=[spent(dollars=0.0)])]
    assert "No deployment has a price" in read(rendered(made, [task("a")], records)).text


def test_parts_of_a_message_are_shown_too():
    parts = [{"role": "user", "content": [{"type": "text", "text": "look"}]}, {"role": "assistant", "content": None}]
    made = manifest(["a"])
    text = read(rendered(made, [task("a", messages=parts)], [record("a", "incorrect")])).text
    assert '"text":"look"' in text


def test_a_message_without_content_is_shown_as_it_came():
    made = manifest(["a"])
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [{"id": "1"}]}]
    assert "tool_calls" in read(rendered(made, [task("a", messages=messages)], [record("a", "incorrect")])).text


def test_long_answers_and_many_failures_are_cut_and_say_so():
    names = [f"t{number}" for number in range(MOST_FAILURES + 5)]
    made = manifest(names)
    records = [record(name, "incorrect", answer="x" * 4000) for name in names]
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


def test_names_of_rows_that_lie_close_together_are_set_apart():
    points = [{"x": 0.0, "y": height} for height in (0.5, 0.5, 0.51, 0.9)]
    plots.place_names(points, 0.05)
    heights = sorted(point["name_y"] for point in points)
    assert all(upper - lower >= 0.05 - 1e-9 for lower, upper in pairwise(heights))
    assert all(point["name_y"] >= point["y"] for point in points)


def test_each_pass_shows_what_it_added_and_its_share_of_the_cost():
    text = usual_text()
    assert "Pass 4 added at most +0.0 points for 25 % of the cost" in text
    assert re.search(r"pass 3\s+12\s+\+25.0 points", text)
    assert "Any of k independent draws correct (pass@k): 1: 62 %" in text


def test_a_policy_that_stops_early_has_no_pass_at_k():
    made = manifest(["a", "b"], ("max", "max", 4))
    records = [record(name, tier="max", mode="max", passes=[structs.replace(spent(), solved=True)]) for name in "ab"]
    assert "stops early, so pass@k cannot be estimated" in read(rendered(made, [task("a"), task("b")], records)).text


def test_a_run_of_older_records_has_a_page_without_candidates():
    made, tasks, records = a_run()
    old = [structs.replace(one, passes=[structs.replace(each, solved=None) for each in one.passes]) for one in records]
    text = read(rendered(made, tasks, old)).text
    assert "Candidates and selection" not in text
    assert "Do the extra passes help?" in text


def test_a_run_with_everything_at_once_tells_it_all():
    """Open arrival, judges, weights, clusters and a late runner on one page, each with its own sentence."""
    judge = JudgeSpend(tier="max", actions=2, dollars=0.5, prompt_tokens=1, completion_tokens=1, seconds=0.1)
    made, tasks, records = a_run(late=0.25, judge=judge)
    made = structs.replace(
        made,
        settings=structs.replace(made.settings, arrival="poisson:2"),
        sessions=[
            RunSession(began=made.began, outages=42.0, runner=RunnerError(calibration=Durations.of([0.002] * 9)))
        ],
    )
    tasks = [
        structs.replace(one, weight=float(1 + number), cluster=f"c{number // 2}") for number, one in enumerate(tasks)
    ]
    text = read(page(made, tasks, records, summarise(made, records, tasks))).text
    for words_ in (
        "actions arrived at the times given by poisson:2, whether or not earlier ones had ended",
        "their seconds count from the intended start",
        "began 250 ms after it was due",
        f"The endpoint was gone for {numbers.seconds(42.0)}. Interrupted actions were repeated",
        "timed from then on, and later actions arrived that much later.",
        "Judging max · max took 24 actions for $6.00, which is in no figure above",
        "solved, weighted",
        "weighted by the tasks' weights",
        "new clusters like these 6",
    ):
        assert words_ in text, words_
    assert re.search(r"may be up to [12]\.\d ms too long", text)
    plain = usual_text()
    for words_ in ("intended start", "was gone", "may be up to", "Judging", "solved, weighted", "new clusters"):
        assert words_ not in plain, words_


def test_a_task_that_was_asked_again_is_one_line_with_how_often_it_was_solved():
    made = manifest(["a"])
    made = structs.replace(made, settings=structs.replace(made.settings, repeats=5))
    records = [record("a", "correct" if at < 2 else "incorrect", repeat=at, answer=f"answer {at}") for at in range(5)]
    text = read(rendered(made, [task("a")], records)).text
    assert "a · fast correct 2 of 5 times" in text
    assert [at for at in range(5) if f"answer {at}" in text] == [2, 3, 4], "wrong ones first"
    assert "any of 5" in text


def test_a_rate_is_shown_only_if_it_is_separated_from_zero():
    assert sentences.gain_rate(None, None, "dollars") == "the extra dollars are not separated from zero"
    more, less = (Estimate(value=sign * 0.5, interval=None, n=9) for sign in (1, -1))
    wide = Estimate(value=0.02, interval=Interval(-0.01, 0.05), n=9)
    assert (
        sentences.gain_rate(wide, more, "seconds")
        == "+2.0 points per extra 1.00 s [-1.0, +5.0], not separated from zero"
    )
    assert sentences.gain_rate(wide, less, "seconds") == "max mode takes fewer seconds, so there is no rate"


def test_there_is_no_plot_of_nothing():
    made = manifest(["a"])
    summary = summarise(made, [record("a", "error", why="x", dollars=None, passes=None)])
    assert plots.quality_against_cost(summary, 400) is None
    assert plots.latency(summary, [], 400) is None
    assert plots.selections(summary, 400) is None


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
    assert "no interval" not in flat, "a percentile without an interval is a dash"
    assert "–" in flat
    assert "$0.0003" in flat


def test_the_verdict_on_the_extra_passes_gives_its_evidence():
    made, _, records = a_run(count=30)
    (gain,) = summarise(made, records).gains
    text = sentences.gain(gain)
    assert text.startswith("max: the extra passes help. Of 30 tasks, only max mode solved 10 and only average mode 0")
    assert "+33.3 points [" in text
    assert "p = 0.002" in text
    assert "more [" in text
    assert "per action" in text


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_the_page_of_a_run_too(width, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(rendered(*a_run()))
    seen = look(page, width, tmp_path / "browser")
    assert (seen.width, seen.requests, seen.complaints) == (width, [page.resolve().as_uri()], [])
