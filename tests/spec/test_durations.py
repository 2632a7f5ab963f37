"""Durations as people write them."""

from __future__ import annotations

import pytest

from tierwise.spec.durations import seconds_in


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("24h", 86_400), ("30d", 2_592_000), ("4w", 2_419_200), ("1.5h", 5400), ("0s", 0), ("7s", 7)],
)
def test_a_duration_is_read(text, seconds):
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "30 d", "-3d", "3D", "1e3s", "3y", "30d ", "١d", "9999999999s"])
def test_what_is_none_is_not_read(text):
    assert seconds_in(text) is None
