"""Keys and limits of one endpoint, put together: opened and closed with it."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from tierwise.keys.accounts import Accounts
from tierwise.keys.estimates import Estimates
from tierwise.keys.leases import LeaseBook
from tierwise.keys.limiter import Limiter, all_bounds
from tierwise.keys.ring import REFRESH_SECONDS, Keeper, KeyRing
from tierwise.keys.store import KeyStore
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from tierwise.ledger.location import Location
    from tierwise.ledger.prices import PriceBook

_LOG = logging.getLogger("tierwise")


class Desk:
    """The keys and limits of one process.

    Args:
        location: the ledger that they are kept in.
        prices: what passes cost.
        refresh: seconds between looks at the database.
    """

    def __init__(self, location: Location, prices: PriceBook, *, refresh: float = REFRESH_SECONDS) -> None:
        self.store = KeyStore(location, who="endpoint")
        self.ring = KeyRing(self.store)
        self.accounts = Accounts(LeaseBook(location, secrets.token_hex(8)))
        self.limiter = Limiter(self.accounts, Estimates(prices))
        self.ring.changed = lambda stored: self.accounts.rebind(all_bounds(stored.keys.values(), stored.teams))
        self._keeper = Keeper(self.look, refresh)
        self._is_away = False

    def open(self) -> None:
        """Read the keys, and begin to look again and again."""
        self.ring.refresh()
        self._keeper.start()

    def look(self) -> None:
        """Read keys again, and write what was spent."""
        self.ring.refresh()
        if not self.ring.is_needed:
            return
        try:
            self.accounts.flush()
            self._is_away = False
        except TierwiseError as error:
            if not self._is_away:
                _LOG.error("KEYS: what was spent is written later: %s", error)
            self._is_away = True

    def close(self) -> None:
        """Give back what is not spent."""
        self._keeper.stop()
        try:
            self.accounts.close()
        except TierwiseError as error:
            _LOG.error("KEYS: what this process held of budgets counts as spent: %s", error)
        self.ring.close()
