r"""Arithmetic as people and models write it: `1.5 \times 10^3`, `3\frac{1}{2}`, `2\sqrt{2}`, `1 000 000`, `½`.

What is read is read as a whole: an expression with a part that is not plain arithmetic (a variable, a function, a
pair) has no value, and is never reduced to one of its parts.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Literal

from tierwise.verifiers.effort import spend

Value = Fraction | float
"""Exact, unless a root or π was in it."""

Decimal = Literal[".", ","]
"""The decimal sign."""

MOST_DIGITS = 100
MOST_EXPONENT = 400
MOST_BITS = 4096
MOST_DEPTH = 24
_BITS_OF_STEP = 256  # fractions of more bits take longer

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPT = re.compile(r"[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip
_POINT = re.compile(
    r"""(?:\d{1,3}(?:,\d{3})+(?![\d]|,\d)|\d{1,2}(?:,\d{2})+,\d{3}(?![\d]|,\d)|\d{1,3}(?:[ ]\d{3})+(?![\d])
    |\d{1,3}(?:'\d{3})+(?!\d)|\d{1,3}(?:_\d{3})+(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?![\d]|\.\d)|\d+)
    (?:\.\d+(?!\.?\d))?|\.\d+(?!\.?\d)""",
    re.VERBOSE,
)
_COMMA = re.compile(
    r"""(?:\d{1,3}(?:\.\d{3})+(?![\d]|\.\d)|\d{1,3}(?:[ ]\d{3})+(?![\d])|\d{1,3}(?:'\d{3})+(?!\d)|\d+)
    (?:,\d+(?!,?\d))?|,\d+(?!,?\d)""",
    re.VERBOSE,
)
_GERMAN = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+(?![.,]?\d)")  # 1.234,56 can be read in one way only
_ENGLISH = re.compile(r"\d{1,3}(?:,\d{3})+\.\d+(?![.,]?\d)")
_SCIENTIFIC = re.compile(r"[eE]([-+]?\d{1,10})(?![\w.])")
_TEN = re.compile(r"\s*[xX]\s*(?=10\s*(?:\^|\*\*|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]))")
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\overline|\\bar)\s*\{(\d{1,30})\}")
_TIMES = re.compile(
    r"\s+[xX]\s+(?=\d)|\s*(?:\*(?!\*)|×|·|⋅|∙|\\times(?![A-Za-z])|\\cdot(?![A-Za-z])|\\ast(?![A-Za-z]))\s*"
)
_OVER = re.compile(r"\s*(?:/|÷|⁄|\\div(?![A-Za-z]))\s*")
_POWER = re.compile(r"\s*(?:\^|\*\*)\s*")
_FRACTION = re.compile(r"\\[dtc]?frac\s*")
_ROOT = re.compile(r"\\sqrt\s*(?:\[\s*(\d{1,3})\s*\])?\s*|([√∛∜])\s*|sqrt(?=\s*\()\s*")
_PI = re.compile(r"\\pi(?![A-Za-z])|π")
_E = re.compile(r"e(?!\s*[A-Za-z^*])")  # a power of e is a formula for math-verify
_BASE_TEN = re.compile(r"_(?:10(?!\d)|\{10\})")
_BLANKS = re.compile(r"\s*")
_MIXED = re.compile(r"[ ]?(?=(\d{1,6})[/⁄](\d{1,6})(?![\d/.,]))")
_PLUS_MINUS = re.compile(r"\s*([-+])\s*")
_PLUS = re.compile(r"[ ]?([+])[ ]?")
_SIGN = re.compile(r"[ ]?([-+])")
_ROOTS = {"√": 2, "∛": 3, "∜": 4}


class NotPlain(Exception):
    """This is not plain arithmetic."""


class Reader:
    """Reads an expression from a text that has gone through `plain` and `without_layout`.

    Args:
        text: the text.
        place: where the expression begins; afterwards, where it ends.
        decimal: the decimal sign.
        formula: whether signs with blanks around them, factorials and products without a sign count, as they do in a
            formula and do not in prose.
    """

    def __init__(self, text: str, place: int, *, decimal: Decimal = ".", formula: bool = False) -> None:
        self.text = text
        self.place = place
        self._literal = _POINT if decimal == "." else _COMMA
        self._decimal = decimal
        self._formula = formula
        self._depth = 0

    def sum(self) -> Value:
        """A sum of products; in prose only with `+`, because a dash there is as often a range.

        Raises:
            NotPlain: it is not arithmetic, or out of bounds.
        """
        try:
            return self._sum()
        except (OverflowError, ZeroDivisionError) as error:
            raise NotPlain("out of range") from error

    def _sum(self) -> Value:
        value = self._product()
        while sign := (_PLUS_MINUS if self._formula else _PLUS).match(self.text, self.place):
            before, self.place = self.place, sign.end()
            try:
                term = self._product()
            except NotPlain:
                self.place = before
                break
            value = _bounded(value + term if sign[1] == "+" else value - term)
        return value

    def _product(self) -> Value:
        value = self._signed()
        while True:
            before = self.place
            if self._take(_TIMES) or self._take(_TEN):
                if (factor := self._factor(before)) is None:
                    return value
                value = _bounded(value * factor)
            elif self._over():
                if (divisor := self._factor(before)) is None:
                    return value
                if not divisor:
                    raise NotPlain("division by zero")
                value = _bounded(value / divisor)
            elif self._follows():
                value = _bounded(value * self._power())
            else:
                return value

    def _factor(self, before: int) -> Value | None:
        """What follows a sign; None where nothing plain does, and the place is before the sign again."""
        try:
            return self._signed()
        except NotPlain:
            self.place = before
            return None

    def _over(self) -> re.Match[str] | None:
        """A sign of division, unless a unit follows: `12 m/s`, `5/day`."""
        found = _OVER.match(self.text, self.place)
        if found is None or (not self._formula and self.text[found.end() : found.end() + 1].isalpha()):
            return None
        self.place = found.end()
        return found

    def _follows(self) -> bool:
        """Whether a factor follows without a sign: a root, π, in a formula a bracket."""
        place = self.place
        if self._formula and (blanks := _BLANKS.match(self.text, place)):
            place = blanks.end()
        return bool(
            _ROOT.match(self.text, place)
            or _PI.match(self.text, place)
            or (self._formula and (self.text.startswith("(", place) or _FRACTION.match(self.text, place)))
        )

    def _signed(self) -> Value:
        sign = (_PLUS_MINUS if self._formula else _SIGN).match(self.text, self.place)
        if sign is None:
            return self._power()
        self.place = sign.end()
        value = self._power()
        return -value if sign[1] == "-" else value

    def _power(self) -> Value:
        base = self._atom()
        while True:
            if raised := self._take(_SUPERSCRIPT):
                base = _raised(base, Fraction(int(raised[0].translate(_SUPERSCRIPTS))))
            elif self.text.startswith(("^\\circ", "^{\\circ}"), self.place):
                return base
            elif raised := _POWER.match(self.text, self.place):
                before, self.place = self.place, raised.end()
                try:
                    exponent = self._exponent()
                except NotPlain:
                    self.place = before
                    return base
                base = _raised(base, exponent)
            elif self._formula and self.text.startswith("!", self.place):
                self.place += 1
                base = _factorial(base)
            else:
                return base

    def _exponent(self) -> Value:
        if self.text.startswith(("{", "("), self.place):
            return self._atom()
        sign = self._take(re.compile(r"[-+]"))
        value = self._atom()
        if self._take(_POWER):
            self._depth += 1
            if self._depth > MOST_DEPTH:
                raise NotPlain("nested too deeply")
            value = _raised(value, self._exponent())
            self._depth -= 1
        return -value if sign and sign[0] == "-" else value

    def _atom(self) -> Value:
        spend()
        self._take(_BLANKS)
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise NotPlain("nested too deeply")
        try:
            return self._bracketed()
        finally:
            self._depth -= 1

    def _bracketed(self) -> Value:
        text = self.text
        for opening, closing in (("(", ")"), ("{", "}")):
            if text.startswith(opening, self.place):
                self.place += 1
                value = self._inside(closing)
                return self._mixed(value) if opening == "{" else value
        if self._take(_FRACTION):
            over, under = self._argument(), self._argument()
            if not under:
                raise NotPlain("division by zero")
            return _bounded(over / under)
        if root := self._take(_ROOT):
            degree = _ROOTS.get(root[2] or "", 0) or int(root[1] or 2)
            return _root(self._argument() if root[2] is None else self._atom_after_root(), degree)
        if self._formula and text.startswith("|", self.place):
            self.place += 1
            inside = self._inside("|")
            return -inside if inside < 0 else inside
        if self._formula and self._take(_E):
            return math.e
        if self._take(_PI):
            return math.pi
        return self._number()

    def _atom_after_root(self) -> Value:
        return self._argument() if self.text.startswith("{", self.place) else self._atom()

    def _inside(self, closing: str) -> Value:
        """The sum up to a closing bracket; within brackets, signs with blanks count."""
        outside, self._formula = self._formula, True
        try:
            value = self._sum()
            if over := self._take(re.compile(r"\s*\\over(?![A-Za-z])\s*")):
                under = self._sum()
                if not under:
                    raise NotPlain(over[0])
                value = _bounded(value / under)
            self._take(_BLANKS)
        finally:
            self._formula = outside
        if not self.text.startswith(closing, self.place):
            raise NotPlain(self.text[self.place : self.place + 10])
        self.place += 1
        return value

    def _argument(self) -> Value:
        r"""What a command takes: a group, a digit (`\frac34`), a command of its own, or a bracket."""
        self._take(_BLANKS)
        if self.text.startswith(("{", "(", "\\"), self.place):
            return self._atom()
        if digit := self._take(re.compile(r"\d")):
            return Fraction(int(digit[0]))
        return self._atom()

    def _number(self) -> Value:
        if repeating := self._take(_REPEATING):
            whole, fixed, again = repeating.groups()
            if len(whole) + len(fixed) > MOST_DIGITS:
                raise NotPlain("too many digits")
            nines = Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(fixed))
            return Fraction(int(whole or 0)) + Fraction(int(fixed or 0), 10 ** len(fixed)) + nines
        if self.text[self.place : self.place + 1] in _VULGAR:
            over, _, under = _VULGAR[self.text[self.place]].partition("/")
            self.place += 1
            return Fraction(int(over), int(under))
        other = _GERMAN if self._decimal == "." else _ENGLISH
        literal, decimal = other.match(self.text, self.place), "," if self._decimal == "." else "."
        if literal is None:
            literal, decimal = self._literal.match(self.text, self.place), self._decimal
        if literal is None or len(literal[0]) > MOST_DIGITS:
            raise NotPlain(self.text[self.place : self.place + 10])
        self.place = literal.end()
        said = literal[0]
        if self._decimal == "," and said.isdigit() and (point := self._take(re.compile(r"\.(\d+)(?![.,]?\d)"))):
            said, decimal = f"{said}.{point[1]}", "."  # 0.5 is no group of thousands
        value = self._scaled(said, decimal)
        self._take(_BASE_TEN)
        return self._mixed(value)

    def _scaled(self, said: str, decimal: str) -> Value:
        grouped = {" ", "'", "_", "," if decimal == "." else "."}
        if decimal == "." and said.count(".") > 1:
            grouped.add(".")
        digits = "".join(sign for sign in said if sign not in grouped).replace(",", ".")
        value = Fraction(digits)
        if exponent := self._take(_SCIENTIFIC):
            if abs(int(exponent[1])) > MOST_EXPONENT:
                raise NotPlain(exponent[0])
            value *= Fraction(10) ** int(exponent[1])
        return value

    def _mixed(self, value: Value) -> Value:
        r"""With the fraction of a mixed number: `1 1/2`, `1\frac{1}{2}`, `1½`."""
        if not isinstance(value, Fraction) or value.denominator != 1 or not self.text[self.place - 1].isdigit():
            return value
        if mixed := _MIXED.match(self.text, self.place):
            over, under = int(mixed[1]), int(mixed[2])
            if self.text[self.place] == " " and 0 < over < under:
                self.place = mixed.end() + len(mixed[1]) + 1 + len(mixed[2])
                return value + Fraction(over, under)
            return value
        blank = 1 if self.text.startswith(" ", self.place) else 0
        if self.text[self.place + blank : self.place + blank + 1] in _VULGAR:
            self.place += blank
            return value + self._number()
        if _FRACTION.match(self.text, self.place + blank):
            self.place += blank
            fraction = self._bracketed()
            return value + fraction
        return value

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if found := pattern.match(self.text, self.place):
            self.place = found.end()
        return found


def _bounded(value: Value) -> Value:
    spend(2)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotPlain("out of range")
    else:
        bits = max(value.numerator.bit_length(), value.denominator.bit_length())
        if bits > MOST_BITS:
            raise NotPlain("out of range")
        spend(bits // _BITS_OF_STEP)
    return value


def _raised(base: Value, exponent: Value) -> Value:
    """A power: exact for a whole exponent, and a float else; never of a negative number to a broken exponent."""
    if not isinstance(exponent, Fraction) or not isinstance(base, Fraction) or exponent.denominator != 1:
        if base < 0:
            raise NotPlain("a root of a negative number")
        if isinstance(exponent, Fraction) and isinstance(base, Fraction) and exponent.denominator < 100:
            return _raised(_root(base, exponent.denominator), Fraction(exponent.numerator))
        return _as_float(lambda: float(base) ** float(exponent))
    size = max(base.numerator.bit_length(), base.denominator.bit_length(), 1)
    if size * abs(exponent.numerator) > MOST_BITS or (base == 0 and exponent < 0):
        raise NotPlain("out of range")
    return base**exponent.numerator


def _root(value: Value, degree: int) -> Value:
    if degree < 1 or (value < 0 and degree % 2 == 0):
        raise NotPlain("a root of a negative number")
    if isinstance(value, Fraction):
        roots = [_exact_root(abs(part), degree) for part in (value.numerator, value.denominator)]
        if roots[0] is not None and roots[1] is not None:
            return Fraction(roots[0], roots[1]) if value >= 0 else -Fraction(roots[0], roots[1])
    size = _as_float(lambda: abs(float(value)) ** (1 / degree))
    return size if value >= 0 else -size


def _exact_root(value: int, degree: int) -> int | None:
    if degree == 2:
        near = math.isqrt(value)
    elif value.bit_length() < 900:
        near = round(value ** (1 / degree))
    else:
        return None
    return near if near**degree == value else None


def _factorial(value: Value) -> Value:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 170:
        raise NotPlain("factorial")
    return Fraction(math.factorial(int(value)))


def _as_float(compute: object) -> float:
    try:
        value = float(compute())  # type: ignore[operator]
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        raise NotPlain("out of range") from error
    if not math.isfinite(value):
        raise NotPlain("out of range")
    return value
