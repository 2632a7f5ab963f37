"""The words and signs around numbers: units, scales, currencies, and what joins two numbers into one answer."""

from __future__ import annotations

import re

SEGMENT = re.compile(
    r"""\$\$(?P<a>[^$]{1,300})\$\$ | \\\((?P<b>.{1,300}?)\\\) | \\\[(?P<c>.{1,300}?)\\\]
    | (?<![\\\d$])\$(?P<d>(?!\s)[^$\n]{1,200})(?<![\s\\])\$(?!\d)""",
    re.VERBOSE | re.DOTALL,
)
VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
START = re.compile(
    rf"\d|\.\d|\\[dtc]?frac(?![A-Za-z])|\\sqrt(?![A-Za-z])|\bsqrt\s*\(|[√∛∜{VULGAR}]"
    rf"|(?<=[-+=:\s${{(])\\pi(?![A-Za-z])|(?<!\w)π(?!\w)"
)
LETTER = "A-Za-zÀ-ɏͰ-ϿЀ-ӿ"
IDENTIFIER = re.compile(
    rf"(?:[{LETTER}]|[{LETTER}0-9]_|[{LETTER}]-|(?<![{LETTER}])[{LETTER}]\s?\*\*|[{LETTER}]\s?\^\{{?-?|\\_"
    rf"|\)\^\{{?-?)\Z"
)
REST = re.compile(rf"[{LETTER}\w]*")
TOGETHER = re.compile(r"\\[A-Za-z]+(?:\s*\{[^{}]{0,100}\}){0,2}|(?:[:_/'.,~^*-]?\w)*")
CURRENCY = r"(?:US\$|\\\$|[$€£¥₹₩₽₺]|\\pounds|\\euro)"
CURRENCY_CODE = re.compile(r"(?<!\w)(?:Rp|RM|R\$|Rs|kr|CHF|Fr|USD|EUR|GBP|RMB|CNY|INR|IDR|NT\$|HK\$)\.?$")
"""Letters directly before an amount of money."""
AGAIN_IN_DIGITS = re.compile(r"[\s*_`]*\([^\w)]{0,3}\d")
"""What follows a number in words that stands in digits as well: `twelve (12)`."""
BEFORE = re.compile(rf"(?P<sign>[-+])?{CURRENCY}?[ ]?(?P<inner>[-+])?\Z|(?P<bare>[-+])\Z")
MAY_SIGN = re.compile(r"(?:^|[\s(\[{=:,$×*/·|~>≈<\"'`_]|[^\x00-\u058f])\Z")
SPACED_SIGN = re.compile(r"[=≈:][ ]*(?P<sign>[-+])[ ]+$")
DATE = re.compile(
    r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4}|\d{4}年\d{1,2}月\d{1,2}日?"
    r"|\d{1,2}月\d{1,2}日)(?![\d])"
)
VARIABLE = re.compile(
    rf"(?:(?<![{LETTER}\\])[{LETTER}]|[)\]}}]|\d[{LETTER}]|[{LETTER}](?:\^\{{?-?\d+\}}?"
    rf"|[²³]))\s*(?:[-+*/^×·<>≤≥≠]|\*\*|\\[lg]eq?|\\pm)\s*$"
)
BOUND = re.compile(r"(?:[<≤≥≠±]|(?<![-=])>|[≤≥≠±]|\\[lg]eq?|\\pm|\\neq?|\bbetween|\bzwischen|\bentre)\s*$")
THAN = re.compile(
    r"\b(?:(?:fewer|less|more|greater|larger|bigger|smaller|higher|lower)\s+than|(?:weniger|mehr|kleiner|größer)\s+als"
    r"|(?:moins|plus)\s+de|(?:menos|más|mais)\s+(?:de|do\s+que|que)|(?:meno|più)\s+di|(?:minder|meer)\s+dan"
    r"|(?:mindre|färre|mer|fler)\s+än|(?:mniej|więcej)\s+niż|(?:меньше|больше|менее|более)(?:\s+чем)?)\s*$",
    re.IGNORECASE,
)
"""What stands before a number that the result is not, only below or above it."""
NEGATES = re.compile(
    r"\b(?:no|not|cannot|never|nicht|kein\w{0,2}|pas|não|non|niet|geen|inte|nie|не)\b|n't\b", re.IGNORECASE
)
"""With `no more than` and `cannot fit more than` the number itself is meant."""
NOT = re.compile(
    r"(?:\bnot|n't|\bnicht|\bkein\w{0,2}|\bpas|\bno(?:\s+(?:es|é))?|\bnão(?:\s+é)?|\bnon(?:\s+è)?|\bне|\bnie"
    r"|\bniet|不是|而不是|\brather\s+than|\binstead\s+of|\banstatt|\bstatt|\bplutôt\s+que|\ben\s+(?:vez|lugar)\s+de)"
    rf"\s*(?:just\s+|only\s+|equal\s+to\s+|be\s+)?{CURRENCY}?\s*$",
    re.IGNORECASE,
)
NOT_AFTER = re.compile(r"[\s*_`$]*(?:ではな|じゃな|[가-힣]{0,2}?[이가은는]?\s*아[니닌닙닐]|değil)")
"""What follows a number that is denied."""
EQUAL_LATER = re.compile(r"^[^\n;]{0,60}=[\s$*]*$")
OPERATOR = re.compile(r"^[^.;=\n]{0,40}\s[+×÷*]\s*[$(]*$")
"""Words between two numbers that end in a sign: `48 clips (in April) + 24`."""
LABEL = re.compile(
    r"(?:\b(?:step|part|question|problem|section|chapter|task|case|example|method|option|approach|phase|stage"
    r"|solution|page"
    r"|figure|table|equation|eq|item|line|rule|theorem|schritt|paso|étape|etape|passo|шаг|krok|stap"
    r"|jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
    r"|(?:in|on|at|for|of|from|after|before)\ (?:the\ )?(?:game|round|day|week|month|year|room|level|grade"
    r"|class|lap|quarter|season|part|chapter))s?\.?[ \t]*\#?|\#"
    r"|第|步骤)\Z",
    re.IGNORECASE,
)
PERCENT = re.compile(
    r"\s*\\?%|\s*(?:percent|per\s+cent|percentage|prozent|pour\s+cent|por\s+ciento|por\s+cento|per\s+cento"
    r"|процент\w*|procent|パーセント)",
    re.IGNORECASE,
)
SCALES = {
    "hundred": 2, "thousand": 3, "million": 6, "millions": 6, "billion": 9, "billions": 9, "trillion": 12, "mn":
    6, "bn": 9, "tausend": 3, "millionen": 6, "mio": 6, "milliarden": 9, "milliarde": 9, "mrd": 9, "mil": 3,
    "mille": 3, "millón": 6, "millones": 6, "milhão": 6, "milhões": 6, "milioni": 6, "milione": 6, "miliardi":
    9, "тысяч": 3, "тысячи": 3, "миллион": 6, "миллиона": 6, "миллионов": 6, "миллиард": 9, "миллиардов": 9,
    "lakh": 5, "lakhs": 5, "crore": 7, "crores": 7, "k": 3, "百": 2, "千": 3, "万": 4, "萬": 4, "亿": 8, "億": 8, "만":
    4, "억": 8, "천": 3,
}  # fmt: skip
_WORDS = sorted((name for name in SCALES if name != "k" and name[0].isascii()), key=len, reverse=True)
SCALE = re.compile(
    rf"\s*-?(?:({'|'.join(_WORDS)}"
    r"|millón|milhão|milhões|тысячи|тысяч|миллионов|миллиона|миллион|миллиардов|миллиард)(?![\w])"
    r"|([百千万萬亿億만억천])"
    r"|(k)(?!\w))",
    re.IGNORECASE,
)
THOUSANDS = re.compile(r"([1-9])[千천]")
DOZEN = re.compile(r"\s*dozen(?!\w)", re.IGNORECASE)
UNITS = frozenset(
    [
        "m", "s", "g", "h", "l", "t", "d", "a", "w", "v", "n", "j", "k", "c", "b", "px", "pt", "°c", "°f", "°k",
        "km", "cm", "mm", "nm", "µm", "μm", "um", "kg", "mg", "lb", "lbs", "oz", "ft", "in", "yd", "mi", "ms",
        "ns", "µs", "min", "mins", "hr", "hrs", "sec", "secs", "hz", "khz", "mhz", "ghz", "kw", "mw", "gw",
        "wh", "kwh", "mah", "kj", "kcal", "cal", "ev", "pa", "kpa", "mpa", "mol", "ml", "dl", "cl", "ha", "sq",
        "cu", "mph", "kph", "kmh", "rpm", "usd", "eur", "gbp", "jpy", "cny", "inr", "chf", "kb", "mb", "gb",
        "tb", "ohm", "ω", "kω", "rad", "sr", "lm", "lx", "bq", "gy", "sv", "db", "th", "st", "nd", "rd", "x%",
        "kn", "°"
    ]
)  # fmt: skip
WORD_AFTER = re.compile(rf"\\?([{LETTER}°µμΩ]+)")
TIGHT = re.compile(r"(?:[:_/'~-]|\.\.?|,)\d|_\{?\d|\s*(?:±|\\pm|\+/-|\+-\s)|(?:分之|又)\d|\^|\*\*[\w({\\]")
OPERATION = re.compile(
    r"\s*(?:×|·|\\times|\\cdot)\s*[A-Za-z(\\]|\s+[*+]\s+[A-Za-z(\\]|\s*\\(?:log|ln|sin|cos|tan|exp|infty|cdot)"
    r"|\s*(?:[<>≤≥≠]|\\[lg]eq?(?![A-Za-z]))\s*[A-Za-z\\]"
)
EQUAL = re.compile(
    rf"^[\s{LETTER}°µμΩ²³\"'$)\]}}*_`^/\\]{{0,40}}?\s*(?:=|⇒|→|\\Rightarrow|\\equiv|≡)[\s$]*(?:[{LETTER}]\s*=\s*)?$"
)
NEARLY = re.compile(
    rf"^[\s{LETTER}°\"'$)\]}}*_`]{{0,30}}?\s*(?:≈|≃|≅|~|\\approx|\\simeq|\(?or\s+about|\(?or\s+approximately"
    rf"|\(?approximately|\(?about|,?\s*which\s+is\s+(?:about|approximately|roughly))[\s$(]*$"
)
JOINED = re.compile(
    rf"^[\s$)\]}}*_`]*(?:[{LETTER}°%]++[\s$.]*+){{0,3}},?\s*[\"'$(]*(?:\b(?:and|or|to|und|oder|bis|y|e|o|ou|et|à|и"
    rf"|или|до|en|och|eller|i|lub|ve|veya)\b"
    rf"|[&–-]|和|或|到|至|与|と|または|および|또는|와)\s*[$*_`(]*(?:[{LETTER}]\s*=\s*)?$",
    re.IGNORECASE,
)
LISTED = re.compile(r"^[\s$*_`]*[,;]\s*[$*_`]*(?:[A-Za-z]\s*=\s*)?$")
PARTS = re.compile(
    r"^\s*(?:hours?|hrs?|h|minutes?|mins?|feet|foot|ft|pounds?|lbs?|stone|years?|months?|weeks?|days?|dollars?"
    r"|euros?|degrees?"
    r"|stunden?|minuten?|heures?|horas?|minutos?|часов|часа|km|m|kg|°|小时|时|分|米|元)\s*,?\s*$",
    re.IGNORECASE,
)
ENDS_LIST = re.compile(r"\s*[$*_`]*\s*(?:[.;!?)\]}]|$|,\s*\S?\d)")


