"""Keys in a ledger of their own, for tests of endpoints that ask for them."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from endpoints import HELLO, PRICES, Answered, Endpoint, tier_of
from tierwise.keys.database import prepare
from tierwise.keys.desk import Desk
from tierwise.keys.leases import LeaseBook
from tierwise.keys.oidc_settings import OidcSettings
from tierwise.keys.records import Limits
from tierwise.keys.store import KeyStore
from tierwise.ledger.location import locate

BOOKS: list[LeaseBook] = []
"""Of processes that live, and of those that were killed: only their connections are closed."""


class Office:
    """Keys in a ledger of their own, and endpoints that ask for them."""

    def __init__(self, folder: Path, stack: ExitStack, serve: Any) -> None:
        self.location = locate(folder / "ledger.db")
        self._stack, self._serve = stack, serve
        prepare(self.location)
        self.store = KeyStore(self.location, who="test")
        stack.callback(self.store.close)

    def key(self, **limits: Any) -> str:
        """A new key's secret."""
        about = {
            name: limits.pop(name) for name in ("name", "team", "tags", "is_admin", "expires_at") if name in limits
        }
        return self.store.create(**about, limits=Limits(**limits))[1]

    def serve(self, *tiers: Any, oidc: OidcSettings | None = None, **how: Any) -> Endpoint:
        desk = Desk(self.location, PRICES, refresh=3600.0, oidc=oidc)  # tests say when
        desk.open()
        self._stack.callback(desk.close)
        endpoint: Endpoint = self._serve(*(tiers or (tier_of(),)), desk=desk, **how)
        self.desk = desk
        return endpoint

    def spent(self, account: str) -> tuple[float, float]:
        """Dollars that count as spent, and that are settled, once what was used is written."""
        self.desk.look()
        found = [value for (name, _), value in self.store.charged().items() if name.startswith(account)]
        return sum(held for held, _ in found) / 1e9, sum(spent for _, spent in found) / 1e9


def not_at_the_end_of_a_minute() -> None:
    """Rates count per minute of the clock: wait for the next one if this ends within seconds."""
    if (left := 60 - time.time() % 60) < _SECONDS_OF_A_TEST:
        time.sleep(left)


_SECONDS_OF_A_TEST = 5.0


def ask(endpoint: Endpoint, secret: str, model: str = "tier", **fields: Any) -> Answered:
    body = json.dumps({"model": model, "messages": HELLO, **fields}).encode()
    return endpoint.raw(body, {"authorization": f"Bearer {secret}"} if secret else {})


def assert_refused(answer: Answered, status: int, code: str, *words: str) -> None:
    assert (answer.status, answer.error["code"]) == (status, code), answer.body
    for word in words:
        assert word in answer.error["message"]
