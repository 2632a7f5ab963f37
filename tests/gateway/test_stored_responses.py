"""Responses that later requests continue: the store, its bounds, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from endpoints import Answered, Endpoint, tier_of
from tierwise.gateway.apis.responses import ResponseStore
from tierwise.spec.errors import NoSuchResponse, NotFound, SpecError
from tierwise.spec.stored import StoredResponses
from tierwise.testing import Reply, ScriptedEngine


def post(endpoint: Endpoint, **fields: Any) -> Answered:
    body = json.dumps({"model": "tier", **fields}).encode()
    return endpoint.request("POST", "/v1/responses", body, {"content-type": "application/json"})


def put(store: ResponseStore, name: str, *, owner: str = "", size: int = 0, after: str | None = None) -> bool:
    before = () if after is None else store.segments(after, owner)
    value = json.dumps({"id": f"resp_{name}", "output": [{"id": f"msg_{name}_0"}], "x": "x" * size}).encode()
    return store.put(f"resp_{name}", owner, value, before, [name])


def items(store: ResponseStore, name: str, owner: str = "") -> list[Any]:
    return [item for segment in store.segments(f"resp_{name}", owner) for item in json.loads(segment)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_continues_the_conversation_of_another(serve, stream):
    engine = ScriptedEngine(Reply(thinking="hm", text="4"), "5", "6")
    endpoint = serve(tier_of(engine=engine))
    with endpoint.client() as client:
        last = None
        for turn in ("2+2", "+1", "+1"):
            asked: Any = {"model": "tier", "input": turn, "previous_response_id": last, "instructions": f"do {turn}"}
            if stream:
                last = list(client.responses.create(**asked, stream=True))[-1].response.id
            else:
                last = client.responses.create(**asked).id
    assert list(engine.calls[-1].prompt.messages) == [
        {"role": "system", "content": "do +1"},
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "4", "reasoning_content": "hm"},
        {"role": "user", "content": "+1"},
        {"role": "assistant", "content": "5"},
        {"role": "user", "content": "+1"},
    ]


def test_item_references_are_replaced_by_stored_items(serve):
    engine = ScriptedEngine(Reply(thinking="hm", text="4"), "5", "6")
    endpoint = serve(tier_of(engine=engine))
    output = post(endpoint, input="2+2").json["output"]
    references = [{"type": "item_reference", "id": output[0]["id"]}, {"id": output[1]["id"]}]
    second = post(endpoint, input=[{"role": "user", "content": "2+2"}, *references])
    third = post(endpoint, input="go", previous_response_id=second.json["id"])
    assert (second.status, third.status) == (200, 200), second.body
    assert engine.calls[1].prompt.messages[1] == {"role": "assistant", "content": "4", "reasoning_content": "hm"}
    assert engine.calls[2].prompt.messages[:2] == engine.calls[1].prompt.messages[:2]


def test_a_stored_response_is_shown_and_deleted(serve):
    endpoint = serve(tier_of())
    with endpoint.client() as client:
        made = client.responses.create(model="tier", input="hello")
        assert client.responses.retrieve(made.id) == made
        client.responses.delete(made.id)
        for gone in (client.responses.retrieve, client.responses.delete):
            with pytest.raises(openai.NotFoundError, match="is not stored, or no longer"):
                gone(made.id)
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.create(model="tier", input="more", previous_response_id=made.id)
    assert (error.value.code, error.value.param) == ("previous_response_not_found", "previous_response_id")


def test_a_stream_of_a_stored_response_is_refused(serve):
    endpoint = serve(tier_of())
    made = post(endpoint, input="hello").json["id"]
    answered = endpoint.request("GET", f"/v1/responses/{made}?stream=true")
    assert (answered.status, answered.error["param"]) == (400, "stream")
    assert endpoint.request("PATCH", f"/v1/responses/{made}").status == 405


def test_what_is_not_to_be_stored_is_not(serve):
    endpoint = serve(tier_of())
    answered = post(endpoint, input="hello", store=False)
    assert answered.json["store"] is False
    assert endpoint.request("GET", f"/v1/responses/{answered.json['id']}").status == 404


def test_without_a_store_requests_that_need_one_are_refused(serve):
    endpoint = serve(tier_of(), stored=StoredResponses(count=0))
    assert post(endpoint, input="hello").json["store"] is False
    for fields in ({"store": True}, {"previous_response_id": "resp_1"}):
        answered = post(endpoint, input="hello", **fields)
        assert (answered.status, answered.error["param"]) == (400, next(iter(fields)))
        assert "stored_responses.count" in answered.error["message"]


def test_the_newest_are_kept_up_to_their_number():
    store = ResponseStore(StoredResponses(count=2), clock=float)
    assert all(put(store, name) for name in ("a", "b", "c"))
    assert len(store) == 2
    with pytest.raises(NotFound):
        store.response("resp_a", "")
    assert items(store, "c") == ["c"]


def test_bytes_are_bounded_and_those_of_a_conversation_counted_once():
    store = ResponseStore(StoredResponses(mebibytes=0.01), clock=float)
    put(store, "a", size=4000)
    before = store.size
    put(store, "b", after="resp_a")
    assert store.size < before + 200
    assert items(store, "b") == ["a", "b"]
    put(store, "c", size=9000)
    assert store.size <= 0.01 * 2**20
    assert items(store, "b") == ["a", "b"]  # although `a` made room
    with pytest.raises(NotFound):
        store.response("resp_a", "")
    assert not put(store, "d", size=20_000)
    assert items(store, "c") == ["c"]
    for name in ("b", "c"):
        assert store.delete(f"resp_{name}", "")
    assert (store.size, len(store)) == (0, 0)


def test_old_responses_are_dropped():
    moment = 0.0
    store = ResponseStore(StoredResponses(seconds=10), clock=lambda: moment)
    put(store, "a")
    moment = 9.0
    put(store, "b", after="resp_a")
    moment = 11.0
    with pytest.raises(NoSuchResponse):
        store.segments("resp_a", "")
    assert items(store, "b") == ["a", "b"]
    moment = 20.0
    assert not store.delete("resp_b", "")
    assert store.size == 0


def test_what_one_owner_stored_no_other_sees():
    store = ResponseStore(StoredResponses(), clock=float)
    put(store, "a", owner="red")
    assert store.item("msg_a_0", "red", "input[0].id") == {"id": "msg_a_0"}
    with pytest.raises(SpecError, match="is not stored"):
        store.item("msg_a_0", "blue", "input[0].id")
    with pytest.raises(NotFound):
        store.response("resp_a", "blue")
    with pytest.raises(NoSuchResponse):
        store.segments("resp_a", "blue")
    assert not store.delete("resp_a", "blue")
    assert store.delete("resp_a", "red")
