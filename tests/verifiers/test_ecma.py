"""Patterns of JSON Schema mean what ECMA-262 says, or are refused."""

from __future__ import annotations

import pytest

from tierwise.verifiers.ecma import to_re2
from tierwise.verifiers.patterns import compiled

CASES = [
    (r"^a$", ["a"], ["a\n", "ba"]),
    (r"^\u0041$", ["A"], ["u0041"]),
    (r"^\u{1F600}$", ["😀"], []),
    (r"^\uD83D\uDE00$", ["😀"], []),
    (r"^\s+$", ["\u00a0\u3000 "], ["a", ""]),
    (r"^\S+$", ["ab"], ["a b", "\u3000"]),
    (r"^.$", ["a"], ["\n", "\u2028", "\r"]),
    (r"^[^]$", ["\n"], []),
    (r"^[\s\S]*$", ["a\n"], []),
    (r"^(?<y>\d{4})-(\d\d)$", ["2020-10"], ["２０２０-10"]),
    (r"^[[a]+$", ["[a"], ["b"]),
    (r"^a{,3}$", ["a{,3}"], ["aa"]),
    (r"^\p{Letter}+$", ["é"], ["1"]),
    (r"^\p{Script=Greek}$", ["α"], ["a"]),
    (r"^\p{Lu}", ["É"], ["é"]),
    (r"^[\b]$", ["\b"], ["b"]),
    (r"^\/\-$", ["/-"], []),
    (r"^\cJ$", ["\n"], []),
    (r"^\0$", ["\0"], []),
    (r"^[^\s]+$", ["ab"], ["a b"]),
    (r"^[\w.-]+@[\w-]+\.[a-z]{2,}$", ["a.b@c.de"], ["a@b"]),
    (r"^\d{3}\b", ["123 "], ["1234"]),
    (r"^(?:a|b)*$", ["abab"], ["c"]),
    ("^x}$", ["x}"], []),
    ("[]", [], ["", "a"]),
    (r"^[^\S ]$", ["\t"], [" ", "a"]),
]


@pytest.mark.parametrize(("pattern", "fits", "fits_not"), CASES)
def test_a_pattern_matches_what_ecma_262_says(pattern, fits, fits_not):
    program = compiled(to_re2(pattern))
    assert [text for text in fits if program.find(text) is None] == []
    assert [text for text in fits_not if program.find(text) is not None] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)b", "(?<!a)b", r"(a)\1", r"(?<n>a)\k<n>", r"\Aa\z", "(?P<n>a)", "[a", "a**", "(?#x)", r"\Q.\E",
        "x{2000}", "(",
        r"\p{Foo}", r"\a", r"\ud800", "[a[]]",
    ],
)  # fmt: skip
def test_what_cannot_be_matched_is_refused_and_says_why(pattern):
    with pytest.raises(ValueError, match=r"has|looks|refers|compile"):
        compiled(to_re2(pattern))
