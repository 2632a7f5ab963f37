"""The file for a server follows from what the server was seen to do, and says so beside each line."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tierwise.engines.probe.findings import TRAITS, Finding, Probed, Switch
from tierwise.plan import Plan, parse
from tierwise.setup import Draft, draft_for_server
from tierwise.setup.server import write_draft
from tierwise.spec.errors import Broken, EngineError, Garbled, Misconfigured, NotFound, Refused, TimedOut
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

MODELS = {"object": "list", "data": [{"id": "m", "owned_by": "somebody"}, {"id": "other", "owned_by": "somebody"}]}


class Chatty(FakeServer):
    """Lists two models, has no other page, and says the same whatever it is asked."""

    reply = HttpReply(text="1, 2, 3")

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if request.target == "/v1/models":
            return HttpReply(body=json.dumps(MODELS).encode())
        return self.reply if request.method == "POST" else HttpReply(status=404, body=b"{}")


def drafted(server: FakeServer, **options: Any) -> Draft:
    async def main() -> Draft:
        async with server:
            return (await draft_for_server(server.url, **{"seconds": 5.0, **options}))[0]

    return asyncio.run(main())


def seen(*, note: str = "", **changes: Any) -> Probed:
    """A probe that found nothing amiss, but for some verdicts by the trait's name."""
    verdicts = {**dict.fromkeys(TRAITS, "yes"), **{name: changes.pop(name) for name in TRAITS if name in changes}}
    findings = {
        name: Finding(verdict=verdict, note=note if verdict != "yes" else "") for name, verdict in verdicts.items()
    }
    base: dict[str, Any] = {"url": "http://h/v1", "model": "m", "server": "", "version": "", "date": "2026-11-28"}
    return Probed(**{**base, "models": ["m"], **changes}, findings=findings)


def planned(probed: Probed, **options: Any) -> tuple[Plan, str]:
    draft = write_draft(probed, **options)
    return parse(draft.text, Path("tierwise.yaml")), re.sub(r"\n *# ", " ", draft.text)


def kinds(plan: Plan) -> list[str]:
    return [tier.policy.kind for tier in plan.file.tiers.values()]


THINKS = Switch(
    on={"chat_template_kwargs": {"enable_thinking": True}}, off={"chat_template_kwargs": {"enable_thinking": False}}
)


def test_a_server_that_does_everything_gets_a_pass_a_vote_and_a_choice():
    plan, _ = planned(seen())
    assert plan.names == ["fast", "standard", "max", "auto"]
    assert kinds(plan) == ["single", "majority", "best_of_n"]
    assert plan.file.tiers["fast"].sampling.temperature == 0
    assert plan.file.tiers["max"].budget.passes == plan.most_passes("max")


def test_a_server_that_does_not_show_tools_to_the_model_is_noted():
    assert not any("tools" in note for note in write_draft(seen(logprobs_with_tools="no")).notes)
    assert "it does not show tools to the model, so the model calls none" in write_draft(seen(tools_shown="no")).notes


@pytest.mark.parametrize("verdict", ["no", "unseen"])
def test_without_log_probabilities_max_takes_a_vote_and_says_why(verdict):
    plan, text = planned(seen(logprobs=verdict, note="refused, 400: never heard"))
    assert kinds(plan) == ["single", "majority", "majority"]
    assert "Not best_of_n" in text
    assert "if a request has no verifier (refused, 400: never heard)" in text


def test_where_draws_are_all_alike_nothing_votes():
    plan, text = planned(seen(temperature="no", note="4 draws with as many seeds are the same text"))
    assert kinds(plan) == ["single", "single", "refine"]
    assert all(tier.sampling.temperature is None for tier in plan.file.tiers.values())
    assert "Votes would be identical: 4 draws with as many seeds are the same text" in text


def test_where_a_temperature_is_refused_none_is_set_and_votes_stay():
    plan, _ = planned(seen(temperature="no", note="refused, 400: temperature is fixed"))
    assert kinds(plan) == ["single", "majority", "best_of_n"]
    assert all(tier.sampling.temperature is None for tier in plan.file.tiers.values())


