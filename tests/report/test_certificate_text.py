"""A certificate in words: promise, evidence, savings and limits, each in a sentence of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from certificates import certificate_for
from tierwise import plan as planning
from tierwise.certificate import Certificate, Figure
from tierwise.report.certificate_text import certificate_text

CONFIG = """
deployments: {far: {engine: http, url: "http://127.0.0.1:1/v1", model: tier}}
tiers:
  fast: {deployment: far, policy: single}
  max: {deployment: far, policy: {majority: {n: 3}}}
routes: {auto: {cascade: [fast, max]}}
"""


def made() -> Certificate:
    return certificate_for(planning.parse(CONFIG, Path("tierwise.yaml")), {})


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("harm", "on at most 5 % of all tasks the answer of auto is wrong where that of max is right"),
        ("net", "auto solves at most 5 % of all tasks fewer than max"),
        ("selective", "of the tasks that auto does not pass on to max, at most 5 % are answered wrongly"),
    ],
)
def test_every_kind_of_promise_is_said(kind, says):
    one = made()
    promise = msgspec.structs.replace(one.promise, kind=kind)
    assert certificate_text(msgspec.structs.replace(one, promise=promise))[0] == (
        f"promised with 95 % confidence: {says}"
    )


def test_clusters_are_counted_where_there_are_any():
    one = made()
    clustered = msgspec.structs.replace(one, evidence=msgspec.structs.replace(one.evidence, units=40))
    assert certificate_text(clustered)[1].startswith("shown on 200 calibration tasks in 40 clusters: 3 losses")


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        (Figure(value=0.25), "on 25 % of the tasks"),
        (Figure(value=0.25, low=0.2), "on 25 % [20 %, …] of the tasks"),
        (Figure(value=0.25, low=0.2, high=0.3), "on 25 % [20 %, 30 %] of the tasks"),
    ],
)
def test_an_open_end_of_an_interval_is_shown_as_open(figure, says):
    text = certificate_text(msgspec.structs.replace(made(), disagreement=figure))
    assert any(sentence.endswith(says) for sentence in text)


def test_a_route_that_is_dearer_than_a_tier_says_how_many_times():
    one = made()
    dearer = msgspec.structs.replace(one.savings[0], share=Figure(value=-20.2, low=-22.7, high=-17.6))
    text = certificate_text(msgspec.structs.replace(one, savings=[dearer]))
    assert any("costs 21.2 × [18.6 ×, 23.7 ×] the dollars of" in sentence for sentence in text)
