import random

DAMAGED = "march.csv"


def sales():
    draw = random.Random(29)
    items = ["apple", "pear", "plum", "fig", "quince", "medlar"]
    months = ["january", "february", "march", "april", "may", "june"]
    return {
        f"{month}.csv": [(f"2025-{number + 1:02}-{day:02}", draw.choice(items), draw.randrange(1, 50)) for day in range(1, 29)]
        for number, month in enumerate(months)
    }
