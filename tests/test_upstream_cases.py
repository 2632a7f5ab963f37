"""What servers send, through the real gateway: the cases of `cases/upstream.jsonl`, and more of each kind.

`benchmarks/scripted_upstream.py` reads the format of the cases, and `benchmarks/faults.py` runs a matrix of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # programs, not a package
import faults
from fault_cases import CASES, END
from scripted_upstream import Gateway, Outcome, served

GIVEN = [json.loads(line) for line in (Path(__file__).parent / "cases" / "upstream.jsonl").read_text().splitlines()]
OWN = [case for case in CASES if not case.get("slow")]
ALL = [*GIVEN, *OWN]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with served([case["upstream"] for case in ALL], tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("number", range(len(ALL)), ids=[f"{case['kind']}: {case['case']}" for case in ALL])
def test_what_a_server_sends_ends_as_it_must(gateway, number, stream):
    found = faults.problems(gateway, number, ALL[number], stream=stream)
    assert not found, found


def test_the_matrix_has_at_least_130_faults_and_every_word_of_the_format_is_checked():
    assert len(GIVEN) + len(CASES) >= 130
    with pytest.raises(ValueError, match="no check is known for 'typo'"):
        faults._check(None, 0, Outcome(stream=False, status=200, headers={}, raw="", seconds=0), "typo", 1, [])


ABORTED = [{"choices": [{"index": 0, "delta": {"content": "5"}, "finish_reason": "abort"}]}]
FOUR = [{"choices": [{"index": 0, "delta": {"content": "4"}, "finish_reason": "stop"}]}, END[1]]


def test_an_aborted_pass_wins_no_vote(tmp_path):
    with served([ABORTED], tmp_path) as gateway:
        assert gateway.ask("vote-0", stream=False).error["code"] == "engine_broken"


def test_a_seed_that_is_dropped_is_never_sent_and_the_answer_has_no_failed_pass(tmp_path):
    refuses = {"when": "seed", "status": 400, "body": {"error": {"message": "no"}}}
    with served([[refuses, *FOUR]], tmp_path, drop=["seed", "stream_options"]) as gateway:
        outcome = gateway.ask("0", stream=True, seed=7)
        assert outcome.message["content"] == "4"
        (request,) = gateway.upstream.requests[0]
        assert not {"seed", "stream_options"} & request.keys()


def test_without_streams_an_answer_is_requested_whole_and_streamed_to_the_client(tmp_path):
    body = {"json": {"choices": [{"index": 0, "message": {"content": "4"}, "finish_reason": "stop"}]}}
    with served([[body]], tmp_path, drop=["stream"]) as gateway:
        assert gateway.ask("0", stream=True).message["content"] == "4"
        (request,) = gateway.upstream.requests[0]
        assert not {"stream", "stream_options"} & request.keys()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_drip_cannot_hold_an_action_beyond_its_deadline(tmp_path, stream):
    drip = {"drip": ": ping\n\n" * 20, "every": 0.5}
    with served(
        [[drip], [{"choices": [{"index": 0, "delta": {"content": "4"}}]}, drip]], tmp_path, seconds=2
    ) as gateway:
        nothing, half = gateway.ask("0", stream=stream), gateway.ask("1", stream=stream)
    assert nothing.error["code"] == "budget_exhausted"
    assert (half.message["content"], half.finish) == ("4", "length")
    assert max(nothing.seconds, half.seconds) < 6


def test_the_official_client_does_not_retry_wrong_settings(tmp_path):
    refused = {"status": 401, "body": {"error": {"message": "bad key"}}}
    with (
        served([[refused]], tmp_path) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key="x", max_retries=3) as client,
    ):
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="0", messages=[{"role": "user", "content": "Hi"}])
        assert caught.value.code == "engine_misconfigured"
        assert len(gateway.upstream.requests[0]) == 1
