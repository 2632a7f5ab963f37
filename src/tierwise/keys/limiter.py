"""Admits an action: every limit of its key and team, all or none; and counts what it used when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tierwise.keys.account import Account, Bound, nano
from tierwise.keys.accounts import LINGER_SECONDS, Accounts
from tierwise.keys.purse import Purse, give_back, in_words, refusal_of, refusal_of_passes
from tierwise.keys.records import Caller, Key, Team
from tierwise.spec.errors import ModelForbidden, RateLimited

if TYPE_CHECKING:
    from tierwise.keys.ceilings import Ceilings
    from tierwise.keys.estimates import Estimates
    from tierwise.keys.records import Limits
    from tierwise.ledger.records import Trace

_MINUTE = 60
_RATES = frozenset({"requests", "tokens", "places"})
"""Kinds of limits that are counted apart from an action's purse."""
_AGAIN_SECONDS = LINGER_SECONDS + 0.1
"""When a place is asked for once more that other processes hold."""
_MOST_REMEMBERED = 4_096
_RETRY_SECONDS = 1.0
"""When a client should ask again after too many actions ran: one ends at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an action needs at most."""

    model: str
    tokens: int
    """For limits of tokens per minute: an estimate, which is corrected when the action ends."""
    count: int
    """Passes."""
    passes: int
    """Worst case of its passes, in billionths of a dollar."""
    time: int = 0
    """Worst case of the time of deployments that are paid by the hour, likewise."""
    choices: int = 1
    """Passes that it needs at least: an answer for each."""
    least: int = 0
    """Worst case of those, in billionths of a dollar."""

    @property
    def dollars(self) -> int:
        return self.passes + self.time


@dataclass(slots=True, kw_only=True)
class Grant:
    """An admitted action."""

    limiter: Limiter
    estimates: Estimates
    """With the prices that it is settled at."""
    held: list[tuple[Account, int]] = field(default_factory=list)
    """Rates and places in which it has reserved something."""
    sessions: list[Account] = field(default_factory=list)
    """Accounts of its session."""
    purse: Purse | None = None
    """What it may spend; None if no budget of dollars or ceiling of a session applies."""
    passes: int | None = None
    """The passes that it may start, if its session has less left than it may need."""
    headers: dict[str, str] = field(default_factory=dict)
    is_open: bool = True

    def settle(self, trace: Trace) -> None:
        """Count what the action used, however it ended. Only the first call counts."""
        if not self.is_open:
            return
        self.is_open = False
        passes, tokens = trace.passes, trace.usage.prompt + trace.usage.completion
        if self.purse is not None:
            self.purse.close(nano(sum(self.estimates.prices.cost(done).dollars for done in passes)))
        for account, amount in self.held:
            self.limiter.end(account, amount, tokens if account.bound.kind == "tokens" else amount)
        for account in self.sessions:
            account.leave()


