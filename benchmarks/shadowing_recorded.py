"""How soon is changed traffic noticed? On the recorded answers of two real models, without a model.

    python benchmarks/shadowing_recorded.py [--runs 200] [--calm 500] [--folder DIR] [--out docs/drift.md]

The route that `shadowing_live.py` serves is certified on the pool `wide-products`. It and its reference are replayed on
that pool and on `wide-sums` and `wide-decimals`, recorded from the same two models: traffic that it is not
about. What a shadow would see of each task then goes to the detectors of the endpoint: first products, then tasks of
another pool until an alarm, drawn with replacement, in many runs. Answers differ if their texts do (white
space aside).
The exit code is 1 if an alarm comes before the traffic changes in more than 5 % of the runs, or traffic that differs
more often than was certified by 10 points raises none.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import msgspec
import yaml

from pages import write_between
from real_pools import POOLS, opened, setting
from shadowing_live import PRICES, certified
from tierwise.certificate import Certificate, read_certificate
from tierwise.ledger.prices import Price
from tierwise.pools.reading import Pool
from tierwise.pools.replaying import Replayed, Replayer
from tierwise.shadowing.watching import Observed, WatchState, certified_rate
from tierwise.stats.estimates import wilson

MARK = "<!-- benchmarks/shadowing_recorded.py -->"
END = "<!-- end of benchmarks/shadowing_recorded.py -->"
CHANGED = ("wide-sums", "wide-decimals")
MOST = 2000
"""Shadowed actions of changed traffic, at most."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a shadow sees of one task."""

    kept: bool
    differs: bool
    harm: bool


def seen_on(pool: Pool, route: dict[str, object]) -> list[Seen]:
    """What shadows see of all tasks of a pool."""
    tiers, signals = route["cascade"], route["signals"]
    settings = [
        setting(pool, "auto", {"cascade": {"tiers": tiers, "signals": signals}}, tier="reference"),
        setting(pool, "reference", {"single": {}}, tier="reference"),
    ]
    prices = {name: Price(**price) for name, price in PRICES.items()}
    with Replayer(pool, prices) as replayer:
        own, reference = replayer.run(settings, orders=1)
    by_task = {one.task: one for one in reference}
    return [
        Seen(
            kept=one.asked != "reference",
            differs=one.asked != "reference" and text(one) != text(by_task[one.task]),
            harm=not one.correct and bool(by_task[one.task].correct),
        )
        for one in own
    ]


def text(one: Replayed) -> str:
    return "" if one.answer is None else "".join(one.answer.text.split())


def until_alarm(
    certificate: Certificate, calm: list[Seen], changed: list[Seen], draw: random.Random, before: int, *, labelled: bool
) -> tuple[int | None, bool]:
    """Shadowed actions from the change to the alarm (None without one), and whether one came before it."""
    state = WatchState.fresh(certificate)
    for number in range(before + MOST):
        is_calm = number < before
        one = draw.choice(calm if is_calm else changed)
        loss = float(one.harm) if labelled else None
        strata = {"task": "products" if is_calm else "changed"}
        state = state.after(Observed(action=f"act_{number}", differs=one.differs, loss=loss, strata=strata))
        if state.alarm:
            return (None, True) if is_calm else (number + 1 - before, False)
    return None, False


def shown(values: list[Seen], name: str) -> str:
    return share(sum(getattr(one, name) for one in values), len(values))


def share(count: int, of: int) -> str:
    """With its 95 % interval."""
    found = wilson(count, of)
    return f"{count / of:.1%} ({found.low:.1%} to {found.high:.1%})"


def rates(values: list[Seen]) -> str:
    return " | ".join(shown(values, name) for name in ("kept", "differs", "harm"))


def within(count: int) -> str:
    return f"{count:,}" if count < MOST else f"over {MOST:,}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--calm", type=int, default=500, help="shadowed products before the change")
    parser.add_argument("--folder", type=Path, help="with the route of an earlier start, or of `shadowing_live.py`")
    parser.add_argument("--out", type=Path, help="the page whose table is replaced")
    wanted = parser.parse_args()
    folder = wanted.folder or Path(tempfile.mkdtemp(prefix="shadowing-"))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tuned" / "tierwise.yaml"
    if not file.exists():
        certified(folder, 1.0)
    route = yaml.safe_load(file.read_text(encoding="utf-8"))["routes"]["auto"]
    certificate = read_certificate(folder / "tuned" / "certificate.json")
    seen = {name: seen_on(opened(POOLS / f"{name}.tar.xz", folder), route) for name in ("wide-products", *CHANGED)}
    limit = certified_rate(certificate.disagreement, certificate.evidence.tasks)
    rows = [
        f"Held against: {limit:.1%} differing answers, and a loss of {certificate.promise.limit:.0%}.",
        "",
        "| traffic | kept | answers differ | harm | shadows to the alarm, unlabelled | labelled | early alarms |",
        "|---|---|---|---|---|---|---|",
    ]
    wrong, calm = [], seen["wide-products"]
    rows.append(f"| products, as certified | {rates(calm)} | | | |")
    for name in CHANGED:
        of, cells, early = seen[name], [], 0
        for labelled in (False, True):
            draw = random.Random(name)
            results = [
                until_alarm(certificate, calm, of, draw, wanted.calm, labelled=labelled) for _ in range(wanted.runs)
            ]
            early += sum(is_early for _, is_early in results)
            counts = sorted(count if count is not None else MOST for count, is_early in results if not is_early)
            cells.append(f"median {within(counts[len(counts) // 2])}, 90 % {within(counts[int(0.9 * len(counts))])}")
            if sum(one.differs for one in of) / len(of) > limit + 0.1 and counts[-1] == MOST:
                wrong.append(f"{name} raised no alarm")
        if early > 0.05 * 2 * wanted.runs:
            wrong.append(f"{early} of {2 * wanted.runs} runs had an alarm before the traffic changed")
        early_share = share(early, 2 * wanted.runs)
        rows.append(f"| then {name.removeprefix('wide-')} | {rates(of)} | {' | '.join(cells)} | {early_share} |")
    made = "\n".join(rows)
    print(made)
    if wanted.out:
        write_between(wanted.out, MARK, END, made)
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
