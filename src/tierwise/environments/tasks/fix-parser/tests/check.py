import sys

sys.path.insert(0, "/app")
import durations

GOOD = {
    "90s": 90, "1h30m": 5400, "1h 30m": 5400, "2d": 172800, "1.5h": 5400, "-5m": -300, "-1h30m": -5400, "0s": 0, "1w": 604800,
    "1d1h1m1s": 90061, "250ms": 0.25, "1s250ms": 1.25, "+3m": 180, "10": 10, "2.5": 2.5, " 4m ": 240, "1H": 3600, ".5h": 1800,
    "100ms": 0.1, "1m1s": 61,
}
for text, value in GOOD.items():
    assert abs(durations.seconds(text) - value) < 1e-9, (text, durations.seconds(text), value)
    assert isinstance(durations.seconds(text), float), text
for text in ("", " ", "abc", "5x", "m5", "1h-30m", "30m1h", "1h1h", "--5m", "1..5h", "5 5m", "h", "1h30", "inf", "nan", "1e3", "١s"):
    try:
        value = durations.seconds(text)
    except ValueError:
        continue
    raise AssertionError(f"{text!r} was read as {value}")
