"""Keys are masked in the words of a server."""

from __future__ import annotations

import pytest

from engines.openai.talking import failed, raw, refusing
from tierwise.engines.openai.masking import masked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("bad key a/secret+key", "bad key …"),
        ("?key=a%2Fsecret%2Bkey&x", "?key=…&x"),
        ('"a\\/secret+key"', '"…"'),
        ("Authorization: Bearer abcdefgh.12345678", "Authorization: Bearer …"),
        ("Incorrect API key provided: sk-proj-Abc123defg.", "Incorrect API key provided: …."),
        ("hf_Ab1cdefghijk and AIzaSyA1234567890", "… and …"),
        (
            "hf_overrides is unknown, and a task-oriented sk-learn",
            "hf_overrides is unknown, and a task-oriented sk-learn",
        ),
    ],
)
def test_our_key_in_each_of_its_forms_and_what_looks_like_a_key_are_masked(words, said):
    assert masked(words, "a/secret+key") == said


def test_a_key_that_is_a_word_of_every_day_masks_nothing():
    assert masked("none of the x", "none") == "none of the x"


@pytest.mark.parametrize(
    "reply",
    [
        refusing(401, "bad key secret-of-ours"),
        refusing(500, "x" * 490 + " secret-of-ours"),
        refusing(302, Location="http://far/?key=secret-of-ours"),
        raw("data: {secret-of-ours\n\n"),
        raw("secret-of-ours\n\n"),
        raw('data: {"error": "secret-of-ours"}\n\n'),
    ],
)
def test_no_error_repeats_the_key_that_was_sent(monkeypatch, reply):
    monkeypatch.setenv("OUR_KEY", "secret-of-ours")
    error = failed(reply, api_key_env="OUR_KEY")
    assert "secret-of" not in str(error)
    assert "…" in str(error)