def test_a_thinking_switch_makes_fast_answer_at_once_and_max_think():
    plan, text = planned(seen(switch=THINKS))
    fast, standard, most = (tier.sampling.chat_template_kwargs for tier in plan.file.tiers.values())
    assert (fast, standard, most) == ({"enable_thinking": False}, {"enable_thinking": True}, {"enable_thinking": True})
    assert kinds(plan) == ["single", "single", "best_of_n"]
    assert "It does not think." in text
    assert "One pass that thinks." in text


def test_a_cap_bounds_the_thinking_of_standard_and_not_that_of_max():
    switch = Switch(on=THINKS.on, off=THINKS.off, cap="thinking_token_budget")
    plan, text = planned(seen(switch=switch))
    assert plan.file.tiers["standard"].sampling.extra == {"thinking_token_budget": 1024}
    assert plan.file.tiers["max"].sampling.extra == {}
    assert "thinks, for 1024 tokens at most" in text
    assert planned(seen(switch=switch, context=2000))[0].file.tiers["standard"].sampling.extra == {
        "thinking_token_budget": 500
    }


def test_a_model_whose_thinking_nothing_ends_is_said_to_think_in_fast_too():
    assert "no known switch disables that" in planned(seen(thinking="no"))[1]
    assert "no known switch disables that" not in planned(seen(thinking="no", reasoning="unseen"))[1]


def test_an_effort_is_a_switch_too():
    switch = Switch(on={"reasoning_effort": "high"}, off={"reasoning_effort": "none"})
    plan, _ = planned(seen(switch=switch))
    assert [tier.sampling.reasoning_effort for tier in plan.file.tiers.values()] == ["none", "high", "high"]


def test_without_usage_the_counts_are_said_to_be_estimates():
    draft = write_draft(seen(stream_usage="no"))
    assert "completion tokens are estimated from the chunks" in re.sub(r"\n *# ", " ", draft.text)
    assert "it sends no usage in streams: token counts are estimated" in draft.notes


def test_one_slot_is_said_and_set():
    draft = write_draft(seen(side_by_side="no", slots=1))
    plan = parse(draft.text, Path("tierwise.yaml"))
    assert plan.processes[0].settings.slots == 1
    assert "one request at a time" in draft.text
    assert "sequentially" in draft.text.partition("  max:")[2]
    assert any("one request at a time" in note for note in draft.notes)


def test_slots_that_it_tells_are_set_and_those_that_it_does_not_are_left_out():
    assert planned(seen(slots=3))[0].processes[0].settings.slots == 3
    assert "slots" not in planned(seen())[1]


def test_a_server_that_works_on_for_nobody_is_said_to():
    assert "It continues after a pass is aborted" in planned(seen(abort="no"))[1]
    assert "It continues after" not in planned(seen(abort="unseen"))[1]


def test_the_first_of_several_models_is_taken_and_the_others_are_named():
    draft = write_draft(seen(models=["m", "b", "c"]))
    assert "The first one listed; the server also has: b, c (tierwise init --model NAME)" in draft.text
    assert "the server has 3 models, and the file uses the first; choose another with --model: b, c" in draft.notes
    chosen = write_draft(seen(models=["a", "m"]), is_chosen=True)
    assert "    # It also has: a" in chosen.text
    assert not any("models" in note for note in chosen.notes)


def test_a_server_that_we_have_an_engine_for_is_spoken_to_by_that():
    plan, _ = planned(seen(server="vLLM", context=4096))
    assert (plan.processes[0].engine, plan.processes[0].settings.context) == ("vllm", 4096)
    assert planned(seen(server="SGLang"))[0].processes[0].engine == "sglang"
    plan, _ = planned(seen(server="llama.cpp", context=4096))
    assert plan.processes[0].settings.extra == {"timings_per_token": True, "return_progress": True}


def test_the_variable_of_the_key_stands_in_the_file():
    assert planned(seen(), key_env="MY_KEY")[0].processes[0].settings.api_key_env == "MY_KEY"


@pytest.mark.parametrize("name", ['a"b', "a: b # c", "a\\b", "名前", "a'b", "- a", "{a}", "yes", "1"])
def test_whatever_a_server_calls_its_model_the_file_means_that(name):
    plan, _ = planned(seen(model=name, models=[name, "\u2028x\ny: z"]))
    assert plan.processes[0].settings.model == name


