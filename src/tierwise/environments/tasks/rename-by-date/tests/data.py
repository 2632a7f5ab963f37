import random


def notes():
    draw = random.Random(11)
    dates = [f"2025-{month:02}-{day:02}" for month in (1, 2) for day in (3, 14, 28)]
    return [(f"note_{number:03}.txt", draw.choice(dates), f"entry {draw.randrange(10**6)}\n") for number in range(40)]
