from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from msgspec import structs

from made_pools import Said, make, question
from tierwise import plan as planning
from tierwise.policies.acceptance import CascadeSignal
from tierwise.pools.reading import read_pool
from tierwise.runs.directory import RunDirectory
from tierwise.runs.draws import TokenTrace
from tierwise.runs.records import TrialRecord
from tierwise.spec.errors import SpecError
from tierwise.tuning.caps import Capped, checked, taken_over, thought, with_caps
from tierwise.tuning.space import Route
from tierwise.tuning.writing import tiers_lacking, with_route

FILE = Path("tierwise.yaml")
CONFIG = """
# what we serve
deployments:
  own: {engine: vllm, url: "http://127.0.0.1:1/v1", model: own, slots: 4, reasoning_parser: qwen3}
tiers:
  best: {deployment: own, policy: {majority: {n: 4}}, sampling: {temperature: 0.7, thinking_tokens: 1000}}
prices:
  own: {prompt: 1, completion: 1}
"""
CAP = Capped(name="best-thinking-40", of="best", cap=40, repeats=True)


def draws(path: Path, *lengths: int, tier: str = "best") -> list[TrialRecord]:
    """Draws that think for so many tokens of one character each, and then answer with one token."""

    def said(task: int, name: str, draw: int) -> Said:
        del name, draw
        return Said(tokens=lengths[task] + 1, thinking="w" * lengths[task], began=100.0 * task)

    tasks = [question(number) for number in range(len(lengths))]
    records = make(path, tasks, said, draws=1, config=CONFIG, tiers={"best": 4}).read_records()
    found = []
    for one, length in zip(records, lengths, strict=True):
        trace = TokenTrace(
            chosen=[0] * (length + 1), top=[[]] * (length + 1), lengths=[1] * (length + 1), answer=length
        )
        assert one.draw is not None
        found.append(structs.replace(one, tier=tier, draw=structs.replace(one.draw, tokens=trace)))
    return found


def added(records: list[TrialRecord], config: str = CONFIG) -> tuple[str, list[Capped], list[str]]:
    tuning = {one.task for one in records}
    return with_caps(planning.parse(config, FILE), config, ["best"], records, tuning)


def test_caps_are_the_quartile_and_the_median_of_what_was_thought(tmp_path):
    text, found, notes = added(draws(tmp_path / "pool", *range(101, 201)))
    assert [one.cap for one in found] == [130, 160]
    tiers = yaml.safe_load(text)["tiers"]
    assert tiers["best-thinking-130"]["sampling"] == {"temperature": 0.7, "thinking_tokens": 130}
    assert tiers["best-thinking-130"]["policy"] == "single"
    assert "# what we serve" in text
    assert any("is not tried without thinking" in one for one in notes)  # this server's switch is not known


def test_only_a_cap_below_the_own_one_is_tried(tmp_path):
    _, found, _ = added(draws(tmp_path / "pool", *range(101, 201)), CONFIG.replace("1000", "140"))
    assert [one.cap for one in found] == [130]


def test_a_tier_that_does_not_think_has_no_caps(tmp_path):
    assert added(draws(tmp_path / "pool", *[0] * 50)) == (CONFIG, [], [])


def test_without_the_tokens_of_thinking_there_are_no_caps(tmp_path):
    records = [structs.replace(one, draw=structs.replace(one.draw, tokens=None)) for one in draws(tmp_path / "p", 50)]
    assert thought(records[0]) is None
    _, found, notes = added(records)
    assert not found
    assert any("do not show how long they thought" in one for one in notes)


def test_the_thinking_of_a_draw_that_was_lost_to_it_is_that_of_its_first_pass(tmp_path):
    (record,) = draws(tmp_path / "p", 50)
    assert record.passes is not None
    first = structs.replace(record.passes[0], outcome="lost_to_thinking", completion_tokens=30)
    recovered = structs.replace(record, passes=[first, structs.replace(first, number=1, outcome="finished")])
    assert thought(recovered) == 30


def test_a_name_that_is_taken_is_refused(tmp_path):
    config = CONFIG.replace("tiers:\n", "tiers:\n  best-thinking-130: {deployment: own, policy: single}\n")
    with pytest.raises(SpecError, match="gets this name"):
        added(draws(tmp_path / "pool", *range(101, 201)), config)


def test_draws_that_ended_their_thinking_before_the_cap_are_taken_over(tmp_path):
    taken = list(taken_over([CAP], draws(tmp_path / "pool", 20, 36, 37, 40, 90)))
    assert [thought(one) for one in taken] == [20, 36]
    assert {(one.tier, one.mode, one.taken) for one in taken} == {("best-thinking-40", "both", "tier")}
    assert sum(one.spent for one in taken) == 0


def test_nothing_is_taken_over_where_seeds_do_not_repeat_draws(tmp_path):
    unknown = Capped(name="x", of="best", cap=40, repeats=False)
    assert not list(taken_over([unknown], draws(tmp_path / "pool", 20, 90)))


@pytest.mark.parametrize(
    ("again", "stale", "notes"),
    [
        ((38, 39, 40), 0, 0),
        ((20, 39, 40), 1, 0),
        ((38, 39, 90), 0, 1),
    ],
    ids=["as far as the cap", "ended before it", "beyond it"],
)
def test_a_draw_that_is_asked_again_has_to_reach_the_cap_and_to_end_there(tmp_path, again, stale, notes):
    free = draws(tmp_path / "free", 10, 50, 60, 70)
    asked = draws(tmp_path / "again", 10, *again, tier=CAP.name)[1:]
    found = checked([CAP], [*free, *taken_over([CAP], free), *asked])
    assert (len(found.stale), len(found.notes)) == (stale, notes)


def test_a_pass_that_was_taken_over_ran_once(tmp_path):
    records = draws(tmp_path / "pool", *[20] * 12)
    directory = RunDirectory(tmp_path / "pool")
    directory.write_records(records)
    alone = read_pool(directory).speeds
    directory.write_records([*records, *taken_over([CAP], records)])
    assert read_pool(directory).speeds == alone


def test_the_written_file_has_the_capped_tier_that_a_route_asks_and_no_other(tmp_path):
    text, _, _ = added(draws(tmp_path / "pool", *range(101, 201)))
    own, searched = tmp_path / "tierwise.yaml", tmp_path / "capped.yaml"
    own.write_text(CONFIG)
    searched.write_text(text)
    route = Route(ladder=("best-thinking-130", "best"), signals=(CascadeSignal(agreement=2),))
    plan = planning.load(searched)
    written = with_route(CONFIG, own, route, plan, tiers_lacking(own, plan, (*route.ladder, "best")))
    assert set(yaml.safe_load(written)["tiers"]) == {"best", "best-thinking-130"}
    assert "# what we serve" in written
