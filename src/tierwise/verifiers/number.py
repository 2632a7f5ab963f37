"""Answers that are numbers."""

from __future__ import annotations

import decimal
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers import expression
from tierwise.verifiers.answers import number_key, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.expression import Value
from tierwise.verifiers.math_verify import can_evaluate, evaluated, is_formula

if TYPE_CHECKING:
    from tierwise.verifiers.amounts import Quantity

RELATIVE = Fraction(1, 10**6)
"""Default tolerance, relative to the correct number."""
COMPUTED = 15
"""Significant digits from which a decimal number was computed, so that its last digit is not one that somebody gave."""


class Number(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    r"""The answer is a number: the marked one, else the one that the text concludes, read as the expression that it is.

    Products, powers, roots, fractions, thousands, units, percent and scales such as `million` are read. What is not
    plain arithmetic (`\log_2 8`) is evaluated by math-verify where that package and a sandbox are available, and else
    is not readable. A range, alternatives, or a pair are never reduced to one of their numbers.
    """

    kind = "number"
    text_cost = 10

    equals: int | float | None = None
    """The correct number. Without it any number is accepted."""
    any_of: Annotated[tuple[int | float, ...], msgspec.Meta(max_length=100)] = ()
    """Several correct numbers, in place of `equals`."""
    tolerance: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Allowed error, absolute or relative to the correct number, whichever is larger; only relative where it would
    reach to zero otherwise. The default is a millionth of the number, and at most half a unit of its last digit, if
    it has fewer than 15."""
    decimal: expression.Decimal = "."
    """The decimal sign of answers. With `,` the answer `1.234,5` and `3,5` are numbers, and `1.500` is 1500."""

    def __post_init__(self) -> None:
        if self.equals is not None and self.any_of:
            raise ValueError("equals and any_of: give one of them")
        if not all(math.isfinite(one) for one in (*self._right, self.tolerance or 0)):
            raise ValueError("equals, any_of and tolerance: must be finite numbers")

    @property
    def _right(self) -> tuple[int | float, ...]:
        return self.any_of if self.equals is None else (self.equals,)

    @property
    def decisive(self) -> bool:
        return bool(self._right)

    def _quantity(self, completion: Completion) -> Quantity | None:
        from tierwise.verifiers.quantity import quantity_in  # noqa: PLC0415 - see readers.py

        return quantity_in(spoken(completion), self.decimal)

    def key(self, completion: Completion) -> str | None:
        found = self._quantity(completion)
        return None if found is None or found.value is None else number_key(found.value)

    def waits_for(self, completion: Completion) -> str | None:
        found = self._quantity(completion)
        is_open = found is not None and not found.values and is_formula(found.formula)
        return rf"\boxed{{{found.formula}}}" if found is not None and is_open else None

    async def verify(self, completion: Completion) -> Verdict:
        found = self._quantity(completion)
        if found is None:
            return rejected("no number in the answer")
        values = found.values or await _evaluated(found.formula)
        if not values:
            return rejected("the number in the answer is not readable as one number")
        if not self._right:
            return accepted(shown(values[0]))
        if any(self._is(values, right) for right in self._right):
            return accepted(shown(values[0]))
        return rejected(f"{shown(values[0])} instead of {' or '.join(f'{right:.12g}' for right in self._right)}")

    def _is(self, values: tuple[Value, ...], given: float) -> bool:
        right = Fraction(repr(given))  # as it is written: 0.1 is a tenth
        from tierwise.verifiers.quantity import equal_within  # noqa: PLC0415 - see readers.py

        return equal_within(values, right, allowed(given, self.tolerance))


def allowed(given: float, tolerance: float | None) -> Fraction:
    """The allowed absolute error of an answer.

    Args:
        given: the correct number; its last digit is the last one of its shortest form.
        tolerance: as set by the user; None for the default.
    """
    size = abs(Fraction(repr(given)))
    if tolerance is not None:
        wide = Fraction(repr(tolerance))
        return wide * size if 0 < size <= wide else max(wide, wide * size)
    _, digits, exponent = decimal.Decimal(repr(given)).as_tuple()
    if not isinstance(given, int) and len(digits) >= COMPUTED:
        return RELATIVE * size
    last = Fraction(10) ** exponent if isinstance(exponent, int) else Fraction(0)
    return min(RELATIVE * size, last / 2)


async def _evaluated(formula: str) -> tuple[Value, ...]:
    """The value of a formula that is not plain arithmetic; nothing where it has none, or cannot be evaluated here."""
    if not is_formula(formula) or not can_evaluate():
        return ()
    value = await evaluated(formula)
    return () if value is None else (value,)


def shown(value: Value) -> str:
    """A number as a short text."""
    if isinstance(value, Fraction) and value.denominator == 1:
        return str(value)
    try:
        return f"{float(value):.12g}"
    except OverflowError:
        return str(value)
