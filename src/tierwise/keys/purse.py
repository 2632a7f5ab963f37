"""What one action may spend of its caller's budgets of dollars, and of its session's dollars and passes.

The worst case of an action is reserved before it starts. Each pass, also one that repeats, recovers, judges or computes
a prompt for others, then puts the worst case of its own aside before it starts, and what it has cost when it ended. If
the action's reservation has no room for another pass, more is reserved; if the budget has no more, the pass does not
start, as with any other budget. So an action never spends what was not reserved, however many passes it makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierwise.keys.account import nano
from tierwise.spec.ask import OutOfBudget
from tierwise.spec.errors import KeysUnavailable, OutOfQuota

if TYPE_CHECKING:
    from tierwise.keys.account import Account
    from tierwise.keys.accounts import Accounts
    from tierwise.keys.estimates import Estimates
    from tierwise.spec.call import Call, Pass


class Purse:
    """The reservation of one action.

    Args:
        accounts: where more is reserved.
        bounds: the budgets of dollars that apply.
        estimates: what passes cost at most.
        reserved: billionths of a dollar that are reserved in each account.
        standing: of these, what is for the time of deployments and not for passes.
        passes: the session's account of passes, and how many are reserved there; None if it has no ceiling of passes.
    """

    def __init__(
        self,
        accounts: Accounts,
        bounds: Sequence[Account],
        estimates: Estimates,
        reserved: int,
        *,
        standing: int = 0,
        passes: tuple[Account, int] | None = None,
    ) -> None:
        self._accounts, self._bounds, self._estimates = accounts, bounds, estimates
        self.reserved = reserved
        self._passes: Account | None = None
        self._reserved_passes = 0
        if passes is not None:
            self._passes, self._reserved_passes = passes
        self._started = 0
        """Passes that started, whatever they were for."""
        self._aside = standing
        """What running passes may cost, and ended ones have cost."""
        self._uncounted = 0
        """The worst case of prompts that engines have not counted."""
        self._coming = 0
        """What running calls of `put_aside` are about to reserve."""
        self.refusal: OutOfQuota | KeysUnavailable | None = None
        """Why a pass could not start; None if all could."""

    async def put_aside(
        self, call: Call, deployment: str, context: int | None, cap: int | None
    ) -> tuple[int, int | None]:
        """Reserve the worst case of a pass.

        Args:
            call: the pass.
            deployment: where it will run.
            context: that deployment's context in tokens; None if it is not known.
            cap: its limit of completion tokens so far; None if it has none.

        Returns:
            What was put aside, for `settle`; and the limit that the engine must be sent.

        Raises:
            OutOfBudget: the budget has less; `refusal` says why.
        """
        if self._passes is not None:
            await self._start_pass(self._passes)
        if not self._bounds:
            return 0, cap
        worst, cap = self._estimates.of_pass(call.prompt, deployment, context, cap)
        self._aside += worst  # before others run
        lacking = self._aside - self.reserved - self._coming
        if lacking > 0:
            self._coming += lacking
            try:
                await self._reserve(lacking)
            except BaseException:
                self._aside -= worst
                self._started -= 1
                raise
            finally:
                self._coming -= lacking
        return worst, cap

    async def _start_pass(self, account: Account) -> None:
        """Count a pass that is about to start: retries, recoveries and prefills too, which need one more."""
        self._started += 1  # before others run
        if self._started <= self._reserved_passes:
            return
        self._reserved_passes += 1
        try:
            if not await self._accounts.reserve(account, 1):
                self.refusal = refusal_of_passes(account, 1)
                raise OutOfBudget  # noqa: TRY301 - the same clean-up as of a failure
        except BaseException as error:
            self._started -= 1
            self._reserved_passes -= 1
            if isinstance(error, KeysUnavailable):
                self.refusal = error
                raise OutOfBudget from None
            raise

    def settle(self, worst: int, done: Pass, context: int | None) -> None:
        """Replace what was put aside for a pass by what its tokens have cost. Where the engine has not counted the
        prompt before the pass was aborted, the prompt is charged at its worst case, because the engine has computed it.
        """
        if not self._bounds:
            return
        cost = nano(self._estimates.prices.cost(done).tokens)
        if not done.usage.prompt and worst:
            uncounted = min(self._estimates.of_prompt(done.call.prompt, done.deployment, context), worst - cost)
            self._uncounted += max(0, uncounted)
            cost += max(0, uncounted)
        self._aside += cost - worst

    async def _reserve(self, more: int) -> None:
        """Reserve more in every account, or in none."""
        done: list[Account] = []
        try:
            for account in self._bounds:
                if not await self._accounts.reserve(account, more):
                    self.refusal = refusal_of(account, more, self._accounts.now(), "its next pass may cost")
                    raise OutOfBudget  # noqa: TRY301 - the same clean-up as of a failure
                done.append(account)
        except KeysUnavailable as error:
            self.refusal = error
            give_back(done, more)
            raise OutOfBudget from None
        except BaseException:
            give_back(done, more)
            raise
        self.reserved += more

    def close(self, spent: int) -> None:
        """Settle the action: what it spent in billionths of a dollar, aborted passes included."""
        for account in self._bounds:
            account.settle(self.reserved, spent + self._uncounted)
        self.reserved = 0
        if self._passes is not None:
            self._passes.settle(self._reserved_passes, self._started)
            self._passes = None


def give_back(accounts: Sequence[Account], amount: int) -> None:
    """Undo a reservation."""
    for account in accounts:
        account.settle(amount, 0)


def refusal_of(account: Account, needed: int, moment: float, what: str, advice: str = "Lower max_tokens") -> OutOfQuota:
    """The error of a budget that has too little left; `advice` says what makes the request cheaper."""
    bound, left = account.bound, account.bound.left(moment)
    again = "" if left is None else f"; the next period begins in {in_words(left)}"
    room = account.remaining
    more = "send a higher x-tierwise-session-dollars" if bound.fades else "ask an administrator for more"
    return OutOfQuota(
        f"{what} up to {dollars(needed)}, and {bound.words} has {dollars(room)} of {dollars(bound.limit)} left"
        f"{again}. {advice}, ask a cheaper model, or {more}",
        retry_after=left,
    )


def refusal_of_passes(account: Account, needed: int) -> OutOfQuota:
    """The error of a session that has too few passes left."""
    bound = account.bound
    return OutOfQuota(
        f"this needs {needed:,} {'pass' if needed == 1 else 'passes'}, and {bound.words} has {account.remaining:,} of "
        f"{bound.limit:,} left (x-tierwise-session-passes); begin another session, or send a higher ceiling"
    )


def dollars(amount: int) -> str:
    """Billionths of a dollar, in dollars."""
    return "$" + (f"{amount / 1e9:.9f}".rstrip("0").rstrip(".") or "0")


def in_words(seconds: float) -> str:
    """A duration, such as `3 h 20 min`."""
    minutes = max(1, round(seconds / 60))
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return " ".join(parts[:2])
