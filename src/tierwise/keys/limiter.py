"""Admits an action: every limit of its key and team, all or none; and counts what it used when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tierwise.keys.accounts import Account, Accounts, Bound, nano
from tierwise.keys.purse import Purse, give_back, in_words, refusal_of
from tierwise.keys.records import Caller, Key, Team
from tierwise.spec.errors import ModelForbidden, RateLimited

if TYPE_CHECKING:
    from tierwise.keys.estimates import Estimates
    from tierwise.keys.records import Limits
    from tierwise.ledger.records import Trace

_MINUTE = 60
_RETRY_SECONDS = 1.0
"""When a client should ask again after too many actions ran: one ends at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an action needs at most."""

    model: str
    tokens: int
    """For limits of tokens per minute: an estimate, which is corrected when the action ends."""
    passes: int
    """Worst case of its passes, in billionths of a dollar."""
    time: int = 0
    """Worst case of the time of deployments that are paid by the hour, likewise."""

    @property
    def dollars(self) -> int:
        return self.passes + self.time


@dataclass(slots=True, kw_only=True)
class Grant:
    """An admitted action."""

    limiter: Limiter
    estimates: Estimates
    """With the prices that it is settled at."""
    owners: tuple[str, ...]
    """Whose running actions it counts among."""
    held: list[tuple[Account, int]] = field(default_factory=list)
    """Rates in which it has reserved something."""
    purse: Purse | None = None
    """What it may spend; None if no budget of dollars applies."""
    headers: dict[str, str] = field(default_factory=dict)
    is_open: bool = True

    def settle(self, trace: Trace) -> None:
        """Count what the action used, however it ended. Only the first call counts."""
        if not self.is_open:
            return
        self.is_open = False
        passes, tokens = trace.passes, trace.usage.prompt + trace.usage.completion
        for account, amount in self.held:
            account.settle(amount, tokens if account.bound.kind == "tokens" else amount)
        if self.purse is not None:
            self.purse.close(nano(sum(self.estimates.prices.cost(done).dollars for done in passes)))
        self.limiter.ended(self.owners)


class Limiter:
    """Every limit of every caller, within one process.

    Args:
        accounts: budgets and rates.
        estimates: what passes cost at most.
    """

    def __init__(self, accounts: Accounts, estimates: Estimates) -> None:
        self._accounts = accounts
        self.estimates = estimates
        self._running: Counter[str] = Counter()

    async def admit(self, caller: Caller, need: Need, estimates: Estimates | None = None) -> Grant:
        """Reserve what an action needs of every limit, or raise and reserve nothing.

        Args:
            caller: whose.
            need: how much.
            estimates: what its passes cost at most; by the prices of the start if not given.

        Raises:
            ModelForbidden: the key or its team may not use the model.
            RateLimited: too many requests or tokens in this minute, or too many actions run.
            OutOfQuota: too few dollars of a budget are left.
            KeysUnavailable: more of a limit has to be taken from the database, which is away.
        """
        check_model(caller, need.model)
        self._check_parallel(caller)
        bounds = [self._accounts.of(bound) for bound in bounds_of(caller, need.model)]
        estimates = estimates or self.estimates
        grant = Grant(limiter=self, estimates=estimates, owners=tuple(owner for owner, _, _ in _owners(caller)))
        budgets = [account for account in bounds if account.bound.kind == "dollars"]
        reserved: list[tuple[Account, int]] = []
        self._running.update(grant.owners)  # before others run
        try:
            for account in bounds:
                amount = {"dollars": need.dollars, "tokens": need.tokens, "requests": 1}[account.bound.kind]
                if not await self._accounts.reserve(account, amount):
                    raise self._refusal(account, amount, need, bounds)  # noqa: TRY301 - the same clean-up as of a failure
                reserved.append((account, amount))
        except BaseException:
            for account, amount in reserved:
                give_back([account], amount)
            self.ended(grant.owners)
            raise
        grant.held = [one for one in reserved if one[0].bound.is_rate]
        if budgets:
            grant.purse = Purse(self._accounts, budgets, estimates, need.dollars, standing=need.time)
        grant.headers = self._headers(bounds)
        return grant

    def ended(self, owners: tuple[str, ...]) -> None:
        """An action no longer runs."""
        self._running.subtract(owners)
        for owner in owners:
            if self._running[owner] <= 0:
                del self._running[owner]

    def _check_parallel(self, caller: Caller) -> None:
        for owner, words, limits in _owners(caller):
            most = limits.max_parallel_requests
            if most is not None and self._running[owner] >= most:
                raise RateLimited(
                    f"{self._running[owner]} actions of {words} run, and max_parallel_requests allows {most}; "
                    "ask again when one has ended",
                    retry_after=_RETRY_SECONDS,
                )

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
        headers: dict[str, str] = {}
        now = self._accounts.now()
        for kind in ("requests", "tokens"):
            of_kind = [account for account in bounds if account.bound.kind == kind]
            if of_kind:
                tightest = min(of_kind, key=lambda account: account.remaining)
                headers[f"x-ratelimit-limit-{kind}"] = str(tightest.bound.limit)
                headers[f"x-ratelimit-remaining-{kind}"] = str(tightest.remaining)
                headers[f"x-ratelimit-reset-{kind}"] = f"{max(0.0, tightest.bound.left(now) or 0.0):.1f}s"
        return headers


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
    """Every limit that is counted, for a request to a model: rates first, because they are refused more often."""
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
