"""Numbers that are written as words: `three hundred and twelve`, `neunundzwanzig`, `veinticuatro`, `二十四`.

Words that are common in another sense (`one`, `un`, `due`, the Spanish `once`) are no numbers here, except as a part of
one (`twenty-one`). Everything runs in time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

_LISTS = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis "
    "diecisiete dieciocho diecinueve",
    "pt": "zero um dois três quatro cinco seis sete oito nove dez onze doze treze catorze quinze dezesseis dezessete "
    "dezoito dezenove",
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici "
    "diciassette diciotto diciannove",
    "nl": "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien "
    "zeventien achttien negentien",
    "sv": "noll ett två tre fyra fem sex sju åtta nio tio elva tolv tretton fjorton femton sexton sjutton arton nitton",
    "pl": "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście dwanaście trzynaście "
    "czternaście piętnaście szesnaście siedemnaście osiemnaście dziewiętnaście",
    "ru": "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать "
    "четырнадцать пятнадцать шестнадцать семнадцать восемнадцать девятнадцать",
    "tr": "sıfır bir iki üç dört beş altı yedi sekiz dokuz",
    "id": "nol satu dua tiga empat lima enam tujuh delapan sembilan",
}
_TENS = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "de": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    "fr": "vingt trente quarante cinquante soixante",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
    "it": "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "nl": "twintig dertig veertig vijftig zestig zeventig tachtig negentig",
    "sv": "tjugo trettio fyrtio femtio sextio sjuttio åttio nittio",
    "pl": "dwadzieścia trzydzieści czterdzieści pięćdziesiąt sześćdziesiąt siedemdziesiąt osiemdziesiąt "
    "dziewięćdziesiąt",
    "ru": "двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто",
    "tr": "yirmi otuz kırk elli altmış yetmiş seksen doksan",
}
_TWENTY = "veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve"
_MULTIPLES = {
    "hundred": 100, "thousand": 1000, "million": 10**6, "hundert": 100, "tausend": 1000, "cent": 100, "cents": 100,
    "mille": 1000, "cien": 100, "ciento": 100, "cem": 100, "cento": 100, "honderd": 100, "duizend": 1000,
    "hundra": 100, "tusen": 1000, "сто": 100, "тысяча": 1000, "тысячи": 1000, "тысяч": 1000, "sto": 100,
    "tysiąc": 1000, "yüz": 100, "bin": 1000, "puluh": 10, "belas": -10, "ratus": 100, "ribu": 1000,
    "doscientos": 200, "trescientos": 300, "cuatrocientos": 400, "quinientos": 500, "seiscientos": 600,
    "setecientos": 700, "ochocientos": 800, "novecientos": 900, "двести": 200, "триста": 300, "четыреста": 400,
    "пятьсот": 500, "шестьсот": 600, "семьсот": 700, "восемьсот": 800, "девятьсот": 900, "dwieście": 200,
    "trzysta": 300, "czterysta": 400, "pięćset": 500,
}  # fmt: skip
_NEVER_FIRST = frozenset(
    "one un uno um ein een ett один jeden bir satu once dos due sei sex neuf null".split()  # noqa: SIM905 - as the lists
)
"""Words that mean something else as often."""
_JOINS = re.compile(r"(?:[ \t]+|-)(?:(?:and|und|y|e|et|en|och|и)[ \t]+)?")
_WORD = re.compile(r"[^\W\d_]{2,40}")
_CHINESE = re.compile(r"[一二三四五六七八九十百千两]{2,12}(?=[^一二三四五六七八九十百千两共起些样般部])")
_TURKISH_IS = re.compile(r"(?<=[^\W\d_]{2})[dt][ıiuü]r\Z")
"""What a Turkish number ends with that is predicated: `sekizdir`."""
_DOZEN = re.compile(r"(?<!\w)(half[ ]a[ ]|a[ ]|one[ ])dozen(?!\w)", re.IGNORECASE)
_VIETNAMESE_ONES = {
    word: value
    for value, words in enumerate("một/mốt hai ba bốn/tư lăm sáu bảy tám chín".split(), 1)  # noqa: SIM905 - as the lists
    for word in words.split("/")
}
_VIETNAMESE_TENS = {
    "năm": 5,
    **{word: value for word, value in _VIETNAMESE_ONES.items() if word not in ("mốt", "tư", "lăm")},
}
_VIETNAMESE = re.compile(
    r"(?<!\w)(?:(hai|ba|bốn|năm|sáu|bảy|tám|chín)[ ]mươi|mười)(?:[ ](" + "|".join(_VIETNAMESE_ONES) + r"))?(?!\w)",
    re.IGNORECASE,
)
_KOREAN_TENS = {word: 10 * place for place, word in enumerate("열 스물 서른 마흔 쉰 예순 일흔 여든 아흔".split(), 1)}  # noqa: SIM905
_KOREAN_ONES = {
    word: value
    for value, words in enumerate("한/하나 두/둘 세/셋 네/넷 다섯 여섯 일곱 여덟 아홉".split(), 1)  # noqa: SIM905
    for word in words.split("/")
}
_KOREAN = re.compile(
    rf"(?<![가-힣])(?:({'|'.join(_KOREAN_TENS)})({'|'.join(_KOREAN_ONES)})?|스무|({'|'.join(list(_KOREAN_ONES)[2:])}))"
    r"(?=[ ]?(?:개|명|마리|살|시간|권|대|장|번|그루|병|잔|송이|켤레|쌍|자루|입니다|이다|이에요))"
)
"""A native Korean number before what it counts."""
_DIGITS = {sign: place for place, sign in enumerate("零一二三四五六七八九")} | {"两": 2}
_FRACTIONS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "eighth": 8,
    "tenth": 10,
}
_PART = re.compile(
    r"(?:[ \t]+|-)(?:(half|halves|third|quarter|fourth|fifth|sixth|eighth|tenth)s?"
    r"|(?:\w*tel|hälften|tiers|quarts?|cinquièmes?|tercios?|cuartos?|quintos?|terços?|quartos?|terzi"
    r"|quarti|трет\w+|четверт\w+))(?!\w)",
    re.IGNORECASE,
)


def _table() -> dict[str, int]:
    table = {word: value for words in _LISTS.values() for value, word in enumerate(words.split())}
    for words in _TENS.values():
        table |= {word: 10 * place for place, word in enumerate(words.split(), 2)}
    table |= {word: value for value, word in enumerate(_TWENTY.split(), 21)}
    table |= {"vingts": 20, "dreissig": 30, "tjugoett": 21}
    for name, joint, first in (("de", "und", "ein"), ("nl", "en", "een"), ("nl", "ën", "een"), ("sv", "", "ett")):
        ones = _LISTS[name].split()[1:10]
        ones[0] = first
        for place, ten in enumerate(_TENS[name].split(), 2):
            for one, word in enumerate(ones, 1):
                table[f"{ten}{word}" if name == "sv" else f"{word}{joint}{ten}"] = 10 * place + one
    for place, ten in enumerate(_TENS["it"].split(), 2):
        for one, word in enumerate(_LISTS["it"].split()[1:10], 1):
            table[f"{ten[:-1] if word[0] in 'uo' else ten}{'tré' if one == 3 else word}"] = 10 * place + one
            table.setdefault(f"{ten}{word}", 10 * place + one)
    below = [(word, table[word]) for word in list(table) if table[word] < 100]
    for name, hundred in (("de", "hundert"), ("nl", "honderd")):
        counts = {"": 1, "ein": 1, **{word: table[word] for word in _LISTS[name].split()[2:10]}}
        for count, size in counts.items():
            table[f"{count}{hundred}"] = 100 * size
            table |= {f"{count}{hundred}{word}": 100 * size + value for word, value in below}
    return table


_TABLE = _table()


def numbers_in_words(text: str) -> Iterator[tuple[int, int, Fraction | None]]:
    """Where a text says a number in words, and which; None for a part (`zwei Drittel`) that is not read."""
    place = 0
    while word := _WORD.search(text, place):
        place = word.end()
        first = _name(word)
        if first not in _TABLE or (first in _NEVER_FIRST and not _is_multiplied(text, word)):
            continue
        value, place = _phrase(text, word)
        part = _PART.match(text, place)
        if part is None:
            yield word.start(), place, Fraction(value)
        else:
            under = _FRACTIONS.get((part[1] or "").lower())
            place = part.end()
            yield word.start(), place, Fraction(value, under) if under else None
    for dozen in _DOZEN.finditer(text):
        yield dozen.start(), dozen.end(), Fraction(6 if dozen[1].lower().startswith("half") else 12)
    for numeral in _VIETNAMESE.finditer(text):
        tens = 10 * _VIETNAMESE_TENS[numeral[1].lower()] if numeral[1] else 10
        yield numeral.start(), numeral.end(), Fraction(tens + _VIETNAMESE_ONES.get((numeral[2] or "").lower(), 0))
    for numeral in _KOREAN.finditer(text):
        tens = _KOREAN_TENS[numeral[1]] if numeral[1] else 0 if numeral[3] else 20
        yield numeral.start(), numeral.end(), Fraction(tens + _KOREAN_ONES.get(numeral[2] or numeral[3] or "", 0))
    for numeral in _CHINESE.finditer(text):
        if (number := _chinese(numeral[0])) is not None:
            yield numeral.start(), numeral.end(), Fraction(number)


def _name(word: re.Match[str]) -> str:
    """A word as it stands in the table."""
    name = word[0].lower()
    return _TURKISH_IS.sub("", name) if name.endswith("r") and name not in _TABLE else name


def _phrase(text: str, word: re.Match[str]) -> tuple[int, int]:
    """The number that begins with a word, and where it ends."""
    total, current, place = 0, _TABLE[_name(word)], word.end()
    while (joint := _JOINS.match(text, place)) and (following := _WORD.match(text, joint.end())):
        name = following[0].lower()
        times, value = _MULTIPLES.get(name), _TABLE.get(name)
        if times is not None and times >= 1000:
            total, current = total + current * times, 0
        elif times is not None and times in (10, 100) and 0 < current < 10:
            current *= times
        elif times == -10 and 0 < current < 10:
            current += 10
        elif times is not None and 100 < times < 1000 and not current:
            current = times
        elif value is not None and current == 4 and value == 20:
            current = 80  # quatre-vingts
        elif value is not None and _continues(current, value):
            current += value
        else:
            break
        place = following.end()
    return total + current, place


def _is_multiplied(text: str, word: re.Match[str]) -> bool:
    """Whether a word for one stands before `hundred` or `thousand`."""
    joint = _JOINS.match(text, word.end())
    following = _WORD.match(text, joint.end()) if joint else None
    return _TABLE.get(word[0].lower()) == 1 and following is not None and _MULTIPLES.get(following[0].lower(), 0) >= 100


def _continues(current: int, value: int) -> bool:
    rest = current % 100
    if not current:
        return 0 < value < 1000
    if not rest:
        return 0 < value < 100
    return (rest % 10 == 0 and rest >= 20 and 0 < value < 10) or (rest in (60, 80) and 10 <= value < 20)


def _chinese(said: str) -> int | None:
    """The value of a Chinese numeral below ten thousand; None for one without a unit, such as a year."""
    if not re.search("[十百千]", said):
        return None
    total, digit = 0, 0
    for sign in said:
        if sign in _DIGITS:
            digit = _DIGITS[sign]
        else:
            total += (digit or 1) * {"十": 10, "百": 100, "千": 1000}[sign]
            digit = 0
    return total + digit
