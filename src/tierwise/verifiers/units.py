"""Units of measure after a number, so that `5 km` and `5000 m` are one amount, and `5 km` and `5 kg` are two.

Other words after a number (`5 apples`), degrees of an angle and dollars are left out, as many answers do. Temperatures
and currencies are not converted.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from tierwise.verifiers.amounts import Quantity
from tierwise.verifiers.expression import Value

Unit = tuple[Fraction, str]
"""The factor to a base unit, and that base unit with its powers in canonical form: `m`, `m^2`, `m·s^-1`."""

_PREFIXES = {
    "": 0, "n": -9, "µ": -6, "u": -6, "m": -3, "c": -2, "d": -1, "k": 3, "M": 6, "G": 9, "T": 12,
}  # fmt: skip
_LONG_PREFIXES = {"nano": -9, "micro": -6, "milli": -3, "centi": -2, "deci": -1, "kilo": 3, "mega": 6, "giga": 9}
_PREFIXED: dict[str, tuple[tuple[str, ...], str, Fraction | int, str]] = {
    # symbol: names, base, factor, the prefixes of the symbol
    "m": (("meter", "metre"), "m", 1, "nµumcdk"),
    "g": (("gram", "gramme"), "g", 1, "nµumk"),
    "l": (("liter", "litre"), "m^3", Fraction(1, 1000), "µumcd"),
    "L": ((), "m^3", Fraction(1, 1000), "µumcd"),
    "s": ((), "s", 1, "nµum"),
    "Hz": (("hertz",), "s^-1", 1, "kMG"),
    "W": (("watt",), "W", 1, "mkMG"),
    "J": (("joule",), "J", 1, "mkM"),
    "N": (("newton",), "N", 1, "mk"),
    "Pa": (("pascal",), "Pa", 1, "kM"),
    "V": (("volt",), "V", 1, "mkM"),
    "B": (("byte",), "B", 1, "kMGT"),
}
_PLAIN: dict[str, tuple[str, Fraction]] = {
    name: (base, Fraction(factor))
    for base, units in {
        "s": {
            "sec secs second seconds": "1",
            "min mins minute minutes": "60",
            "h hr hrs hour hours": "3600",
            "day days": "86400",
            "week weeks": "604800",
        },
        "month": {"month months": "1", "year years yr yrs": "12"},
        "m": {
            "inch inches": "0.0254",
            "ft foot feet": "0.3048",
            "yd yard yards": "0.9144",
            "mi mile miles": "1609.344",
        },
        "g": {
            "t tonne tonnes": "1000000",
            "lb lbs pound pounds": "453.59237",
            "oz ounce ounces": "28.349523125",
        },
        "m·s^-1": {"mph": "0.44704", "kph kmh": "5/18"},
        "m^2": {"ha hectare hectares": "10000"},
        "J": {"kWh": "3600000", "Wh": "3600", "kcal": "4184", "cal": "4.184"},
        "%": {"% percent percentage": "1"},
        "°C": {"°C": "1"},
        "°F": {"°F": "1"},
        "$": {"$ USD dollar dollars": "1", "cent cents": "1/100"},
        "€": {"€ EUR euro euros": "1"},
        "£": {"£ GBP": "1"},
        "¥": {"¥ JPY yen": "1"},
    }.items()
    for names, factor in units.items()
    for name in names.split()
}


def _table() -> dict[str, Unit]:
    table = {name: (factor, base) for name, (base, factor) in _PLAIN.items()}
    for symbol, (names, base, factor, prefixes) in _PREFIXED.items():
        table |= {
            prefix + symbol: (Fraction(factor) * Fraction(10) ** _PREFIXES[prefix], base) for prefix in ("", *prefixes)
        }
        for name in names:
            for prefix, power in {"": 0, **_LONG_PREFIXES}.items():
                unit = (Fraction(factor) * Fraction(10) ** power, base)
                table |= {prefix + name: unit, f"{prefix}{name}s": unit}
    return table


_CURRENCIES = frozenset("$€£¥")

UNITS: dict[str, Unit] = _table()
"""By name or symbol."""

_NAME = r"(?:\\?[%$]|\\pounds|\\euro|°\s?[CF]|[€£¥]|[A-Za-zµμ]+)"
_FACTOR = re.compile(
    rf"\s*(?P<joint>/|per\b|\\cdot(?![A-Za-z])|·|\*)?\s*(?P<prefix>square|sq\.?|cubic|cu\.?)?\s*(?P<name>{_NAME})\.?"
    r"(?:\s*\^?\s*\{?\s*(?P<power>-?[23]|-1)\}?|(?P<sign>[²³]))?",
)
_PREFIX_POWERS = {"sq": 2, "cu": 3, "square": 2, "cubic": 3}
_CURRENCY = re.compile(r"(?:US)?\\?([$€£¥])\s*[-+]?\s*\Z|\b(USD|EUR|GBP|JPY)\s*\Z")
_OPENS = re.compile(r"\s*(?:\\(?:text|mathrm)\s*\{|\$(?!\d)|[}*_`~]|\\,|-(?=[a-z])|\s)*")
_ASKED = re.compile(
    r"\b(?:how\s+(?:many|much)|what(?=\s+percent)|number\s+of|in|in\s+units\s+of|measured\s+in|as\s+a)\s+(?P<unit>"
    rf"(?:square\s+|cubic\s+)?{_NAME}(?:\s*(?:/|per)\s*[A-Za-z]+)?(?:\^?[23]|[²³])?)",
    re.IGNORECASE,
)
_COUNTS = re.compile(r"\bhow\s+many\b", re.IGNORECASE)
_DEFAULTS = re.compile(r"(?<!\\)\$(?=\s*\d)|[€£¥](?=\s*\d)|\b(?:dollars|euros)\b")


def unit_after(text: str, quantity: Quantity) -> Unit | None:
    """The unit of a number in a prepared text; None without one that is known.

    Args:
        text: the text of `amounts.prepared`.
        quantity: a number of it.
    """
    if quantity.value is not None and quantity.also == (quantity.value / 100,):
        return UNITS["%"]
    said = text[quantity.start : quantity.end]
    before = text[max(0, quantity.start - 6) : quantity.start]
    for place in (re.match(r"[-+\s\\]*(?:US)?\\?([$€£¥])", said), _CURRENCY.search(before)):
        sign = None if place is None else next((part for part in place.groups() if part), None)
        if sign is not None and not (sign == "$" and text[quantity.end :].lstrip().startswith("$")):
            return UNITS[sign]
    inside = re.search(
        rf"\d[\s}}\\,~$]*(?:(?:\\(?:text|mathrm)\s*)?\{{)?\s*(?P<unit>{_NAME}[^0-9]*(?:[23])?)\W*\Z", said
    )
    if inside is not None and (unit := read_unit(inside["unit"])) is not None:
        return unit
    opened = _OPENS.match(text, quantity.end)
    return read_unit(text[opened.end() if opened else quantity.end :][:40])


def read_unit(text: str) -> Unit | None:
    """The unit that a text begins with: `km`, `m/s`, `square meters`, `kg·m^2`; None if it is no known one."""
    factor, powers, place = Fraction(1), dict[str, int](), 0
    while found := _FACTOR.match(text, place):
        name = re.sub(r"\s", "", found["name"]).replace("μ", "µ").removeprefix("\\")
        name = {"pounds": "£", "euro": "€"}.get(name, name) if found["name"].startswith("\\") else name
        unit = UNITS.get(name) or (UNITS.get(name.lower()) if len(name) > 3 else None)
        if unit is None or (place and found["joint"] is None):
            break
        if name in ("m", "s", "g", "h", "t", "l", "L", "V", "W", "J", "N", "B", "day") and not _ends(text, found.end()):
            break
        power = int(found["power"] or {"²": 2, "³": 3}.get(found["sign"] or "", 1))
        power *= _PREFIX_POWERS.get((found["prefix"] or "").rstrip("."), 1)
        power *= -1 if found["joint"] in ("/", "per") else 1
        factor *= unit[0] ** power
        for part in unit[1].split("·"):
            base, _, own = part.partition("^")
            powers[base] = powers.get(base, 0) + int(own or 1) * power
        place = found.end()
        if unit[1] in _CURRENCIES:
            break  # `5 dollars per week` is an amount of money
    if not place:
        return None
    named = (base if power == 1 else f"{base}^{power}" for base, power in sorted(powers.items()) if power)
    return factor, "·".join(named)


def _ends(text: str, place: int) -> bool:
    """Whether a symbol of one letter stands as a unit: no word, bracket or sign of an expression follows directly."""
    return re.match(r"[\s*_`]*(?:[.,;:!?)}\]$/·^²³]|\\cdot|\\\)|\Z|\s[a-z]{2,})", text[place:]) is not None


@functools.lru_cache(maxsize=64)
def asked_unit(question: str) -> Unit | None:
    """The unit in which a question wants its answer, so that a bare number has it; None if it does not say.

    It is the one unit that it asks for (`how many km`, `in minutes`), else, if it does not ask how many there are of
    something, the one currency that it names.
    """
    end = question[-2000:]
    asked = {unit for found in _ASKED.finditer(end) if (unit := read_unit(found["unit"])) is not None}
    if asked or _COUNTS.search(end):
        return asked.pop() if len(asked) == 1 else None
    named = {read_unit(found[0]) for found in _DEFAULTS.finditer(end)}
    return named.pop() if len(named) == 1 else None


def in_base(value: Value, unit: Unit) -> tuple[Value, str]:
    """A value in the base unit, and that unit; empty for dollars, which are often left out."""
    factor, base = unit
    return (value * factor if isinstance(value, Fraction) else value * float(factor)), base.removeprefix("$")
