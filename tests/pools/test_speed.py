"""The speed of a deployment is found from the passes that it ran."""

from __future__ import annotations

import random

import pytest

from tierwise.pools.clock import Simulation
from tierwise.pools.draws import Draw, RecordedCompletion
from tierwise.pools.engines import LoadedEngine, RunningDraw
from tierwise.pools.speed import Observed, Speed, measured
from tierwise.spec.call import Usage

TRUE = Speed(start=0.02, per_prompt_token=0.002, loads=(1, 2, 4, 8), steps=(0.02, 0.03, 0.05, 0.1), passes=0)


def ran(speed: Speed, slots: int, groups: list[int], seed: int = 0) -> list[Observed]:
    """Draws on a simulated engine of this speed: so many at a time, 24 for each."""
    rng, simulation = random.Random(seed), Simulation()
    engine = LoadedEngine(simulation, speed, slots, shares=lambda *_: True, fresh_and_cached=lambda _: (0, 0))
    found: list[Observed] = []
    for at_once in groups:
        left = iter(range(24))

        def start(left: object = left) -> None:
            if next(left, None) is None:  # type: ignore[call-overload]
                return
            tokens, prompt = rng.randint(20, 90), rng.choice((10, 60, 200))
            draw = Draw(
                index=0,
                completion=RecordedCompletion(text="x"),
                usage=Usage(prompt=prompt, completion=tokens),
                tokens=None,
                bound=None,
                first_token=0.0,
                seconds=0.0,
                correct=True,
            )
            began = simulation.now

            def end() -> None:
                assert running.first_token is not None
                found.append(
                    Observed(
                        began=began,
                        first_token=running.first_token - began,
                        seconds=simulation.now - began,
                        fresh=prompt,
                        tokens=tokens,
                    )
                )
                simulation.at(simulation.now, start)

            running = RunningDraw(draw, tokens, object(), end)
            engine.start(running)

        for _ in range(at_once):
            start()
        while simulation.step():
            pass
    return found


def test_a_known_speed_is_found_again():
    speed = measured(ran(TRUE, 8, [1, 2, 4, 8]))
    assert speed is not None
    assert speed.start == pytest.approx(0.02, abs=0.002)
    assert speed.per_prompt_token == pytest.approx(0.002, rel=0.05)
    assert speed.passes == 96
    for load in (1, 2, 4, 8):
        assert speed.step(load) == pytest.approx(TRUE.step(load), rel=0.15)


def test_steps_never_fall_and_are_linear_between_and_beyond_the_measured_loads():
    assert [TRUE.step(load) for load in (1, 2, 3, 4, 6)] == pytest.approx([0.02, 0.03, 0.04, 0.05, 0.075])
    assert TRUE.step(16) == pytest.approx(0.2)
    speed = measured(ran(TRUE, 8, [8, 4, 2, 1], seed=3))
    assert speed is not None
    assert list(speed.steps) == sorted(speed.steps)
    assert Speed(start=0, per_prompt_token=0, loads=(4,), steps=(0.1,), passes=1).step(9) == 0.1


def test_beyond_the_measured_loads_a_step_grows_also_if_the_last_two_were_equal():
    level = Speed(start=0, per_prompt_token=0, loads=(1, 3, 4), steps=(0.03, 0.048, 0.048), passes=9)
    assert [level.step(load) for load in (4, 6)] == pytest.approx([0.048, 0.06])


def test_passes_of_one_token_show_no_speed():
    assert measured([]) is None
    assert measured([Observed(began=0, first_token=0.1, seconds=0.1, fresh=5, tokens=1)]) is None


def test_prompts_of_one_length_are_a_start():
    found = measured([Observed(began=10.0 * n, first_token=0.4, seconds=1.4, fresh=50, tokens=11) for n in range(5)])
    assert found == Speed(start=0.4, per_prompt_token=0.0, loads=(1,), steps=(pytest.approx(0.1),), passes=5)


def first_tokens(*, by_slot: bool, draws: int = 4) -> list[tuple[float, int]]:
    """When draws of one prompt that start at once have their first token, and how much of it was cached."""
    simulation = Simulation()
    engine = LoadedEngine(simulation, TRUE, draws, shares=lambda *_: not by_slot, fresh_and_cached=lambda _: (10, 99))
    usage = Usage(prompt=100, completion=1)
    text = RecordedCompletion(text="x")
    draw = Draw(
        index=0, completion=text, usage=usage, tokens=None, bound=None, first_token=0.0, seconds=0.0, correct=True
    )
    running = [RunningDraw(draw, 1, "prompt", lambda: None) for _ in range(draws)]
    for one in running:
        engine.start(one)
    while simulation.step():
        pass
    return [(one.first_token or 0.0, one.cached) for one in running]


def test_draws_that_start_at_once_wait_for_the_one_that_computes_their_prompt():
    computed, rest = TRUE.prefill(90), TRUE.prefill(1)
    expected = [(computed + number * rest, 99 if number else 10) for number in range(4)]
    assert first_tokens(by_slot=False) == [(pytest.approx(at), cached) for at, cached in expected]


def test_on_an_engine_that_keeps_prompts_by_slot_each_of_them_computes_it():
    computed = TRUE.prefill(90)
    assert first_tokens(by_slot=True) == [(pytest.approx((number + 1) * computed), 10) for number in range(4)]


def test_a_few_long_prompts_say_more_about_the_speed_than_many_cached_ones():
    cached = [Observed(began=n, first_token=0.03 + 0.05 * (n % 7) / 7, seconds=1, fresh=1, tokens=9) for n in range(60)]
    odd = Observed(began=70, first_token=0.26, seconds=1, fresh=23, tokens=9)
    fresh = Observed(began=80, first_token=0.78, seconds=1.5, fresh=130, tokens=9)
    speed = measured([*cached, odd, fresh])
    assert speed is not None
    assert speed.per_prompt_token == pytest.approx(0.0057, abs=0.0003)
