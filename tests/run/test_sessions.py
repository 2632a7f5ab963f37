"""What is kept of a session: one word, for a while, for so many sessions at most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tierwise.run.sessions import SessionMemory


def test_a_word_is_there_until_its_time_is_over():
    memory = SessionMemory()
    memory.keep("a", "max", until=10.0)
    assert [memory.recall("a", at) for at in (0.0, 9.9, 10.0, 9.9)] == ["max", "max", "", ""]
    assert (memory.recall("b", 0.0), len(memory)) == ("", 0)


def test_the_session_that_was_kept_least_recently_is_forgotten_first():
    memory = SessionMemory(most=2)
    for session in ("a", "b", "a", "c"):
        memory.keep(session, session, until=1.0)
    assert [memory.recall(session, 0.0) for session in "abc"] == ["a", "", "c"]


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 9), st.floats(0, 9), st.booleans())), st.integers(1, 4))
def test_memory_is_bounded_and_never_gives_what_is_over(steps, most):
    memory, last = SessionMemory(most), {}
    for session, now, until, keeps in steps:
        if keeps:
            memory.keep(str(session), f"{until}", until)
            last[session] = until
        found = memory.recall(str(session), now)
        assert len(memory) <= most
        assert found == "" or (float(found) == last[session] and now < last[session])