class Limiter:
    """Every limit of every caller and session, within one process.

    Args:
        accounts: budgets, rates and places.
        estimates: what passes cost at most.
    """

    def __init__(self, accounts: Accounts, estimates: Estimates) -> None:
        self._accounts = accounts
        self.estimates = estimates
        self._bounds: dict[tuple[str, str], tuple[Key, Team | None, list[Bound]]] = {}
        """By key and model, as long as key and team are the same."""

    async def admit(
        self,
        caller: Caller | None,
        need: Need,
        ceilings: Ceilings | None = None,
        estimates: Estimates | None = None,
    ) -> Grant:
        """Reserve what an action needs of every limit, or raise and reserve nothing. A session that has less left than
        the action may need gives it what it has, if that is enough for an answer.

        Args:
            caller: whose key it is; None without a stored one.
            need: its worst case.
            ceilings: those of its session.
            estimates: what its passes cost at most; by the prices of the start if not given.

        Raises:
            ModelForbidden: the key or its team may not use the model.
            RateLimited: too many requests or tokens in this minute, or too many actions run.
            OutOfQuota: too few dollars of a budget, or too few dollars or passes of a session, are left.
            KeysUnavailable: more of a limit has to be taken from the database, which is away.
        """
        bounds: list[Account] = []
        if caller is not None:
            check_model(caller, need.model)
            bounds = self._accounts.all_of(self._bounds_of(caller, need.model))
        estimates = estimates or self.estimates
        grant = Grant(limiter=self, estimates=estimates)
        if ceilings is not None:
            grant.sessions = [self._accounts.entered(bound) for bound in ceilings.bounds(caller)]
        plan = _plan(need, bounds, grant.sessions)
        if self._reserve_at_once(plan):
            grant.held = [(account, most) for account, _, most in plan if account.bound.kind in _RATES]
            passes = next(((one, need.count) for one in grant.sessions if one.bound.kind == "passes"), None)
            dollars = need.dollars
        else:
            with ExitStack() as undo:
                for account in grant.sessions:
                    undo.callback(account.leave)
                short = await self._accounts.fill(plan)
                passes, dollars = await self._reserve_each(grant, need, bounds, plan, short, undo)
                undo.pop_all()
        spending = [account for account in (*grant.sessions, *bounds) if account.bound.kind == "dollars"]
        if spending or passes is not None:
            grant.purse = Purse(self._accounts, spending, estimates, dollars, standing=need.time, passes=passes)
        most = need.count if passes is None else passes[1]
        if need.choices > 1 and dollars < need.dollars:  # or one choice might spend what is for the others' answers
            most = min(most, max(need.choices, (dollars - need.time) * need.count // need.passes))
        grant.passes = most if most < need.count else None
        grant.headers = self._headers(bounds)
        return grant

    def _reserve_at_once(self, plan: Sequence[tuple[Account, int, int]]) -> bool:
        """Reserve all that an action wants from what this process holds, or nothing."""
        for place, (account, _, most) in enumerate(plan):
            if most and not self._accounts.try_reserve(account, most):
                for other, _, reserved in plan[:place]:
                    other.settle(reserved, 0)
                return False
        return True

    async def _reserve_each(
        self,
        grant: Grant,
        need: Need,
        bounds: list[Account],
        plan: Sequence[tuple[Account, int, int]],
        short: Account | None,
        undo: ExitStack,
    ) -> tuple[tuple[Account, int] | None, int]:
        """Reserve rates and places, then what the session has, then that many dollars of every budget.

        Args:
            grant: receives the rates and the places; has the accounts of the session.
            need: as of `admit`.
            bounds: the accounts of key and team.
            plan: what it reserves.
            short: the account that has less than is needed, as the database was just read; None if there is none.
            undo: is given what takes each reservation back.

        Returns:
            The session's account of passes and how many were reserved there, None without a ceiling of passes; and the
            dollars that were reserved in each account of dollars.
        """
        for account, amount, _ in plan:
            if account.bound.kind in _RATES:
                await self._reserve(account, amount, need, bounds, is_short=account is short)
                undo.callback(self.end, account, amount, 0)
                grant.held.append((account, amount))
        passes, dollars = None, need.dollars
        for account in grant.sessions:
            if account.bound.kind == "passes":
                passes = (account, await self._part_of_passes(account, need))
                undo.callback(give_back, [account], passes[1])
            else:
                dollars = await self._part_of_dollars(account, need)
                undo.callback(give_back, [account], dollars)
        for account in bounds:
            if account.bound.kind == "dollars":
                is_short = account is short and dollars == need.dollars
                await self._reserve(account, dollars, need, bounds, is_short=is_short)
                undo.callback(give_back, [account], dollars)
        return passes, dollars

    def _bounds_of(self, caller: Caller, model: str) -> list[Bound]:
        """`bounds_of`, remembered."""
        known = self._bounds.get((caller.key.id, model))
        if known is not None and known[0] is caller.key and known[1] is caller.team:
            return known[2]
        if len(self._bounds) >= _MOST_REMEMBERED:
            self._bounds.clear()
        found = bounds_of(caller, model)
        self._bounds[caller.key.id, model] = (caller.key, caller.team, found)
        return found

    def is_bounded(self, caller: Caller | None, model: str) -> bool:
        """Whether anything is counted of a caller's requests to a model."""
        return caller is not None and bool(self._bounds_of(caller, model))

    def end(self, account: Account, reserved: int, spent: int) -> None:
        """End a reservation of a rate or place."""
        if account.bound.kind == "places":
            self._accounts.free(account)
        else:
            account.settle(reserved, spent)

    async def _reserve(
        self, account: Account, amount: int, need: Need, bounds: list[Account], *, is_short: bool
    ) -> None:
        if self._accounts.try_reserve(account, amount):
            return
        if not is_short and await self._accounts.reserve(account, amount):
            return
        if account.bound.kind == "places" and account.others:
            await asyncio.sleep(_AGAIN_SECONDS)  # others give back what they do not need by then
            if await self._accounts.reserve(account, amount):
                return
        raise self._refusal(account, amount, need, bounds)

    async def _part_of_passes(self, account: Account, need: Need) -> int:
        found = await self._accounts.reserve_part(account, need.choices, need.count)
        if found is None:
            raise refusal_of_passes(account, need.choices)
        return found

    async def _part_of_dollars(self, account: Account, need: Need) -> int:
        found = await self._accounts.reserve_part(account, min(need.least, need.dollars), need.dollars)
        if found is None and not need.least:
            return 0  # what is free may be enough
        if found is None:
            raise refusal_of(account, need.least, self._accounts.now(), "an answer may cost")
        return found

    def _refusal(self, account: Account, amount: int, need: Need, bounds: list[Account]) -> Exception:
        bound, now = account.bound, self._accounts.now()
        if bound.kind == "dollars":
            advice = (
                "Bound its time (`tierwise: {budget: {seconds: 60}}`)"
                if need.time > need.passes
                else "Lower max_tokens"
            )
            refusal = refusal_of(account, amount, now, "this request may cost", advice)
            refusal.headers = self._headers(bounds)
            return refusal
        if bound.kind == "places":
            return RateLimited(
                f"{account.reserved + account.others} actions of {bound.words} run, and max_parallel_requests allows "
                f"{bound.limit}; ask again when one has ended",
                headers=self._headers(bounds),
                retry_after=_RETRY_SECONDS,
            )
        name, left = ("rpm_limit", "requests") if bound.kind == "requests" else ("tpm_limit", "tokens")
        wait = bound.left(now) or 0.0
        message = (
            f"this request needs {amount:,} {left} and {bound.words} has {account.remaining:,} of {bound.limit:,} left "
            f"in this minute ({name}); ask again in {in_words(wait)}"
        )
        if amount > bound.limit:
            message = (
                f"this request needs {amount:,} {left}, and {name} of {bound.words} allows {bound.limit:,} in a "
                "minute; lower max_tokens or shorten it"
            )
        return RateLimited(message, headers=self._headers(bounds), retry_after=wait)

    def _headers(self, bounds: list[Account]) -> dict[str, str]:
        """OpenAI's headers of rate limits, of the tightest limit of each kind."""
        tightest: dict[str, tuple[int, Bound]] = {}
        for account in bounds:
            bound = account.bound
            if bound.kind in ("requests", "tokens"):
                left = account.remaining
                if bound.kind not in tightest or left < tightest[bound.kind][0]:
                    tightest[bound.kind] = left, bound
        headers, now = {}, self._accounts.now()
        for kind, (left, bound) in tightest.items():
            headers[f"x-ratelimit-limit-{kind}"] = str(bound.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(left)
            headers[f"x-ratelimit-reset-{kind}"] = f"{max(0.0, bound.left(now) or 0.0):.1f}s"
        return headers


def _plan(need: Need, bounds: Iterable[Account], sessions: Iterable[Account]) -> list[tuple[Account, int, int]]:
    """What an action reserves, in order: accounts, and how much it needs of each and wants at most."""
    rates = [(one, need.tokens if one.bound.kind == "tokens" else 1) for one in bounds if one.bound.kind in _RATES]
    plan = [(one, amount, amount) for one, amount in rates]
    for one in sessions:
        is_passes = one.bound.kind == "passes"
        least, most = (need.choices, need.count) if is_passes else (min(need.least, need.dollars), need.dollars)
        plan.append((one, min(max(1, least), most), most))
    plan += [(one, need.dollars, need.dollars) for one in bounds if one.bound.kind == "dollars"]
    return plan


def check_model(caller: Caller, model: str) -> None:
    """Raise unless a caller may use a model."""
    for _, words, limits in _owners(caller):
        if limits.models and model not in limits.models:
            raise ModelForbidden(f"{words} may not use the model {model!r}; allowed: {', '.join(limits.models)}")


def may_use(caller: Caller | None, model: str) -> bool:
    """Whether a caller may use a model; None for an administrator."""
    return caller is None or all(not limits.models or model in limits.models for _, _, limits in _owners(caller))


def has_budget(caller: Caller, model: str) -> bool:
    """Whether a budget of dollars applies to a request."""
    return any(limits.max_budget is not None or model in limits.model_max_budget for _, _, limits in _owners(caller))


def bounds_of(caller: Caller, model: str) -> list[Bound]:
    """Every limit that is counted, for a request to a model: rates and places first, because they are refused more
    often.
    """
    found = [bound for owner, words, limits in _owners(caller) for bound in _rates(owner, words, limits)]
    return [*found, *_budgets(caller, lambda _: (model,))]


def budgets_of(caller: Caller) -> list[Bound]:
    """Every budget of dollars, whatever the model."""
    return list(_budgets(caller, lambda limits: limits.model_max_budget))


def all_bounds(keys: Iterable[Key], teams: Mapping[str, Team]) -> Iterator[Bound]:
    """Every limit that is counted of these keys and teams."""
    nobody = Key(id="", hashed="")
    for caller in (*(Caller(key=key) for key in keys), *(Caller(key=nobody, team=team) for team in teams.values())):
        yield from (bound for owner, words, limits in _owners(caller) for bound in _rates(owner, words, limits))
        yield from budgets_of(caller)


def _owners(caller: Caller) -> Iterator[tuple[str, str, Limits]]:
    key = caller.key
    yield f"key:{key.id}", f"the key {key.id}{f' ({key.name})' * bool(key.name)}", key.limits
    if caller.team is not None:
        yield f"team:{caller.team.name}", f"the team {caller.team.name}", caller.team.limits


Kind = Literal["requests", "tokens"]


def _rates(owner: str, words: str, limits: Limits) -> Iterator[Bound]:
    rates: tuple[tuple[Kind, int | None, str], ...] = (
        ("requests", limits.rpm_limit, "rpm"),
        ("tokens", limits.tpm_limit, "tpm"),
    )
    for kind, limit, name in rates:
        if limit is not None:
            yield Bound(f"{owner}|{name}", kind, limit, _MINUTE, 0.0, words)
    if limits.max_parallel_requests is not None:
        yield Bound(f"{owner}|parallel", "places", limits.max_parallel_requests, 0, 0.0, words)


def _budgets(caller: Caller, models: Callable[[Limits], Iterable[str]]) -> Iterator[Bound]:
    """The budgets of a key and its team, and their budgets for some models."""
    created = [one.created_at for one in (caller.key, caller.team) if one is not None]
    for (owner, words, limits), began in zip(_owners(caller), created, strict=True):
        period = limits.budget_duration or "once"  # another period is another budget
        if limits.max_budget is not None:
            yield Bound(f"{owner}|{period}", "dollars", nano(limits.max_budget), limits.seconds, began, words)
        for model in models(limits):
            if (own := limits.model_max_budget.get(model)) is not None:
                said = f"{words} for the model {model}"
                yield Bound(f"{owner}|{model}|{period}", "dollars", nano(own), limits.seconds, began, said)
