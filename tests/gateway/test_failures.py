"""Every error has one status and one shape; whatever an engine does, no failure looks like an answer."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import AsyncGenerator, Iterator

import openai
import pytest

import tierwise
from endpoints import HELLO, Answered, tier_of, until
from tierwise.gateway.failures import STATUSES, body_of, headers_of, status_of
from tierwise.policies import BestOfN, Majority, Refine, Single
from tierwise.spec import errors
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Chunk
from tierwise.spec.errors import (
    Broken,
    ConfigErrors,
    Garbled,
    Overloaded,
    Refused,
    SpecError,
    TierwiseError,
    TimedOut,
    TooLong,
)
from tierwise.testing import FlakyEngine, Reply, ScriptedEngine


# ── the map ─────────────────────────────────────────────────────────────
def every_error() -> Iterator[type[TierwiseError]]:
    for module in pkgutil.walk_packages(tierwise.__path__, "tierwise."):
        if not module.name.endswith(("__main__", "_worker")) and ".inside" not in module.name:
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:  # a package with an environment of its own, such as Harbor
                if (error.name or "tierwise").startswith("tierwise"):
                    raise

    def below(kind: type[TierwiseError]) -> Iterator[type[TierwiseError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    return below(TierwiseError)


def an(kind: type[TierwiseError]) -> TierwiseError:
    if issubclass(kind, ConfigErrors):
        return kind([SpecError("wrong", field="tiers")])
    return kind("something is wrong")


ELSEWHERE = {
    "AccessError",  # never raised as such
    "LimitError",
    "EngineError",  # never raised as such
    "LedgerError",  # the answer is served
    "CheckpointError",  # before anything is served
    "SandboxEndedError",  # in an attempt of an agent
    "TransferError",  # in an attempt of an agent
    "RunnerFailed",  # in an attempt of an agent
    "JoinFailed",  # in an attempt of an agent
    "GitError",  # in a grade by a repository's tests
    "EnvironmentFailed",  # in a grade by a repository's tests
    "Nonsense",  # in a benchmark
    "EndpointGone",  # in a benchmark
}
DRAWN = dict(re.findall(r"^[ │├└─]+(\w+) .*?(\d{3})$", errors.__doc__ or "", re.MULTILINE))


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_the_status_that_the_map_draws(kind):
    drawn = next((DRAWN[parent.__name__] for parent in kind.__mro__ if parent.__name__ in DRAWN), None)
    if drawn is not None:
        assert status_of(an(kind)).http == int(drawn)
    else:
        assert kind is TierwiseError or ELSEWHERE & {parent.__name__ for parent in kind.__mro__}, "draw it"
        assert status_of(an(kind)).http in {500, 502}


def test_the_map_is_read_whole():
    assert len(DRAWN) == 24
    assert {kind.__name__ for kind in STATUSES} == {*DRAWN, "EngineError", "TierwiseError"}


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_openai_s_shape(kind):
    error = body_of(an(kind))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "0"), (0.2, "1"), (7.0, "7"), (1e6, "1000000")])
def test_retry_after_is_in_whole_seconds(seconds, header):
    assert headers_of(Overloaded("full", retry_after=seconds)) == {"retry-after": header}


# ── what engines do ─────────────────────────────────────────────────────
FATES = [
    (Refused("the engine says no"), 400, "engine_refused"),
    (TooLong("does not fit"), 400, "context_length_exceeded"),
    (Overloaded("full", retry_after=3), 429, "engine_overloaded"),
    (TimedOut("too slow"), 504, "engine_timed_out"),
    (Broken("gone"), 502, "engine_broken"),
    (Garbled("???"), 502, "engine_garbled"),
]


def assert_ends_badly(answer: Answered, code: str) -> None:
    """A stream that had begun."""
    assert answer.status == 200
    assert not answer.is_done
    assert answer.chunks[-1]["error"]["code"] == code
    assert set(answer.chunks[-1]) == {"error", "usage"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "code"), FATES, ids=str)
def test_a_failure_before_the_first_word_has_a_status_of_its_own(serve, error, status, code, stream):
    engine = ScriptedEngine(Reply(error=error))
    answer = serve(tier_of(engine=engine)).chat(stream=stream)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["code"] == code
    assert str(error) in answer.error["message"]
    assert answer.headers.get("retry-after") == ("3" if isinstance(error, Overloaded) else None)
    assert len(engine.calls) == (2 if isinstance(error, Broken) else 1)
    assert answer.headers["x-tierwise-tier"] == "tier"
    assert answer.headers["x-tierwise-passes"] == str(len(engine.calls))


@pytest.mark.parametrize(("error", "status", "code"), FATES, ids=str)
def test_a_failure_in_the_middle_of_a_stream_is_an_error_event_and_no_done(serve, error, status, code):
    engine = ScriptedEngine(Reply(text="half an", error=error))
    endpoint = serve(tier_of(engine=engine))
    answer = endpoint.chat(stream=True, stream_options={"include_usage": True})
    assert answer.chunks[0]["choices"][0]["delta"]["content"] == "half"
    assert_ends_badly(answer, code)
    assert len(engine.calls) == 1, "what the user saw is not tried again"
    assert endpoint.records[0].ending == "failed"
    assert endpoint.records[0].trace.usage.completion == engine.produced.completion == 2
    assert answer.chunks[-1]["usage"]["completion_tokens"] == 2, "what was spent is told all the same"


@pytest.mark.parametrize(("error", "status", "code"), FATES, ids=str)
def test_a_failure_in_the_middle_of_an_unseen_answer_has_its_status(serve, error, status, code):
    engine = ScriptedEngine(Reply(text="half an", error=error))
    endpoint = serve(tier_of(engine=engine))
    answer = endpoint.chat()
    assert (answer.status, answer.error["code"]) == (status, code)
    assert "half" not in answer.body.decode().replace(answer.error["message"], "")
    assert endpoint.records[0].trace.usage.completion == engine.produced.completion
    assert answer.json["usage"]["completion_tokens"] == engine.produced.completion


@pytest.mark.parametrize(("error", "status", "code"), FATES, ids=str)
def test_a_failure_before_the_first_content_has_a_status_however_late_it_comes(serve, error, status, code):
    engine = ScriptedEngine(Reply(delta={"role": "assistant"}, error=error, step=0.2))
    answer = serve(tier_of(engine=engine)).chat(stream=True)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("error", "status", "code"), FATES, ids=str)
def test_a_failure_after_the_first_bytes_is_an_error_event(serve, error, status, code):
    engine = ScriptedEngine(Reply(error=error, step=0.2))
    answer = serve(tier_of(engine=engine), first_bytes=0.1).chat(stream=True)
    assert answer.events[0].is_comment
    assert_ends_badly(answer, code)


@pytest.mark.parametrize(("error", "status", "code"), FATES, ids=str)
def test_a_policy_with_nothing_to_show_does_not_let_its_user_wait_for_headers(serve, error, status, code):
    engine = ScriptedEngine(Reply(error=error, step=0.2))
    answer = serve(tier_of(Majority(n=3), engine)).chat(stream=True)
    assert answer.events[0].is_comment
    assert_ends_badly(answer, code)


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_dies_before_its_first_word_is_tried_once_more(serve, stream):
    engine = ScriptedEngine(Reply(error=Broken("gone")), "here again")
    endpoint = serve(tier_of(engine=engine))
    answer = endpoint.chat(stream=stream)
    assert (answer.status, answer.text) == (200, "here again")
    assert [done.outcome for done in endpoint.records[0].trace.passes] == ["failed", "finished"]


def test_an_engine_that_dies_in_the_middle_unseen_is_tried_once_more(serve):
    engine = ScriptedEngine(Reply(text="half an", error=Broken("gone")), "a whole one")
    answer = serve(tier_of(engine=engine)).chat()
    assert (answer.status, answer.text) == (200, "a whole one")
    assert answer.json["usage"]["completion_tokens"] == engine.produced.completion == 5
    assert answer.headers["x-tierwise-passes"] == "2"


@pytest.mark.parametrize("policy", [Majority(n=3), BestOfN(n=3), Refine()])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "code"), FATES, ids=str)
def test_in_every_policy_an_engine_that_always_fails_is_an_error(serve, policy, error, status, code, stream):
    answer = serve(tier_of(policy, ScriptedEngine(Reply(error=error)))).chat(stream=stream)
    if answer.events:  # a machine that stands still for longer than such a stream's headers wait
        assert_ends_badly(answer, code)
    else:
        assert (answer.status, answer.error["code"]) == (status, code)


@pytest.mark.parametrize("stream", [False, True])
def test_of_n_choices_the_first_that_fails_ends_them_all(serve, stream):
    engine = ScriptedEngine("a b c d e f g h i j k", Reply(error=Overloaded("full"), step=0.03), step=0.01)
    endpoint = serve(tier_of(engine=engine))
    answer = endpoint.chat(n=2, stream=stream)
    if stream:
        assert_ends_badly(answer, "engine_overloaded")
    else:
        assert answer.status == 429
    assert engine.running == 0
    assert sorted(done.outcome for done in endpoint.records[0].trace.passes) == ["aborted", "failed"]


class Buggy(ScriptedEngine):
    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        if self.calls:
            yield Chunk(delta={"content": "x"})
        self.calls.append(call)
        raise KeyError("a bug")


@pytest.mark.parametrize("choices", [1, 2])
def test_a_bug_of_ours_is_a_500_in_the_same_shape(serve, choices):
    endpoint = serve(tier_of(engine=Buggy()))
    answer = endpoint.chat(n=choices)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (500, "policy_broken", "server_error")
    assert_ends_badly(endpoint.chat(n=choices, stream=True), "policy_broken")
    assert endpoint.metric("tierwise_actions_running") == 0
    assert [record.ending for record in endpoint.records] == ["failed", "failed"]


class Mute(Single, frozen=True, kw_only=True):
    async def solve(self, prompt, ask):
        return None


@pytest.mark.parametrize("choices", [1, 2])
def test_a_bug_outside_every_policy_is_a_500_in_the_same_shape_and_logged(serve, caplog, choices):
    endpoint = serve(tier_of(Mute()))
    for stream in (False, True):
        answer = endpoint.chat(n=choices, stream=stream)
        assert (answer.status, answer.error["code"]) == (500, "policy_broken")
        assert "AttributeError" in answer.error["message"]
        assert "AttributeError" in caplog.text
        caplog.clear()


def test_a_page_that_breaks_is_a_500_in_the_same_shape(serve, caplog):
    engine = ScriptedEngine()
    engine.health = lambda: 1 / 0  # type: ignore[method-assign]
    answer = serve(tier_of(engine=engine)).request("GET", "/ready")
    assert (answer.status, answer.error["code"]) == (500, "internal")
    until(lambda: "ZeroDivisionError" in caplog.text)


# ── deadlines ───────────────────────────────────────────────────────────
@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_before_the_first_word_is_a_504(serve, stream):
    engine = ScriptedEngine("late", step=5)
    answer = serve(tier_of(engine=engine, budget=Budget(seconds=0.05))).chat(stream=stream)
    assert (answer.status, answer.error["code"]) == (504, "budget_exhausted")
    assert "0.05 seconds" in answer.error["message"]
    assert engine.running == 0


def test_a_deadline_after_the_first_bytes_and_before_the_first_word_is_an_error_event(serve):
    engine = ScriptedEngine("late", step=5)
    endpoint = serve(tier_of(engine=engine, budget=Budget(seconds=0.25)), first_bytes=0.1)
    assert_ends_badly(endpoint.chat(stream=True), "budget_exhausted")


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_in_mid_answer_cuts_it_and_says_so(serve, stream):
    engine = ScriptedEngine(" ".join("abcdefghijklmnopqrstuvwxyz"), step=0.02)
    endpoint = serve(tier_of(engine=engine, budget=Budget(seconds=0.2)))
    answer = endpoint.chat(stream=stream)
    assert answer.status == 200
    assert answer.text.startswith("a b")
    assert not answer.text.endswith("z")
    if stream:
        assert answer.is_done
        assert [choice["finish_reason"] for chunk in answer.chunks for choice in chunk["choices"]][-1] == "length"
    else:
        assert answer.json["choices"][0]["finish_reason"] == "length"
        assert answer.json["usage"]["completion_tokens"] == engine.produced.completion
    assert endpoint.records[0].trace.passes[0].outcome == "cut"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "policy", [None, Majority(n=3), BestOfN(n=3), Refine()], ids=["single", "vote", "best", "refine"]
)
def test_whatever_fails_at_random_is_an_answer_or_an_error_and_counted_to_the_token(serve, policy, seed):
    engine = FlakyEngine("the answer is 4", seed=seed, step=0.002)
    endpoint = serve(tier_of(policy, engine))
    for stream in (False, True):
        answer = endpoint.chat(stream=stream, n=1 + seed % 2)
        if answer.events:
            assert answer.is_done != ("error" in answer.chunks[-1])
        else:
            assert answer.status in {200, 429, 502, 504}
            assert ("error" in answer.json) == (answer.status != 200)
    assert engine.running == 0
    assert sum(record.trace.usage.completion for record in endpoint.records) == engine.produced.completion


def test_the_official_client_raises_at_an_error_event(serve):
    engine = ScriptedEngine(Reply(text="half an", error=Broken("gone")))
    with serve(tier_of(engine=engine)).client() as client:
        stream = client.chat.completions.create(model="tier", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="gone"):
            list(stream)
