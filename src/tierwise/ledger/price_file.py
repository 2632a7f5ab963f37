"""Reads prices from a file of their own, or from a config file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tierwise.ledger.prices import Price
from tierwise.spec.files import read_yaml


class _Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prices: dict[str, Price]


def read_prices(path: Path, known: Mapping[str, object]) -> dict[str, Price]:
    """Read prices by deployment.

    Args:
        path: a config file, a file with its `prices`, or a file with what stands under them.
        known: the deployments that may be named; empty for any.

    Raises:
        NotFound: the file does not exist.
        ConfigErrors: all errors, each with its line.
    """
    document = read_yaml(path, "price book", advice="it is the `prices` of a config file, or a config file")
    if isinstance(document.value, dict):
        is_section = "prices" in document.value or "deployments" in document.value
        document.value = {"prices": document.value.get("prices") or {} if is_section else document.value}
    found = document.convert(_Prices)
    for name in () if found is None else found.prices:
        if known:
            document.known(name, known, f"prices.{name}", "deployment")
    if found is not None and not found.prices:
        document.wrong("prices", "is empty; give each deployment its price by token or by hour")
    return document.finish(found).prices
