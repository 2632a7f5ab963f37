import random


def files():
    draw = random.Random(7)
    ends = [".txt", ".bin", ".tmp", ".log"]
    sizes = [10, 999, 1000, 1001, 1024, 4000]
    names = [f"part {number % 4}/{number}{draw.choice(ends)}" for number in range(36)]
    return {name: draw.randbytes(draw.choice(sizes)) for name in names}