def test_what_a_server_says_cannot_end_a_comment():
    plan, _ = planned(seen(tools="no", note="no\ntiers: {}\r\u2028evil: 1\x07"))
    assert plan.names == ["fast", "standard", "max", "auto"]


def test_every_trait_is_told():
    text = write_draft(seen(seed="unseen", note="who knows")).text
    assert all(about in text for about in TRAITS.values())
    assert "#   ?   same seed, same text; different seed, different text (who knows)" in text


# ── a server that answers ───────────────────────────────────────────────


def test_a_server_is_probed_and_drafted():
    draft = drafted(Chatty())
    plan = parse(draft.text, Path("tierwise.yaml"))
    assert kinds(plan) == ["single", "single", "refine"]
    assert plan.processes[0].settings.model == "m"
    assert draft.about.startswith("a server of unknown kind at http://127.0.0.1:")


def test_another_model_can_be_named_and_one_that_is_not_there_is_refused():
    assert parse(drafted(Chatty(), model="other").text, Path("a")).processes[0].settings.model == "other"
    with pytest.raises(NotFound, match="has no model 'third'; it has: m, other"):
        drafted(Chatty(), model="third")


class Failing(Chatty):
    def __init__(self, reply: HttpReply, *, after: int = 0) -> None:
        super().__init__()
        self.bad, self.after = reply, after

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        return self.bad if request.method == "POST" and number > self.after else super().reply_to(number, request)


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (
            HttpReply(status=400, body=b'{"error": {"message": "an embedding model"}}'),
            Refused,
            "does not chat with 'm': an embedding model; if this model does not support chat, .* --model: other",
        ),
        (HttpReply(status=404, body=b"{}"), Misconfigured, "does not chat with 'm': .*404"),
        (HttpReply(status=401, body=b'{"error": "who?"}'), Misconfigured, "401: who.*--key-env NAME"),
        (HttpReply(body=b'{"choices": []}'), Garbled, "application/json instead of an event stream"),
        (HttpReply(status=307, body=b"", headers={"Location": "http://x/"}), Misconfigured, "redirects to http://x/"),
        (HttpReply(waits=60), TimedOut, r"did not start an answer within 0\.3 s; .* --seconds 60"),
        (HttpReply(silent_after=0), TimedOut, r"did not start an answer within 0\.3 s"),
    ],
)
def test_a_server_that_lists_models_and_does_not_chat_is_refused_in_its_own_words(reply, kind, message):
    with pytest.raises(kind, match=message):
        drafted(Failing(reply), seconds=0.3)


def test_a_server_that_repeats_the_key_does_not_bring_it_into_message_or_file():
    class Telltale(Chatty):
        def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
            words = json.dumps({"error": {"message": f"I know {request.headers['authorization']}"}}).encode()
            return (
                HttpReply(status=400, body=words)
                if "tools" in (request.body or {})
                else super().reply_to(number, request)
            )

    draft = drafted(Telltale(), key="geheim", key_env="MY_KEY")
    assert "supports tools (refused, 400: I know Bearer …)" in draft.text
    assert "geheim" not in draft.text
    echo = HttpReply(status=400, body=b'{"error": {"message": "not with geheim"}}')
    with pytest.raises(Refused, match="not with …") as caught:
        drafted(Failing(echo), key="geheim")
    assert "geheim" not in str(caught.value)


def test_a_server_that_stops_answering_on_the_way_gets_no_file():
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"stopped answering during .* no answer within 0\.3 s; nothing was written"):
        drafted(Failing(HttpReply(waits=60), after=12), seconds=0.3)
    assert time.monotonic() - began < 20


def test_a_server_without_models_is_refused_unless_one_is_named():
    class Empty(Chatty):
        def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
            return HttpReply(body=b'{"data": []}') if request.method == "GET" else self.reply

    with pytest.raises(Broken, match="lists no models; load one, or name it with --model"):
        drafted(Empty())
    assert 'model: "m"' in drafted(Empty(), model="m").text
