"""A number is read as the expression that it is, or not at all."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.verifiers.quantity import quantity_in

CASES = [
    ("42", 42),
    ("It is 42.", 42),
    ("about $1,234.50 in all", 1234.5),
    ("$-5 or -$5", -5),
    ("\N{MINUS SIGN}3", -3),
    ("+7", 7),
    ("1e3", 1000),
    ("2.5E-2 m", 0.025),
    (".5", 0.5),
    ("3/4", 0.75),
    ("-1/3 of it", Fraction(-1, 3)),
    ("1 1/2 cups", 1.5),
    (r"\frac{3}{4}", 0.75),
    (r"2\frac{3}{4}", 2.75),
    (r"$-\dfrac{1}{2}$", -0.5),
    ("10/12/2024", None),
    ("on 2024-01-15", None),
    ("50%", 50),
    ("5km", 5),
    ("1,2,3", None),
    ("12,345,678 people", 12345678),
    (r"1{,}234", 1234),
    ("- 5 apples", 5),
    ("10-3", None),
    ("first 3, then 4", 4),
    ("x2 is 5 and y7", 5),
    ("0.1", 0.1),
    ("no number at all", None),
    ("", None),
    ("1e999999999999", None),
    ("9" * 5000, None),
    ("1/0", None),
    ("The answer is 18 dollars for 7 days", 18),
    ("The answer is 3 * 6 = 18", 18),
    ("3 apples and 4 pears.\n#### 7\nWe are 100% sure", 7),
    (r"so \boxed{12} it is, by 3 steps", 12),
    (r"\boxed{\frac{1}{2}} and not 7", 0.5),
    (r"\boxed{1}, no: \boxed{2}. Done in 3.", 2),
    (r"The final answer is \boxed{4}. 5 stars!", 4),
    ("**Answer:** 42\nThat took 7 steps.", 42),
    ("answer = -8 (of 9)", -8),
    ("The answer isn't 5 but 6", 6),
    ("The answer is obvious: 6", 6),
    (r"\boxed{", None),
    ("The force is $1.5 \\times 10^3$ N.", 1500),
    ("So there are 10^6 of them.", 10**6),
    ("\\boxed{2^{10}}", 1024),
    ("The length is \\boxed{3\\sqrt{2}}.", 18**0.5),
    ("\\boxed{1\\,000}", 1000),
    ("There are 1 000 000 of them.", 10**6),
    ("The area is 12 m^2", 12),
    ("\\boxed{\\frac34}", 0.75),
    ("The answer is –7.", -7),
    ("答案是42。", 42),
    ("#### Step 2: add them up\nThe total is 42", 42),
    ("The charge is 1.6e-19 C.", 1.6e-19),
    ("First I thought \\boxed{12}, but then \\boxed{", None),
    ("It takes 1.5 million years", 1.5e6),
    ("3½ cups", 3.5),
    ("The answer is between 5 and 6", None),
    ("The answer is 5 or 6", None),
    ("5-10 minutes", None),
    ("2 hours and 30 minutes", None),
    ("The derivative is 3x", None),
    ("\\boxed{3x}", None),
    ("\\boxed{(1, 2)}", None),
    ("\\boxed{x=5}", 5),
    ("x = \\boxed{-5}", -5),
    ("$x = 5$", 5),
    ("so $2x + 3$", None),
    ("2x + 3", None),
    ("\\boxed{12\\text{ cm}^2}", 12),
    ("\\boxed{12\\,\\mathrm{cm}^2}", 12),
    ("\\boxed{30^\\circ}", 30),
    ("\\boxed{50\\%}", 50),
    ("\\boxed{\\$12.50}", 12.5),
    ("3,14", None),
    ("1.000.000", 10**6),
    ("1.234,56", 1234.56),
    ("The ratio is 3:1", None),
    ("5'6\"", None),
    ("1010_2", None),
    ("\\boxed{10!}", 3628800),
    ("5!", 5),
    ("6.02×10²³ per mole", Fraction(602 * 10**21)),
    ("10⁶", 10**6),
    ("6.02 x 10^23", Fraction(602 * 10**21)),
    ("1.5·10^-3", 0.0015),
    ("**3**", 3),
    ("__42__", 42),
    ("_42_", 42),
    ("`42`", 42),
    ("The answer is **42** apples", 42),
    ("2**10", 1024),
    ("合计３００元", 300),
    ("共3万元", 30000),
    ("COVID-19 killed 42", 42),
    ("It's 42 (COVID-19)", 42),
    ("The answer is 3 apples and 4 pears", None),
    ("In 2020, 42 people", 42),
    ("1. Foo\n2. Bar\nTotal: 7\n", 7),
    ("Total is 7 by step 2.", 7),
    ("≈ 3.33", 3.33),
    ("10/3 ≈ 3.33", Fraction("3.33")),
    ("x = 10/3 ≈ 3.33", Fraction("3.33")),
    ("The answer is not 5.", None),
    ("The answer is not 5 but 6.", 6),
    ("(3+4)*2", 14),
    ("0x1F", None),
    ("1'000'000", 10**6),
    ("12,34,567", 1234567),
    ("$\\sqrt{16}$", 4),
    ("√2", 2**0.5),
    ("\\boxed{2\\pi}", 6.283185307179586),
    ("The answer is $\\pi$.", 3.141592653589793),
    ("7 \\pm 2", None),
    ("\\boxed{\\pm 2}", None),
    ("\\boxed{x > 5}", None),
    ("\\boxed{1} or \\boxed{2}", None),
    ("\\boxed{\\text{42}}", 42),
    ("$5 and $6 make $11", 11),
    ("The cost is \\$5.", 5),
    ("3 \\cdot 10^{8} m/s", 3 * 10**8),
    ("12 km/h", 12),
    ("v = 9.8 m/s^2", 9.8),
    ("H2O has 3 atoms", 3),
    ("Total - 5", 5),
    ("x = - 5", -5),
    ("The answer is - 5", -5),
    ("Answer:\n- 5 apples", 5),
    ("\\boxed{0.\\overline{3}}", Fraction(1, 3)),
    ("{3 \\over 4}", 0.75),
    ("3rd", 3),
    ("٤٢", 42),
    ("-3.5°C", -3.5),
    ("5 000,5", None),
    ("\\[ x = \\frac{1}{2} \\]", 0.5),
    ("\\( 42 \\)", 42),
    ("$$42$$", 42),
    ("42\\\\", 42),
    ("The answer is \\frac{1}{2}.", 0.5),
    ("\\boxed{5 \\text{ or } 6}", None),
    ("\\boxed{\\log_2 8}", None),
    ("\\boxed{e^2}", None),
    ("$\\log_2 8 = 3$", 3),
    ("$f(x) = x^2 + 1$", None),
    ("f(2) = 5", 5),
    ("12:30", None),
    ("4分之3", None),
    ("5 ± 1", None),
    ("There are 5 (five) apples", 5),
    ("<answer>42</answer>", 42),
    ("<answer>x</answer> 42", None),
    ("Answer: 1,000,000 dollars", 10**6),
    ("The answer is 5 out of 9", None),
    ("x^5", None),
    ("n = 5, m = 6", None),
    ("The total cost is $1,200 per month.", 1200),
    ("100 °C", 100),
    ("20 N·m", 20),
    ("\\boxed{\\dfrac{3\\sqrt{3}}{4}}", 3 * 3**0.5 / 4),
    ("\\boxed{-\\frac{1}{2}}", -0.5),
    ("\\boxed{\\frac{-1}{2}}", -0.5),
    ("50 percent", 50),
    ("5 %", 5),
    ("1e-5", 1e-5),
    ("1.5e3 J", 1500),
    ("3e", None),
    ("2e10", 2 * 10**10),
    ("\\boxed{1{,}000{,}000}", 10**6),
    ("1 234,5", None),
]


def value(text: str, **settings):
    found = quantity_in(text, **settings)
    return None if found is None else found.value


@pytest.mark.parametrize(("text", "number"), CASES)
def test_a_number_is_read_as_a_whole(text, number):
    found = value(text)
    if number is None or found is None:
        assert found is number
    else:
        assert math.isclose(float(found), float(number), rel_tol=1e-12)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3,5", Fraction("3.5")),
        ("1.234,5", Fraction("1234.5")),
        ("1.500", 1500),
        ("0.5", Fraction("0.5")),
        ("1,234.5", Fraction("1234.5")),
        ("1 234,56 €", Fraction("1234.56")),
        ("12.345.678", 12_345_678),
        ("-0,25", Fraction("-0.25")),
        ("1,2,3", None),
    ],
)
def test_with_a_decimal_comma_the_signs_change_places(text, number):
    assert value(text, decimal=",") == number


def test_a_percentage_and_a_near_value_have_two_readings():
    assert quantity_in("25%").values == (25, Fraction(1, 4))
    assert quantity_in(r"\frac{10}{3} \approx 3.33").values == (Fraction("3.33"), Fraction(10, 3))


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
def test_a_fraction_is_the_same_however_it_is_written(over, under):
    right = Fraction(over, under)
    sign, size = ("-" if over < 0 else ""), abs(over)
    for text in (
        f"{over}/{under}",
        rf"\boxed{{{sign}\frac{{{size}}}{{{under}}}}}",
        rf"\boxed{{\dfrac{{{over}}}{{{under}}}}}",
        rf"The answer is ${sign}\tfrac{{{size}}}{{{under}}}$.",
        rf"\boxed{{{{{over} \over {under}}}}}",
    ):
        assert value(text) == right, text


@given(st.integers(0, 10**12))
def test_thousands_are_read_with_every_separator(number):
    plain = f"{number:,}"
    for separator in (",", " ", "\u202f", "\u2009", r"\,", "{,}", "'", "_"):
        assert value(f"There are {plain.replace(',', separator)} of them.") == number


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_a_sum_in_a_box_is_the_sum_and_alternatives_are_no_number(one, other):
    assert value(rf"\boxed{{{one}+{other}}}".replace("+-", "-")) == one + other
    if one != other:
        for joined in (f"{one} or {other}", f"between {one} and {other}", rf"\boxed{{({one}, {other})}}"):
            assert value(joined) is None


@given(st.text(alphabet="0123456789.,+-*/^(){}[]$\\√π½²% =:\n xfracsqt", max_size=60))
def test_no_text_raises(text):
    quantity_in(text)
    quantity_in(rf"\boxed{{{text}}}", ",")


@pytest.mark.parametrize(
    "unit", ["(1", "{1", "√", "2^", r"\frac{", r"\frac{1}{", "1 or ", "1-", "$1$", r"\boxed{", "9" * 90]
)
def test_reading_a_long_text_takes_no_time(unit):
    began = time.process_time()
    quantity_in(unit * (100_000 // len(unit)))
    assert time.process_time() - began < 5


@pytest.mark.parametrize("text", ["9^{9^{9}}", "2^{100000}", "10^{10^{10}}", "170!!", "9" * 2000, "2^" * 50 + "2"])
def test_what_is_out_of_bounds_is_no_number(text):
    assert value(rf"\boxed{{{text}}}") is None