UNIT_TEXT = re.compile(
    rf"\s*+(?:(?:per|/|of|in|·|\\cdot"
    rf"|\*)?\s*+[{LETTER}°µμΩ²³一-鿿ぁ-ヿ가-힣]++\.?(?:\s*\^\s*\{{?-?\d\}}?)?[²³]?[\s/·]*+){{0,4}}{CURRENCY}?\s*+[.!]?\s*+",
)

NEGATIVE = re.compile(
    r"(?<!\d )(?:\b(?:negative|minus|moins|menos|meno|минус)\s*|(?:负|負|マイナス\s?|마이너스\s?))$", re.IGNORECASE
)
OPERATION_WORD = re.compile(
    r"^(?:\s+:|\s*(?:plus|minus|times|fois|veces|vezes|volte|keer|gånger|razy|kali|mod(?:ulo)?"
    r"|divided\s+by|multiplied\s+by|over|r|remainder|choose|out\s+of|in|moins|mal))\s*[$(]*$",
    re.IGNORECASE,
)
"""Words between two numbers that make one of them: `7 mod 3`, `1 in 6`."""
TIME = re.compile(
    r"\s*(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|jahre\w*|tage\w*|stunden?|ans?|jours?"
    r"|heures?|años|días|horas|anos|dias|anni"
    r"|giorni|ore|jaar|dagen|uur)(?!\w)",
    re.IGNORECASE,
)
SHARE_OF = re.compile(r"^\s*(?:of|von|de|di|из)\s*$", re.IGNORECASE)
UP_TO = re.compile(r"^\s*(?:to|bis|à|a|до)\b", re.IGNORECASE)
GROUP = re.compile(r"[^()\n]{1,60}\)\s*(?:[-+*/^×·÷]|\*\*|\\(?:times|cdot|div))|[^{}]{0,40}\\over(?![A-Za-z])")
"""A bracket that belongs to an expression: `3 + 4) * 2`."""
BOLD = re.compile(r"(?<![\w*)\]}])\*\*(?=[^\s*])([^*\n]{1,200}?)(?<=\S)\*\*(?!\*)")
"""Text that is bold in Markdown; `2**3` is none."""
NUMBERED = re.compile(r"^[ \t#*_>`]*(\d{1,4})[.):]", re.MULTILINE)
"""A line that begins with its number."""
ORDINAL = re.compile(
    r"(?:st|nd|rd|th|er|ère|ème|e|º|ª|-?(?:й|я|е|го|му|ая|ый))(?![\w/])|\s?(?:番目|位|等|번째|위(?!원)|वां|वीं|वें)"
    r"|\s+(?:(?!in\s)\w+\s+)?(?:decimals?|decimal\ places?|d\.\s?p|s\.\s?f|sig(?:nificant|\.)?\ (?:figures?|figs?"
    r"|digits?)|nachkommastellen"
    r"|dezimalstellen|décimales?|decimales|casas\ decimais|decimali|decimalen|decimaler|знак\w*\ после)(?!\w)",
    re.IGNORECASE,
)
"""What follows a number that says a place in an order, or how many digits were kept."""
STRUCK = re.compile(r"~~[^~\n]{1,200}~~")
"""Text that is struck through in Markdown."""
