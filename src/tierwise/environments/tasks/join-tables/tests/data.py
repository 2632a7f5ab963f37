import random

COUNTRIES = {"Ada, Ltd": "GB", "Bo": "SE", 'Carl "C" Inc': "DE", "Dora": "DE", "Eve": "GB"}
RATES = {"USD": 1.0, "EUR": 1.08, "SEK": 0.095}


def orders():
    draw = random.Random(23)
    names = [*COUNTRIES, "Zed", "Yak, Sons"]
    return [
        (number, draw.choice(names), round(draw.uniform(-40, 400), 2), draw.choice(list(RATES))) for number in range(300)
    ]


def totals():
    sums = {}
    for _, customer, amount, currency in orders():
        country = COUNTRIES.get(customer, "unknown")
        sums[country] = sums.get(country, 0) + amount * RATES[currency]
    return {country: round(total, 2) for country, total in sums.items()}
