"""What a client reads of tokens: whole characters, no stop text, thinking apart."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="pip install 'tierwise[transformers]' to test the Transformers worker")
pytest.importorskip("transformers")

from hypothesis import given
from hypothesis import strategies as st

from families.tiny import SPECIAL, tokenizer
from tierwise.spec.errors import SpecError
from tierwise.worker.text import StreamDecoder, find_thinking, render_prompt

BYTES = tokenizer("{% for m in messages %}{{ m['role'] }}:{{ m['content'] }};{% endfor %}{{ x | default('') }}")
THINK, UNTHINK = (256 + SPECIAL.index(mark) for mark in ("<think>", "</think>"))


def tokens(text):
    return BYTES(text, add_special_tokens=False)["input_ids"]


def said(text, *stops, **more):
    """The pieces of content and of thinking that a decoder lets out, and whether it was stopped."""
    decoder = StreamDecoder(BYTES, stops, **more)
    content, thinking = [], []
    for token in text if isinstance(text, list) else tokens(text):
        piece = decoder.add(token)
        content.append(piece.content)
        thinking.append(piece.thinking)
        if piece.is_stopped:
            return content, thinking, True
    return [*content, decoder.rest()], thinking, False


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=30))
def test_a_text_comes_out_as_it_went_in_and_never_in_half_characters(text):
    content, _, _ = said(text)
    assert "".join(content) == text
    assert "\ufffd" not in "".join(content).replace("\ufffd", "", text.count("\ufffd"))


def test_half_a_character_at_the_end_is_shown_as_such():
    assert "".join(said(tokens("aé")[:-1])[0]) == "a\ufffd"


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_of_a_stop_text_is_shown_and_nothing_else_is_lost(text, stops):
    content, _, is_stopped = said(text, *stops)
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    assert is_stopped == bool(ends)
    if ends:
        seen = text[: min(ends)]
        assert "".join(content) == seen[: min(seen.find(stop) for stop in stops if stop in seen)]
    else:
        assert "".join(content) == text


def test_words_that_cannot_become_a_stop_text_are_not_held_back():
    assert said("abcd", "xy")[0] == ["a", "b", "c", "d", ""]
    assert said("axb", "xy")[0] == ["a", "", "xb", ""]


def test_thinking_is_told_apart_by_its_marks_and_counted():
    marks = find_thinking(BYTES)
    content, thinking, _ = said([THINK, *tokens("\nhm"), UNTHINK, *tokens("\n\nyes")], thinking=marks)
    assert ("".join(content), "".join(thinking)) == ("yes", "hm")
    decoder = StreamDecoder(BYTES, thinking=marks, is_thinking=True)
    for token in [*tokens("hm"), UNTHINK, *tokens("yes")]:
        decoder.add(token)
    assert (decoder.thinking_tokens, decoder.is_thinking) == (3, False)


def test_a_stop_text_does_not_end_a_thinking():
    content, thinking, is_stopped = said(
        [*tokens("a.b"), UNTHINK, *tokens("c.d")], ".", thinking=find_thinking(BYTES), is_thinking=True
    )
    assert ("".join(content), "".join(thinking), is_stopped) == ("c", "a.b", True)


def test_the_end_of_a_thinking_is_forced_once_it_has_had_its_tokens():
    decoder = StreamDecoder(BYTES, thinking=find_thinking(BYTES), is_thinking=True, max_thinking_tokens=2)
    wanted = [decoder.forced]
    for token in [*tokens("ab"), UNTHINK]:
        decoder.add(token)
        wanted.append(decoder.forced)
    assert wanted == [None, None, UNTHINK, None]
    assert (
        StreamDecoder(BYTES, thinking=find_thinking(BYTES), is_thinking=True, max_thinking_tokens=0).forced == UNTHINK
    )


def test_a_prompt_that_ends_in_an_open_thinking_is_known():
    marks = find_thinking(BYTES)
    assert marks.is_open("x<think>\n")
    assert not marks.is_open("x<think></think>\n")
    assert not marks.is_open("x")


def test_messages_are_rendered_with_the_parts_of_their_contents_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert render_prompt(BYTES, [{"role": "user", "content": parts}], {"x": "!"}) == "user:ab;!"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "content must be a string or a list of parts, not None"),
        (3, "not 3"),
        ([{"type": "image_url"}], "supports parts of type 'text' only, not 'image_url'"),
        (["a"], "needs `type` and `text`"),
    ],
)
def test_a_content_that_cannot_be_read_is_named(content, words):
    with pytest.raises(SpecError, match=words) as caught:
        render_prompt(BYTES, [{"role": "user", "content": "fine"}, {"role": "user", "content": content}], {})
    assert caught.value.field == "messages[1].content"


def test_a_templates_own_refusal_is_passed_on():
    strict = tokenizer("{{ raise_exception('no ' + messages[0]['role']) }}")
    with pytest.raises(SpecError, match="the chat template rejects these messages: no tool"):
        render_prompt(strict, [{"role": "tool", "content": "x"}], {})
