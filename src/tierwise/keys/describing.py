"""Keys and teams as the admin API and `tierwise keys list --json` show them, by the names that LiteLLM's users know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tierwise.keys.limiter import budgets_of
from tierwise.keys.records import Caller, Key, Limits, Team

Charged = Mapping[tuple[str, int], tuple[int, int]]
"""By account and period: what counts as spent, and what of it is settled, in billionths of a dollar."""


def key_fields(key: Key, charged: Charged) -> dict[str, Any]:
    """A key, without any secret."""
    return {
        "id": key.id,
        "key_alias": key.name,
        "team_id": key.team,
        "tags": list(key.tags),
        "admin": key.is_admin,
        "state": key.state(time.time()),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        **_limit_fields(key.limits),
        "budgets": _budgets(Caller(key=key), charged),
    }


def team_fields(team: Team, charged: Charged) -> dict[str, Any]:
    """A team."""
    nobody = Key(id="", hashed="", limits=Limits())
    return {
        "team_id": team.name,
        "created_at": team.created_at,
        **_limit_fields(team.limits),
        "budgets": _budgets(Caller(key=nobody, team=team), charged),
    }


def _limit_fields(limits: Limits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in limits.__struct_fields__}


def _budgets(caller: Caller, charged: Charged) -> list[dict[str, Any]]:
    """Each budget with what counts as spent in the present period, and what of that is settled."""
    found = []
    for bound in budgets_of(caller):
        held, spent = charged.get((bound.account, bound.period(time.time())), (0, 0))
        found.append(
            {"account": bound.account, "limit": bound.limit / 1e9, "charged": held / 1e9, "settled": spent / 1e9}
        )
    return found
