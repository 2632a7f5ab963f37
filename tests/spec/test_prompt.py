"""A prompt is carried as it came; every draw of it has a seed of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.call import Call
from tierwise.spec.prompt import Prompt, draw_seed
from tierwise.spec.sampling import Sampling
from tierwise.testing import ask_user

seeds = st.integers(-(2**63), 2**63)


def prompt(**fields) -> Prompt:
    return ask_user("hi", **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function"}]},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"thinking": False},
        {"lora": [{"id": 0}]},
    ],
)
def test_what_a_chat_template_may_render_makes_another_prompt(fields):
    assert prompt(**fields, temperature=1).prompt_fields == fields


@given(
    st.sampled_from(
        ["temperature", "top_p", "max_tokens", "stop", "user", "continue_final_message", "response_format", "tools"]
    )
)
def test_sampling_and_fields_without_a_value_leave_the_prompt_as_it_is(name):
    fields = {name: None if name == "tools" else 1}
    assert prompt(**fields).prompt_fields == prompt().prompt_fields == {}


@given(seeds)
def test_the_first_draw_has_the_clients_own_seed(seed):
    assert draw_seed(seed, 0) == seed


@given(seeds, st.integers(1, 10**6))
def test_every_other_seed_is_one_that_every_engine_accepts(seed, draw):
    assert 0 <= draw_seed(seed, draw) < 2**31
    assert draw_seed(seed, draw) == draw_seed(seed, draw)


@given(seeds)
def test_the_draws_of_a_prompt_are_all_different(seed):
    assert len({draw_seed(seed, draw) for draw in range(65)}) == 65


def test_neighbouring_seeds_share_no_draws():
    drawn = [draw_seed(seed, draw) for seed in range(50) for draw in range(1, 20)]
    assert len(set(drawn)) == len(drawn)


def test_seeds_are_the_same_on_every_machine_and_in_every_process():
    assert [draw_seed(7, draw) for draw in range(3)] == [7, 1425485342, 100538024]
    code = "from tierwise.spec.prompt import draw_seed; print(draw_seed(7, 2))"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"}
    )
    assert other.stdout.strip() == "100538024"


def test_a_call_draws_with_the_seed_of_its_prompt():
    call = Call(prompt=Prompt(messages=(), seed=7), draw=2)
    assert call.seed == draw_seed(7, 2)


def test_nothing_changes_a_prompt_in_place():
    one = prompt(temperature=1)
    others = [
        one.then({"role": "user", "content": "?"}),
        one.setting(temperature=0),
        one.without("temperature"),
        one.bounded(3),
    ]
    assert one == prompt(temperature=1)
    assert [dict(other.fields) for other in others] == [
        {"temperature": 1},
        {"temperature": 0},
        {},
        {"temperature": 1, "max_tokens": 3},
    ]


@pytest.mark.parametrize(
    ("sent", "default", "asked"),
    [
        ({}, {"temperature": 0.7}, {"temperature": 0.7}),
        ({"temperature": 0}, {"temperature": 0.7}, {"temperature": 0}),
        ({"temperature": None}, {"temperature": 0.7}, {"temperature": 0.7}),
        ({"user": None}, {"temperature": 0.7}, {"user": None, "temperature": 0.7}),
        ({"stop": []}, {"stop": ["x"]}, {"stop": []}),
        ({"max_completion_tokens": 9}, {"max_tokens": 50}, {"max_completion_tokens": 9}),
        ({"max_tokens": 9}, {"max_completion_tokens": 50}, {"max_tokens": 9}),
        ({"max_completion_tokens": None}, {"max_tokens": 50}, {"max_completion_tokens": None, "max_tokens": 50}),
    ],
)
def test_a_default_fills_in_where_the_client_is_silent(sent, default, asked):
    assert dict(prompt(**sent).by_default(default).fields) == asked


@pytest.mark.parametrize(
    ("sent", "bound"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_completion_tokens": 5, "max_tokens": 3}, 3),
        ({"max_tokens": None}, None),
        ({"max_tokens": "many"}, None),
    ],
)
def test_the_clients_bound_has_two_names(sent, bound):
    assert prompt(**sent).bound == bound
    assert prompt(**sent).bounded(2).bound == 2


def test_a_tiers_sampling_says_only_what_is_set():
    assert Sampling().fields() == {}
    assert Sampling(temperature=0, stop=["x"], extra={"mine": 1}).fields() == {
        "temperature": 0,
        "stop": ["x"],
        "mine": 1,
    }
