"""The page of `tierwise tune`: everything that decides is there, in words, and a browser shows it without a network."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from chromium import CHROMIUM, MISSING, look
from made_pools import make, question
from made_tunings import CONFIG, recording, said
from tierwise.cli import app

QUICK = ("--loss", "0.05", "--orders", "2", "--seed", "1")


def tune(place: Path, *more: object, config: str = CONFIG) -> Any:
    file = place / "tierwise.yaml"
    file.write_text(config)
    arguments = ["tune", str(file), str(place / "pool" / "workload.jsonl"), "--pool", str(place / "pool")]
    done = CliRunner().invoke(app, [*arguments, *map(str, more), "--out", str(place / "out")])
    assert done.exit_code == 0, done.output
    return done


def tagged(number: int) -> Any:
    return question(number, tags=["even" if number % 2 == 0 else "<b>odd</b>"])


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a tuning that certifies a route."""
    place = tmp_path_factory.mktemp("certified")
    recording(place / "pool", questions=[tagged(number) for number in range(300)])
    tune(place, *QUICK)
    return place / "out"


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a tuning that certifies nothing: the cheap tier is not cheap."""
    place = tmp_path_factory.mktemp("refused")
    recording(place / "pool", 300)
    tune(place, *QUICK, config=CONFIG.replace("{prompt: 20, completion: 20}", "{prompt: 1.01, completion: 1.01}"))
    return place / "out"


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said = ""

    def handle_data(self, data: str) -> None:
        self.said += data


def text_of(page: str) -> str:
    reader = Text()
    reader.feed(page.partition("</style>")[2])
    return re.sub(r"\s+", " ", reader.said)


def test_the_page_answers_first_and_shows_all_that_the_answer_rests_on(certified):
    shown = text_of((certified / "report.html").read_text())
    assert shown.index("Serve the route `auto`") < shown.index("The certificate")
    for words in (
        "Of 1,000 new tasks like these, at most 50 get a wrong answer from the route where best alone would be right",
        "We are 95 % sure of that",
        "It does not say",
        "that each kind of task is within the limit by itself",
        "It is void if",
        "auto against the fixed tiers",
        "points of auto against it",
        "on the frontier",
        "Escalations by kind of task",
        "<b>odd</b>",
        "AUROC within questions",
        "Reliability of",
        "Isotonic calibration",
        "What more labels would buy",
        "saving in reach at 5 %",
        "SHA-256 of the certificate",
    ):
        assert words in shown, words


def test_markdown_and_json_have_the_same(certified):
    report, facts = (certified / "report.md").read_text(), json.loads((certified / "report.json").read_text())
    for title in ("Escalations by kind of task", "What the signals are worth here", "What more labels would buy"):
        assert f"## {title}" in report
    assert {one["tag"] for one in facts["strata"]} == {"", "even", "<b>odd</b>"}
    assert facts["strata"][0]["tasks"] == sum(one["tasks"] for one in facts["strata"][1:]) == 60
    assert all(0 <= one["membership"] <= 1 for one in facts["frontier"])
    assert {"fast", "best"} < {one["setting"] for one in facts["frontier"]}
    assert [one["units"] for one in facts["labels"]] == [150, 300, 600]


def test_more_labels_prove_a_tighter_loss_and_never_save_less(certified):
    labels = json.loads((certified / "report.json").read_text())["labels"]
    tightest, bounds = ([one[name] for one in labels] for name in ("tightest", "bound"))
    assert tightest == sorted(tightest, reverse=True)
    assert tightest[0] == pytest.approx(1 - 0.05 ** (1 / 150), rel=1e-6)
    assert bounds == sorted(bounds, reverse=True)
    for place in (0, 1):
        savings = [one["in_reach"][place]["saving"] or 0.0 for one in labels]
        assert savings == sorted(savings)
    chances = [each["chance"] for one in labels for each in one["in_reach"] if each["setting"]]
    assert chances
    assert all(0 < one <= 1 for one in chances)


def test_where_nothing_is_certified_the_page_promises_nothing(refused):
    shown = text_of((refused / "report.html").read_text())
    assert "Not worth it: serve the fixed tier 'best'" in shown
    assert "There is none: no route was certified, so nothing is promised" in shown
    assert "It does not say" not in shown
    assert "We are 95 % sure" not in shown


def test_a_pool_without_log_probabilities_has_a_page_that_says_so(tmp_path):
    questions = [question(number) for number in range(120)]
    bare = lambda *draw: replace(said()(*draw), logprob=None, alternatives=())  # noqa: E731
    make(tmp_path / "pool", questions, bare, draws=4, config=CONFIG, tiers={"fast": 1, "best": 1})
    tune(tmp_path, "--loss", "0.1", "--orders", "1")
    assert "The pool has no log-probabilities" in text_of((tmp_path / "out" / "report.html").read_text())


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("which", ["certified", "refused"])
def test_a_browser_shows_the_page_without_a_network_and_without_scrolling_sideways(which, width, request, tmp_path):
    path = request.getfixturevalue(which) / "report.html"
    plots = """[...document.querySelectorAll('.plot')].map(one => ({
        about: one.getAttribute('aria-label'), role: one.getAttribute('role'),
        shown: [...one.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0).length,
        right: Math.max(...[...one.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect().right))}))"""
    seen = look(path, width, tmp_path / "browser", plots)
    assert seen.width == width
    assert seen.requests == [path.resolve().as_uri()]
    assert seen.complaints == []
    assert len(seen.value) >= 4
    for plot in seen.value:
        assert plot["about"], "a plot has a text in its place"
        assert plot["role"] == "img"
        assert plot["shown"] == 1
        assert plot["right"] <= width


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_the_browser_would_notice_what_must_not_be(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<img src='http://127.0.0.1:9/x.png'><div style='width: 900px'>wide</div><script>console.error('no')</script>"
    )
    seen = look(page, 400, tmp_path / "browser")
    assert seen.width > 400
    assert any("127.0.0.1:9" in one for one in seen.requests)
    assert seen.complaints
