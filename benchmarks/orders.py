"""Messages of customers, from which an order is to be extracted as JSON: tasks of graded difficulty from a seed.

A third of the messages names the order and nothing else. A third has another place or article in it. A third changes an
earlier order, so that two numbers, two places or two articles compete.
"""

from __future__ import annotations

import random

import msgspec

from tierwise.workloads.task import Task


def split(words: str) -> list[str]:
    return words.split("|")


ARTICLES = split(
    "desk lamp|office chair|monitor stand|label printer|paper shredder|whiteboard|coffee grinder|water filter|"
    "power strip|webcam|keyboard tray|filing cabinet|space heater|desk fan|door stop|wall clock|extension cord|"
    "tool box|step ladder|mail box|bike rack|tent|lantern|cooler|sleeping bag|backpack|rain cover|road map|phone case|"
    "headset"
)
CITIES = split(
    "Lyon|Porto|Ghent|Turin|Graz|Malmo|Cork|Leeds|Bergen|Gdansk|Brno|Split|Varna|Tartu|Espoo|Aarhus|Bilbao|Nantes|"
    "Bremen|Utrecht"
)
NAMES = split(
    "Dana|Omar|Lucia|Petra|Ivo|Nadia|Marek|Selma|Hugo|Ines|Tomas|Greta|Yusuf|Clara|Emil|Rosa|Anton|Freya|Karim|Lena"
)
NUMBERS = {
    2: "two",
    3: "three",
    4: "four",
    5: "five",
    6: "half a dozen",
    7: "seven",
    8: "eight",
    9: "nine",
    10: "ten",
    12: "a dozen",
    15: "fifteen",
    20: "twenty",
    24: "two dozen",
}
LEVELS = {
    "plain": (
        "Hi, {name} here. Please send {number} units of the {article} to our office in {city}. Thanks!",
        "Order: {number} x {article}, ship to {city}. Contact: {name}.",
        "Hello, this is {name}. We need {number} pieces of your {article}, delivered to {city}.",
    ),
    "distracted": (
        (
            "Hello, {name} speaking. We moved from {old} to {city} last month, so please ship {number} units of the "
            "{article} to the new address."
        ),
        (
            "Good morning, could you deliver {number} units of the {article} to {city}? The {other} that we bought "
            "from you in {old} works well. Regards, {name}"
        ),
        "{name} from the {old} team asked me to order {number} units of the {article} for the branch in {city}.",
    ),
    "changed": (
        (
            "Hi, it's {name}. Last time we took {before} of the {other} for {old}; this time we want the {article}, "
            "{number} of them, for {city}."
        ),
        (
            "Please change my order: not {before} but {number} units of the {article}, and they go to {city} instead "
            "of {old}. {name}"
        ),
        (
            "{name} wrote: we first planned {before} of the {article} for {old}, but the budget changed. Make it "
            "{number}, and send them to {city}."
        ),
    ),
}
ASKED = (
    'Extract the order as JSON with the keys "item" (singular, without brand), "quantity" (an integer) and "city" '
    "(where it is delivered to). Answer with the JSON only."
)


def orders(count: int, seed: int) -> tuple[Task, ...]:
    """Tasks with different prompts.

    Args:
        count: how many; a tag says the level of each.
        seed: different seeds give different messages, but for chance.
    """
    generator = random.Random(seed)
    found: dict[str, Task] = {}
    while len(found) < count:
        task = _order(generator, f"order-{seed}-{len(found)}")
        found.setdefault(str(task.messages[0]["content"]), task)
    return tuple(found.values())


def _order(generator: random.Random, name: str) -> Task:
    (article, other), (city, old) = generator.sample(ARTICLES, 2), generator.sample(CITIES, 2)
    quantity, before = generator.sample(sorted(NUMBERS), 2)
    level = generator.choice(list(LEVELS))
    in_words = level != "plain" and generator.random() < 0.7
    text = generator.choice(LEVELS[level]).format(
        name=generator.choice(NAMES),
        number=NUMBERS[quantity] if in_words else quantity,
        article=article,
        city=city,
        other=other,
        old=old,
        before=generator.choice((str(before), NUMBERS[before])),
    )
    wanted = {"item": article, "quantity": quantity, "city": city}
    schema = {
        "type": "object",
        "required": list(wanted),
        "properties": {key: {"const": value} for key, value in wanted.items()},
    }
    return msgspec.convert(
        {
            "id": name,
            "messages": [{"role": "user", "content": f"{ASKED}\n\n{text}"}],
            "check": {"json_schema": {"schema": schema}},
            "tags": ["orders", level],
            "max_tokens": 48,
        },
        Task,
    )
