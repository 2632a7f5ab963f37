"""Search draws or improves answers by their scores, within its passes, and makes the same search again."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import msgspec
import pytest

from tierwise.policies import PolicyChoice
from tierwise.spec.ask import Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.errors import Broken
from tierwise.testing import Reply, ScriptedEngine, ask_user, solve
from tierwise.verifiers.base import BaseVerifier


class Grades(BaseVerifier, frozen=True, kw_only=True):
    """Scores the number in an answer, and accepts 10."""

    kind = "grades"

    async def verify(self, completion):
        found = re.search(r"\d+", completion.text)
        score = min(1.0, int(found[0]) / 10) if found else 0.0
        return Verdict(ok=score == 1, score=score, why=f"{score:g} of 1")


class Climbing(ScriptedEngine):
    """Improves an earlier answer by three; a new answer is 4."""

    def reply_to(self, number, call):
        said = [str(one["content"]) for one in call.prompt.messages if one["role"] == "assistant"]
        return Reply(text=str(int(said[-1]) + 3 if said else 4))


def search(**settings):
    pytest.importorskip("treequest", reason="needs the extra [search]")
    return msgspec.convert({"search": settings}, PolicyChoice).member


def test_without_the_package_a_config_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "treequest", None)
    with pytest.raises(msgspec.ValidationError, match=r"pip install 'tierwise\[search\]'"):
        msgspec.convert({"search": {}}, PolicyChoice)


def test_it_improves_what_scores_well_until_the_verifier_accepts():
    engine = Climbing()
    answer, trace = solve(search(n=64), engine=engine, verifier=Grades())
    assert (answer.completion.text, answer.verdict.ok) == ("10", True)
    assert len(trace.passes) == len(engine.calls) < 64
    improved = [done for done in trace.passes if done.call.after]
    assert len(improved) >= 2
    numbers = {done.number: done for done in trace.passes}
    assert all(
        done.call.prompt.messages[1]["content"] == numbers[done.call.after[0]].completion.text for done in improved
    )
    assert all("A check of your answer failed" in done.call.prompt.messages[2]["content"] for done in improved)


def test_a_repetition_with_the_same_seed_makes_the_same_search_and_another_seed_another():
    searches = []
    for seed in (1, 1, 2, 3, 4):
        prompt = replace(ask_user("hm?"), seed=seed)
        _, trace = solve(search(n=16), engine=Climbing(), verifier=Grades(), prompt=prompt)
        searches.append([done.call.after for done in trace.passes])
    assert searches[0] == searches[1]
    assert len({str(one) for one in searches}) > 1


def test_the_best_answer_is_returned_when_the_passes_run_out_or_the_engine_fails():
    answer, trace = solve(search(n=64), engine=Climbing(), verifier=Grades(), budget=Budget(passes=3))
    assert len(trace.passes) == 3
    assert answer.completion.text == str(max(int(done.completion.text) for done in trace.passes))
    answer, _ = solve(search(), "3", Reply(error=Broken("gone")), verifier=Grades())
    assert answer.completion.text == "3"


def test_without_a_verifier_it_is_one_pass():
    answer, trace = solve(search(), "3")
    assert (answer.completion.text, len(trace.passes)) == ("3", 1)
