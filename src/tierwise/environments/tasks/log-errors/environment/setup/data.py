import random


def requests():
    draw = random.Random(17)
    addresses = [f"10.0.{draw.randrange(4)}.{draw.randrange(256)}" for _ in range(25)]
    paths = ["/", "/a b", "/search?q=500", '/say?"hi"', "/503", "/image.png"]
    statuses = [200, 200, 301, 404, 500, 502, 503]
    return [
        (draw.choice(addresses), draw.choice(statuses), draw.choice([None, draw.randrange(1, 9000)]), draw.choice(paths))
        for _ in range(800)
    ]
