"""A real vLLM on the CPU that serves reward models: its grades are the models' own logits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engines.asking import call, completed
from engines.vllm.fixtures import at_work, run
from tierwise.engines import Vllm
from tierwise.engines.engine import Deployment
from tierwise.engines.settings import LaunchContext
from tierwise.engines.vllm.launch import LAUNCHER
from tierwise.policies import BestOfN
from tierwise.policies.rewarding import RewardModel
from tierwise.policies.scoring import ScorerChoice
from tierwise.run import Action, Tier
from tierwise.spec.call import Call, Recorder, Usage
from tierwise.spec.errors import EngineError, TooLong
from tierwise.spec.prompt import Prompt
from tierwise.testing import ScriptedEngine, ask_user
from tierwise.testing.fakes import new_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines.vllm.fixtures import VllmAtWork
    from tierwise.engines.engine import Engine

pytestmark = [pytest.mark.vllm, pytest.mark.model]

ANSWERS = ("It is 4.", "It is 5, I think.", "Nobody knows the answer to that question.", "4", "1 + 3")
TALKS = [[{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": answer}] for answer in ANSWERS]


@pytest.fixture(scope="module")
def reward_folder(vllm_python, smollm2_folder, tmp_path_factory) -> Callable[[int], Path]:
    """Writes a reward model with so many labels."""

    def write(labels: int) -> Path:
        folder = tmp_path_factory.mktemp("checkpoints") / f"reward{labels}"
        talks = folder.with_name("talks.json")
        talks.write_text(json.dumps(TALKS))
        run(vllm_python, Path(__file__).with_name("random_reward.py"), folder, smollm2_folder, str(labels), talks)
        return folder

    return write


@pytest.fixture(scope="module")
def one_output(new_vllm, reward_folder) -> Iterator[tuple[VllmAtWork, list[dict[str, Any]]]]:
    """One with a single output, and what Transformers says of each conversation."""
    folder = reward_folder(1)
    with at_work(new_vllm(folder, rewards=True, dtype="float32")) as running:
        yield running, json.loads((folder / "said.json").read_text())


async def graded(engine: Engine, talk: list[dict[str, str]]) -> Recorder:
    recorder = Recorder()
    async for chunk in engine.stream(Call(prompt=Prompt(messages=tuple(talk), fields={"temperature": 1}))):
        recorder.add(chunk)
    return recorder


def test_rewards_are_the_logits_of_the_model_and_prompt_tokens_those_of_its_template(one_output):
    running, said = one_output

    async def main() -> list[Recorder]:
        return await asyncio.gather(*(graded(running.engine, talk) for talk in TALKS))

    found = running.run(main())
    assert len({one["logits"][0] for one in said}) == len(TALKS)
    for one, by_transformers in zip(found, said, strict=True):
        assert one.completion().scores == pytest.approx(by_transformers["logits"], abs=1e-2)
        assert one.usage == Usage(prompt=by_transformers["tokens"])
        assert one.finish == "stop"


def test_best_of_n_answers_with_the_candidate_of_the_highest_logit(one_output):
    running, said = one_output
    policy = BestOfN(n=len(ANSWERS), scorer=ScorerChoice(reward=RewardModel(deployment="grader")))
    drawn = Deployment(name="small", engine=ScriptedEngine(*ANSWERS))
    graders = {"grader": Deployment(name="grader", engine=running.engine)}

    async def main() -> Any:
        trace = new_trace()
        action = Action(Tier(name="best", deployment=drawn, policy=policy, graders=graders), trace)
        return await action.solve(ask_user("2+2?")), trace

    answer, trace = running.run(main())
    logits = [one["logits"][0] for one in said]
    rewards = [done for done in trace.passes if done.call.role == "reward"]
    by_text = dict(zip(ANSWERS, logits, strict=True))
    of_draw = {done.number: done.completion.text for done in trace.passes if done.call.candidate}
    seen = {of_draw[done.call.after[0]]: done.completion.scores[0] for done in rewards}
    assert 2 <= len(seen) < len(ANSWERS), "equal answers are graded once"
    assert seen == pytest.approx({text: by_text[text] for text in seen}, abs=1e-2)
    assert answer.completion.text == max(seen, key=lambda text: by_text[text])
    assert {done.deployment for done in rewards} == {"grader"}
    assert sum(done.usage.completion for done in rewards) == 0


def test_a_conversation_that_does_not_fit_is_too_long(one_output):
    running, _ = one_output
    talk = [{"role": "user", "content": "word " * 3000}, {"role": "assistant", "content": "4"}]
    with pytest.raises(TooLong):
        running.run(graded(running.engine, talk))


def test_passes_that_are_aborted_leave_the_server(one_output):
    running, _ = one_output
    talks = [  # each begins anew, so that no prefix of it is kept
        [{"role": "user", "content": f"{number} " + "word " * 800}, {"role": "assistant", "content": "4"}]
        for number in range(192)
    ]

    async def main() -> None:
        before = await running.metric("prompt_tokens_total")
        passes = [asyncio.create_task(graded(running.engine, talk)) for talk in talks]
        for _ in range(1000):  # vLLM tells nobody
            if await running.metric("num_requests_running") or any(one.done() for one in passes):
                break
        for one in passes:
            one.cancel()
        ended = await asyncio.gather(*passes, return_exceptions=True)
        assert any(isinstance(one, asyncio.CancelledError) for one in ended)
        async with asyncio.timeout(20):
            while await running.metric("num_requests_running") + await running.metric("num_requests_waiting"):
                pass
        assert await running.metric("prompt_tokens_total") - before < 800 * len(talks) / 2

    running.run(main())


def test_a_model_with_classes_sends_one_logit_for_each(new_vllm, reward_folder):
    folder = reward_folder(3)
    said = json.loads((folder / "said.json").read_text())
    with at_work(new_vllm(folder, rewards=True, dtype="float32")) as running:
        for talk, by_transformers in zip(TALKS, said, strict=True):
            found = running.run(graded(running.engine, talk))
            assert found.completion().scores == pytest.approx(by_transformers["logits"], abs=1e-2)


def test_a_server_that_grades_writes_no_answers(one_output, tmp_path):
    running, _ = one_output
    settings = Vllm(url=f"{running.url}/v1", model="reward1")

    async def main() -> None:
        engine = LAUNCHER.build(settings, "reward1", LaunchContext(base=tmp_path, logs=tmp_path))
        try:
            with pytest.raises(EngineError, match=r"404|does not support"):
                await completed(engine, call())
        finally:
            await engine.stop()

    running.run(main())
