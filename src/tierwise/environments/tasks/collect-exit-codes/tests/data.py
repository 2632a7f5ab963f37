import random


def jobs():
    draw = random.Random(3)
    codes = [0, 0, 1, 2, 7, 42, 0, 3, None, 99, 0, 1]
    return [(f"job{number:02}", code, draw.randrange(20)) for number, code in enumerate(codes)]
