"""A probe finds each vice of a server, against a fake that has all virtues but one, and against a real llama.cpp."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tierwise.engines.openai.quirks import SERVERS, known_as
from tierwise.engines.probe import findings as remembering
from tierwise.engines.probe.findings import TRAITS, Finding, Probed, remember, remembered
from tierwise.engines.probe.probe import Probe
from tierwise.engines.probe.thinking import cap_fields
from tierwise.spec.errors import Broken, NotFound
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

NUMBERS = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
CONTEXT = 500


class Virtuous(FakeServer):
    """Does everything that it is asked for, as vLLM would, but for its vices."""

    def __init__(self, *vices: str, owned_by: str = "vllm") -> None:
        super().__init__()
        self.vices = vices
        self.owned_by = owned_by
        self.seen: set[str] = set()
        self.nests = False
        """Whether it limits thinking by a field within an object, as SGLang does."""
        self.drawn = 0
        self.streamed = 0.0

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        match request.target:
            case "/v1/models":
                about = {"id": "m", "object": "model", "owned_by": self.owned_by, "max_model_len": CONTEXT}
                return whole({"object": "list", "data": [about]})
            case "/version":
                return whole({"version": "9.9"})
            case "/metrics":
                running = self.running if "abort" not in self.vices else 1
                return HttpReply(body=f'vllm:num_requests_running{{a="b"}} {running}.0\n'.encode())
            case "/v1/chat/completions":
                return self.answer(request.body)
            case _:
                return HttpReply(status=404, body=b"{}")

    def answer(self, body: dict[str, Any]) -> HttpReply:
        prompt = body["messages"][0]["content"]
        if (error := self.refusal(body, prompt)) is not None:
            return whole({"object": "error", "message": error, "type": "BadRequestError", "code": 400}, 400)
        if body.get("stream"):
            if body["max_tokens"] == 32:  # as several are asked at once
                before, self.streamed = self.streamed, asyncio.get_running_loop().time()
            if "side_by_side" in self.vices and body["max_tokens"] == 32 and self.streamed - before < 0.05:
                return whole({"error": {"message": "one at a time"}}, 429)
            return HttpReply(text=NUMBERS * 20, step=0.01, usage="stream_usage" not in self.vices)
        choices = [self.choice(body) for _ in range(1 if "n" in self.vices else body.get("n", 1))]
        counted = sum(len(choice["message"]["content"].split()) for choice in choices)
        usage: dict[str, Any] = {"prompt_tokens": len(prompt.split()), "completion_tokens": counted}
        if "tools" in body and "tools_shown" not in self.vices:
            usage["prompt_tokens"] += 20
        if "too_long" in self.vices:
            usage["prompt_tokens"] = min(usage["prompt_tokens"], CONTEXT)
        if "cached_tokens" not in self.vices:
            usage["prompt_tokens_details"] = {"cached_tokens": 16 if prompt in self.seen else 0}
        self.seen.add(prompt)
        return whole({"object": "chat.completion", "choices": choices, "usage": usage})

    def refusal(self, body: dict[str, Any], prompt: str) -> str | None:
        if len(prompt.split()) > CONTEXT and "too_long" not in self.vices:
            return f"This model's maximum context length is {CONTEXT} tokens."
        if "logprobs_with_tools" in self.vices and body.get("stream") and {"logprobs", "tools"} <= body.keys():
            return "logprobs is not supported with tools + stream"
        for name, field in (
            ("tools", "tools"),
            ("unknown_fields", "tierwise_probe"),
            ("json_schema", "response_format"),
        ):
            if name in self.vices and field in body:
                return f"{field}: extra fields not permitted"
        return None

    def choice(self, body: dict[str, Any]) -> dict[str, Any]:
        text, finish = NUMBERS, "stop"
        self.drawn += 1
        if body.get("temperature") and "temperature" not in self.vices:
            mark = self.drawn if "seed" in self.vices else body.get("seed")
            text = f"{mark} " + NUMBERS
        elif "greedy" in self.vices:
            text = f"{self.drawn} " + NUMBERS
        if "response_format" in body:
            text = '{"ok": true}'
        for stop in body.get("stop", ()) if "stop" not in self.vices else ():
            text = text.partition(stop)[0]
        words = text.split()
        if len(words) > (most := body.get("max_tokens", 99)) and "max_tokens" not in self.vices:
            text, finish = " ".join(words[:most]), "length"
        message = {"content": text, "reasoning": self.thought(body)}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish}
        if body.get("logprobs") and "logprobs" not in self.vices:
            choice["logprobs"] = {"content": [{"token": "1", "logprob": -0.1}]}
        return choice

    def thought(self, body: dict[str, Any]) -> str:
        if "thinking" not in self.vices and body.get("chat_template_kwargs") == {"enable_thinking": False}:
            return ""
        place = body.get("custom_params", {}) if self.nests else body
        caps = {"thinking_budget", "thinking_token_budget"} & place.keys()
        is_capped = "thinking_tokens" not in self.vices and bool(caps)
        return "hm" if is_capped else "hm " * 40


def whole(body: dict[str, Any], status: int = 200) -> HttpReply:
    return HttpReply(status=status, body=json.dumps(body).encode())


def probe(server: FakeServer, **options: Any) -> Probed:
    async def main() -> Probed:
        async with server:
            return await Probe(server.url, **{"seconds": 5, **options}).run()

    return asyncio.run(main())


def verdicts(probed: Probed) -> dict[str, str]:
    return {trait: finding.verdict for trait, finding in probed.findings.items()}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr("tierwise.engines.probe.probe._LEAVING_SECONDS", 0.5)
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))


def test_a_server_that_does_everything_has_nothing_against_it():
    probed = probe(Virtuous())
    assert (probed.server, probed.version, probed.model) == ("vLLM", "9.9", "m")
    assert verdicts(probed) == dict.fromkeys(TRAITS, "yes")
    assert probed.findings["reasoning"].note == "under `reasoning`"
    assert list(probed.notes()) == []


@pytest.mark.parametrize("vice", [trait for trait in TRAITS if trait != "reasoning"])
def test_every_vice_is_found_and_nothing_else(vice):
    probed = probe(Virtuous(vice))
    others = {name for name, verdict in verdicts(probed).items() if verdict != "yes"}
    assert verdicts(probed)[vice] == "no"
    assert others - {vice} <= UNSEEN_WITHOUT.get(vice, set())
    assert len(list(probed.notes())) == (0 if vice in MEAN_NOTHING else 1)


BOTH = {"logprobs_with_tools"}
UNSEEN_WITHOUT = {
    "logprobs": BOTH,
    "tools": BOTH | {"tools_shown"},
    "temperature": {"seed"},
    "greedy": {"stop"},
    "thinking": {"thinking_tokens"},
}
"""What cannot be seen of a server with a vice."""
MEAN_NOTHING = {"n", "thinking"}
"""Vices that no tier suffers from."""


def test_what_its_kind_is_known_for_is_told_where_nothing_was_seen():
    probed = probe(Virtuous(owned_by="Triton Inference Server"))
    assert probed.server == "Triton"
    assert probed.findings["abort"] == Finding(verdict="unseen", note="it has no known metric of running requests")
    ollama = Probed(url="u", model="m", server="Ollama", version="1", date="2026-01-01", findings={})
    assert [note for note in ollama.notes() if "num_ctx" in note]


@pytest.mark.parametrize(
    ("owned_by", "headers", "pages", "name"),
    [
        ("vllm", {}, {}, "vLLM"),
        ("vllm", {"x-litellm-call-id": "1"}, {}, "LiteLLM"),
        ("", {"server": "llama.cpp"}, {}, "llama.cpp"),
        ("", {}, {"/props": '{"default_generation_settings":{}}'}, "llama.cpp"),
        ("", {}, {"/": "Ollama is running"}, "Ollama"),
        ("", {}, {"/info": '{"max_total_tokens": 4096}'}, "TGI"),
    ],
)
def test_a_server_is_known_by_what_it_shows(owned_by, headers, pages, name):
    found = known_as(owned_by=owned_by, headers=headers, pages=pages)
    assert found is not None
    assert found.name == name


def test_nobody_is_mistaken_for_another():
    assert known_as(owned_by="somebody", headers={"server": "nginx"}, pages={"/": "welcome"}) is None


def test_every_quirk_is_of_something_that_is_probed_and_says_where_it_is_known_from():
    quirks = [quirk for server in SERVERS for quirk in server.quirks]
    assert {quirk.trait for quirk in quirks} <= set(TRAITS)
    assert all(quirk.says and quirk.source for quirk in quirks)
    assert set(remembering._MEANS) | MEAN_NOTHING | {"reasoning"} == set(TRAITS)


def test_a_server_that_is_not_there_or_has_no_such_model_is_said_so():
    with pytest.raises(Broken, match="cannot be reached"):
        asyncio.run(Probe("http://127.0.0.1:1/v1").run())
    with pytest.raises(NotFound, match="has no model 'other'; it has: m"):
        probe(Virtuous(), model="other")
    with pytest.raises(Broken, match=r"requires a key \(401: no\); put it into an environment variable"):
        probe(FakeServer(HttpReply(status=401, body=b'{"error": "no"}')))
    with pytest.raises(Broken, match=r"rejects the key \(401: no\)"):
        probe(FakeServer(HttpReply(status=401, body=b'{"error": "no"}')), api_key="secret")


def test_a_server_that_refuses_everything_is_unseen_and_not_bad():
    class Closed(Virtuous):
        def answer(self, body: dict[str, Any]) -> HttpReply:
            return whole({"error": {"message": "no room"}}, 503)

    found = probe(Closed())
    assert verdicts(found)["seed"] == "unseen"
    assert found.findings["seed"].note == "refused, 503: no room"


def test_what_it_does_is_seen_without_a_field_that_it_refuses():
    class Fixed(Virtuous):
        def answer(self, body: dict[str, Any]) -> HttpReply:
            if "temperature" in body:
                return whole({"error": {"message": "temperature is fixed"}}, 400)
            return super().answer(body | {"temperature": 1})

    found = probe(Fixed())
    assert found.findings["temperature"] == Finding(verdict="no", note="refused, 400: temperature is fixed")
    assert [name for name, verdict in verdicts(found).items() if verdict != "yes"] == ["temperature", "greedy"]


def test_a_server_that_stops_answering_is_left_alone_after_two_silences():
    class Stuck(Virtuous):
        def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
            stuck = request.method == "POST" and "stop" in request.body
            self.stuck = getattr(self, "stuck", False) or stuck
            return HttpReply(waits=60) if self.stuck else super().reply_to(number, request)

    found = probe(Stuck(), seconds=0.2)
    assert not found.is_whole
    notes = [finding.note for finding in found.findings.values() if finding.verdict == "unseen"]
    assert notes[:2] == ["no answer within 0.2 s"] * 2
    assert set(notes[2:]) == {"skipped after 2 requests without an answer"}


def test_a_base_without_v1_is_found_and_named():
    async def main() -> Probed:
        async with Virtuous() as server:
            return await Probe(f"http://127.0.0.1:{server.port}", seconds=5).run()

    assert asyncio.run(main()).url.endswith("/v1")


def test_a_switch_that_only_the_template_reads_is_said_to_want_a_parser():
    class Silent(Virtuous):
        def thought(self, body: dict[str, Any]) -> str:
            return ""

        def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
            if request.method == "POST" and request.body.get("chat_template_kwargs") == {"enable_thinking": False}:
                request.body["messages"] = [{"content": f"{request.body['messages'][0]['content']} no_think"}]
            return super().reply_to(number, request)

    found = probe(Silent())
    assert found.switch is None
    assert (
        "reads `chat_template_kwargs.enable_thinking`, but thinking is not separated" in found.findings["thinking"].note
    )


def test_a_cap_within_an_object_is_found_and_written_into_a_config_file():
    server = Virtuous()
    server.nests = True
    probed = probe(server)
    assert probed.findings["thinking_tokens"] == Finding(verdict="yes", note="under `custom_params.thinking_budget`")
    assert cap_fields("custom_params.thinking_budget", 9) == {"custom_params": {"thinking_budget": 9}}
    assert cap_fields("thinking_token_budget", 9) == {"thinking_token_budget": 9}


def test_thinking_that_stands_in_the_text_is_thinking_too():
    class Inside(Virtuous):
        def choice(self, body: dict[str, Any]) -> dict[str, Any]:
            found = super().choice(body)
            if found["message"].pop("reasoning"):
                found["message"]["content"] = f"<think>{found['message']['content']}"
            return found

    switch = probe(Inside()).switch
    assert switch is not None
    assert (switch.is_inside, switch.cap) == (True, "")
    assert switch.off == {"chat_template_kwargs": {"enable_thinking": False}}


def test_a_probe_is_remembered_by_url_and_model():
    probed = probe(Virtuous("seed"))
    remember(probed)
    assert remembered(probed.url + "/", "m") == probed
    assert remembered(probed.url, "other") is None
    remember(probed).write_text("torn")
    assert remembered(probed.url, "m") is None


@pytest.mark.model
def test_a_real_llama_cpp_keeps_what_tiers_stand_on(llama):
    probed = llama.run(Probe(f"{llama.url}/v1").run())
    expected = dict.fromkeys(TRAITS, "yes") | {"n": "no", "reasoning": "unseen"}
    expected |= {"thinking": "no", "thinking_tokens": "unseen"}  # SmolLM2 does not think
    expected |= {"logprobs_with_tools": "no", "tools_shown": "no"}  # nor does its template have tools
    assert (probed.slots, probed.context, probed.models) == (4 + 1, 1024, ["small"])  # one for passes that run alone
    assert probed.server == "llama.cpp"
    assert {trait: finding for trait, finding in probed.findings.items() if finding.verdict != expected[trait]} == {}
    assert "counts 2 choices" in probed.findings["n"].note
