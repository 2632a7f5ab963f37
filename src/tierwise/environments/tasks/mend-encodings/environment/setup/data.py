LINES = ["Grüße aus Köln", "naïve café", "price: 12 €", "plain text", "smörgåsbord", "“quoted” – dash"]


def texts():
    kinds = [(encoding, end) for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252") for end in ("\n", "\r\n")]
    return [
        (f"{number}.txt", f"{LINES[number % 6]}\n{LINES[(number * 5 + 1) % 6]}\nend {number}\n", *kinds[number % 8])
        for number in range(24)
    ]
