"""Labels with stored keys: of one's own actions, or one's team's."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from tierwise.gateway.app import refused
from tierwise.gateway.feedback import FeedbackPage
from tierwise.gateway.metrics import Metrics
from tierwise.keys.caller import CALLER
from tierwise.keys.records import Caller, Key
from tierwise.shadowing.feedback import Feedback
from tierwise.spec.errors import TierwiseError

CALLERS = {
    "alice": Caller(key=Key(id="alice", hashed="")),
    "carol": Caller(key=Key(id="carol", hashed="", team="red")),
    "boss": Caller(key=Key(id="boss", hashed="", is_admin=True)),
    "endpoint's key": None,
}


class Labelled(Feedback):
    """Feedback on one action, whose owner is known."""

    def __init__(self, owner: tuple[str, str]) -> None:
        super().__init__({"auto": SimpleNamespace(takes_labels=True)}, {}, lambda _: None, lambda *_: None)  # type: ignore[dict-item]
        self._owner, self.given = owner, []

    def owner_of(self, action: str) -> tuple[str, str] | None:
        return self._owner if action == "act_1" else None

    def give(self, given: Any) -> tuple[Any, ...]:
        if given.action != "act_1":
            raise self.unknown(given.action)
        self.given.append(given)
        return ()


def post(feedback: Feedback, who: str, action: str) -> Any:
    service = SimpleNamespace(shadows=SimpleNamespace(feedback=feedback, is_elsewhere=False))
    page = FeedbackPage(service)  # type: ignore[arg-type]
    body = json.dumps({"action": action, "correct": True}).encode()

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def ask() -> Any:
        CALLER.set(CALLERS[who])
        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
        request = Request(scope, receive)
        try:
            return await page(request)
        except TierwiseError as error:
            return await refused(Metrics({}), request, error)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("who", "owner", "may"),
    [
        ("alice", ("alice", ""), True),
        ("alice", ("bob", ""), False),
        ("alice", ("", ""), False),
        ("carol", ("bob", "red"), True),
        ("carol", ("bob", "blue"), False),
        ("boss", ("bob", "blue"), True),
        ("endpoint's key", ("bob", "blue"), True),
    ],
)
def test_a_key_labels_its_own_actions_and_its_teams_and_learns_nothing_of_others(who, owner, may):
    feedback = Labelled(owner)
    answer = post(feedback, who, "act_1")
    assert (answer.status_code, len(feedback.given)) == ((200, 1) if may else (404, 0))
    if not may:
        unknown = post(feedback, who, "act_2")
        assert answer.body.replace(b"act_1", b"act_2") == unknown.body
