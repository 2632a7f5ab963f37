"""Where a text names the options of a task: by their words, their letters, their signs or their number in the list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tierwise.verifiers import option_letters as letters
from tierwise.verifiers.effort import spend
from tierwise.verifiers.marks import MOST
from tierwise.verifiers.plain import plain, straight, without_layout

_ENDS = " \t\n.,;:!?\"'`*_~()[]{}<>$|#-·\\"
_AROUND = " \t\n.,;:!?\"'`*_~()[]{}|"
_NO_LETTER_BEFORE = r"(?<![A-Za-zÀ-ɏͰ-ϿЀ-ӿ0-9])(?<!non-)"
_NO_LETTER_AFTER = r"(?![A-Za-zÀ-ɏͰ-ϿЀ-ӿ0-9])"
_LABELLED = re.compile(r"^\s*[(\[]?([A-Za-z]|\d{1,2})\s*[).:\]-]\s+(\S.*)$", re.DOTALL)
_CIRCLED = {
    code + place: f"({chr(65 + place)})"
    for code in (0x24B6, 0x24D0, 0x249C, 0x1F110, 0x1F130, 0x1F150, 0x1F170)
    for place in range(26)
} | {
    code + place: f"({place + 1})" for code, most in ((0x2460, 20), (0x2474, 20), (0x2776, 10)) for place in range(most)
}
_ALIKE = str.maketrans("АВЕКМНОРСТХІЈΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTXIJABEZHIKMNOPTYX")
_ALIKE_ALONE = re.compile(r"(?<!\w)[АВЕКМНОРСТХІЈΑΒΕΖΗΙΚΜΝΟΡΤΥΧ](?=\s*(?:[).,:;!?*\]}\"']|$|\n|-))")
_ORDINALS = (
    "first|erste[rns]?|première?|primer[oa]?|primeir[oa]|prim[oa]|перв[а-я]+",
    "second|zweite[rns]?|deuxième|second[oea]|segund[oa]|втор[а-я]+",
    "third|dritte[rns]?|troisième|tercer[oa]?|terceir[oa]|terz[oa]|трет[а-я]+",
    "fourth|vierte[rns]?|quatrième|cuart[oa]|quart[oa]|четв[её]рт[а-я]+",
    "fifth|fünfte[rns]?|cinquième|quint[oa]|пят[а-я]+",
)
_LAST = "last|final|letzte[rns]?|dernière?|últim[oa]|ultim[oa]|последн[а-я]+"
_LISTED = (
    r"(?:options?|choice|alternative|statement|one|Option|Antwort|Aussage|Möglichkeit|réponse|proposition|opción"
    r"|respuesta"
    r"|opção|alternativa|opzione|risposta|вариант[а-я]*|ответ[а-я]*)"
)
_ORDINAL = re.compile(
    "|".join(rf"(?P<n{n}>\b(?:{word})\s+{_LISTED}\b)" for n, word in enumerate(_ORDINALS))
    + rf"|(?P<last>\b(?:{_LAST})\s+{_LISTED}\b)"
    + r"|\b(?:option|choice|number|Option|opción|opção|opzione|вариант)\s+(?:n(?:o|r|úmero"
    r"|umber)?\.?\s*)?(?P<number>[1-9]\d?)\b"
    + r"|第\s*(?P<script>[1-9一二三四五])\s*(?:个|個|项|項|选项)"
    + r"|(?<!\d)(?P<counted>[1-9])\s*(?:番(?:目)?|번)",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"[ \t]{9,}")
"""Blanks that say no more than eight, but take much longer to match."""
_NAMED_STEPS = 2
_ARTICLE = re.compile(r"^(?:an?|the|eine?|der|die|das|une?|le|la|les|el|los|las|una?|uma?|il|lo|gli)\s+", re.IGNORECASE)
_MINE = re.compile(r"\b(?:my|his|her|their|our|mein\w*|mon|ma|mi|meu|minha|mio|мой)\s+$", re.IGNORECASE)

_PARTICLE = "です|だ|が|は|を|と|の|で|입니다|이다|이|가|는|은|를|을|와|과|번|的|选|項|项|错|对|正|不|是"
"""What may follow a letter of another script without a blank."""

CONFLICT = -1
"""An answer names one option by its letter and another by its words: `B) Rome`, where B is London."""


@dataclass(frozen=True, slots=True)
class Named:
    """An option that a text names: its number, and where."""

    option: int
    start: int
    end: int
    by_letter: bool | None = False
    """Whether it is named by its letter; None by its letter and its words."""


def clean(text: str) -> str:
    """A text in the one way of writing in which options are looked for."""
    return straight(without_layout(plain(text.translate(_CIRCLED))))


class Names:
    """How the options of one task are named.

    Single letters are matched in upper case, other options in any case; both as whole words, the longest first. Options
    that are texts may be named by their letter, in their order: the second is `B`, unless they bring labels of their
    own (`B) Paris`).
    """

    def __init__(self, options: Sequence[str]) -> None:
        self.options = tuple(options)
        self.by_text: dict[str, int] = {}
        self.letters: dict[str, int] = {}
        texts: list[list[str]] = []
        labels = [_LABELLED.match(option) for option in options]
        own = all(labels) and len({label[1].upper() for label in labels if label}) == len(options)
        for place, option in enumerate(options):
            label = labels[place] if own else None
            texts.append([option] if label is None else [option, label[2]])
            if label is not None:
                self.letters[label[1].upper()] = place
        if not own and len(options) <= 26 and all(len(option.strip()) > 1 for option in options):
            self.letters = {chr(ord("A") + place): place for place in range(len(options))}
        for place, names in enumerate(texts):
            for name in list(names):
                self.by_text.setdefault(_bare(name), place)
        for place, names in enumerate(texts):
            short = _ARTICLE.sub("", clean(names[-1]).strip())
            if len(short) > 2 and self.by_text.setdefault(_bare(short), place) == place:
                names.append(short)
        self.is_letters = all(len(_bare(option)) == 1 for option in options)
        self._is_latin = self.is_letters and all(option.strip().isascii() for option in options)
        self._is_counted = [_bare(option) for option in options] == [
            str(n + 1) for n in range(len(options))
        ] or not any(sign.isdigit() for option in options for sign in _bare(option)[:2])
        self._words = _pattern([_folded(clean(name)) for names in texts for name in names])
        shown = [*self.letters, *((_bare(option).upper() for option in options) if self.is_letters else ())]
        alone = "|".join(re.escape(name) for name in shown) or "(?!)"
        self._label = re.compile(
            rf"[\s(\[*_\"'`#>]{{0,12}}(?:(?:option|choice|answer|letter|opción|opção|letra|alternativa"
            rf"|antwort|réponse|respuesta|resposta|risposta|odpowiedź|svar|antwoord|jawaban|cevap|đáp\s+án|ответ|вариант"
            rf"|选项|選択肢)\s+)?[(\[*_\"'`]{{0,4}}({alone})(?=[)\].:,;*_\"`(-]|'(?![A-Za-z])|\s*$|\s*\n|\s+[-(:])",
            re.IGNORECASE,
        )
        own_letters = "|".join(re.escape(name) for name in self.letters) or "(?!)"
        self._in_prose = re.compile(
            rf"\b(?:[Oo]ption|[Cc]hoice|[Ll]etter|选项)\s*[(\"'*]*({own_letters})\b[)\"'*]*"
            rf"|[(\[]({own_letters})[)\]]|(?<![\w(])({own_letters})\)|(?:^|\n)[\s*_#>-]*({own_letters})[.:](?=[\s*])"
        )

    def read(self, text: str) -> str:
        """The text in the one way of writing; a letter of another script that looks like an option's is that one."""
        text = _BLANKS.sub(" " * 8, clean(text))
        return _ALIKE_ALONE.sub(lambda sign: sign[0].translate(_ALIKE), text) if self._is_latin else text

    def only(self, text: str) -> int | None:
        """The option that a short text is, by its words or its letter."""
        bare = _bare(text)
        if bare in self.by_text:
            return self.by_text[bare]
        if len(bare) <= 2 and bare.upper() in self.letters:
            return self.letters[bare.upper()]
        if self._is_counted and len(bare) == 1 and bare.isdecimal() and "(" in text:
            return int(bare) - 1 if 0 < int(bare) <= len(self.options) else None
        return None

    def run(self, text: str) -> frozenset[int] | None:
        """The letters of `ACD`, `A, C and D` or `A C D`."""
        bare = re.sub(
            r"\b(?:and|as\s+well\s+as|und|et|y|e|и|ve|và|en|i|och|og|dan|ja|és|a|și|şi|both|options?|&)\b|[和与と]|(?<=[A-Z])[와과]",
            " ",
            text,
        ).strip(_ENDS)
        letters = re.sub(r"[\s,;/&+()\[\].、\"'*-]+", "", bare)
        known = {
            **self.letters,
            **({option: place for place, option in enumerate(self.options)} if self.is_letters else {}),
        }
        if (
            letters
            and letters.isupper()
            and len(set(letters)) == len(letters)
            and all(sign in known for sign in letters)
        ):
            return frozenset(known[sign] for sign in letters)
        return None

    def at_start(self, text: str, *, strict: bool = False) -> int | None:
        """The option that a text begins with: `B`, `B. Paris`, `(b) Paris`, `Paris, because …`.

        Args:
            text: the text; only its beginning is read.
            strict: a letter counts only in upper case or in brackets.
        """
        label = self._label.match(text)
        if label is not None:
            letter = label[1]
            bracketed = text[label.end() : label.end() + 1] in ")]"
            if (
                letter.isupper()
                or not letter.isalpha()
                or bracketed
                or (not strict and text[label.end() :].strip(_ENDS) == "")
            ):
                place = self.letters.get(letter.upper(), -1)
                if place < 0:
                    place = self.by_text.get(letter.casefold(), -1)
                told = self._named_first(text[label.end() : label.end() + MOST])
                if place >= 0 and self.letters and told is not None and told != place:
                    return CONFLICT
                return place if place >= 0 else None
        first = next(iter(self.named(text[:MOST])), None)
        if (
            first is None
            or _ARTICLE.sub("", text[: first.start].lstrip(_ENDS)).strip(_ENDS)
            or not letters.ENDS_OPTION.match(text, first.end)
        ):
            return None
        return first.option

    def _named_first(self, text: str) -> int | None:
        found = next(iter(self._by_words(text)), None)
        return found.option if found is not None and not text[: found.start].strip(_ENDS) else None

    def named(self, text: str) -> list[Named]:
        """Every option that a text names, in order; a letter and the words beside it are one."""
        found = self._by_words(text)
        if self.letters:
            found += [
                Named(self.letters[next(filter(None, one.groups()))], one.start(), one.end(), by_letter=True)
                for one in self._in_prose.finditer(text)
            ]
        if self._is_counted and len(self.options) <= 9:
            found += self._counted(text)
        found.sort(key=lambda one: (one.start, -one.end))
        kept: list[Named] = []
        for one in found:
            if kept and one.start < kept[-1].end:
                continue
            between = text[kept[-1].end : one.start] if kept else None
            if between is not None and self.letters and len(between) <= 6 and self._is_beside(text, kept[-1], one):
                same = kept[-1].option == one.option
                kept[-1] = Named(one.option if same else CONFLICT, kept[-1].start, one.end, by_letter=None)
            else:
                kept.append(one)
        return kept

    def _is_beside(self, text: str, one: Named, two: Named) -> bool:
        """Whether two neighbours are a letter and its words: `(B) London`, `London (B)`."""
        between = text[one.end : two.start]
        if one.by_letter is None or one.by_letter == two.by_letter:
            return False
        if one.by_letter:
            return re.fullmatch(r"[)\].:*_\"'\s-]*", between) is not None and "\n" not in between
        return not between.strip(" *_\"'") and text[two.start] in "(["

    def _counted(self, text: str) -> list[Named]:
        """The options that are named by their number in the list: `the third option`, `option 3`."""
        found = []
        for one in _ORDINAL.finditer(text):
            if _MINE.search(text[max(0, one.start() - 12) : one.start()]):
                continue
            said = one["number"] or one["script"] or one["counted"]
            if said is not None:
                place = "一二三四五".find(said) if said in "一二三四五" else int(said) - 1
            elif one["last"] is not None:
                place = len(self.options) - 1
            else:
                place = next(n for n in range(len(_ORDINALS)) if one[f"n{n}"] is not None)
            if place < len(self.options):
                found.append(Named(place, one.start(), one.end()))
        return found

    def _by_words(self, text: str) -> list[Named]:
        folded = _folded(text)
        found = []
        for match in self._words.finditer(folded):
            spend(_NAMED_STEPS)
            option = self.by_text.get(_bare(match[0]))
            if option is None:
                continue
            if len(match[0]) == 1 and not self._is_letter(text, match.start(), match.end(), option):
                continue
            if match[0].isdigit() and re.search(
                r"(?:\bout\s+of|/)\s*$", folded[max(0, match.start() - 10) : match.start()]
            ):
                continue  # `3 out of 4`
            if (
                match[0] == "no"
                and not letters.ENDS_OPTION.match(text, match.end())
                and not re.search(r"(?:\bn?or\s+|/)$", folded[: match.start()][-5:])
            ):
                continue  # `no idea`, `no other`
            found.append(Named(option, match.start(), match.end()))
        return found

    def _is_letter(self, text: str, start: int, end: int, option: int) -> bool:
        """Whether a single letter is an option here, and no article, pronoun, preposition or initial."""
        sign = text[start]
        following = text[end : end + 24]
        if letters.LETTER_OF.search(text[max(0, start - 24) : start]) or re.match(
            r"\s*(?:=(?![=>])|[<>^]\s*\w)", following
        ):
            return False
        if "А" <= sign.upper() <= "Я":
            return sign.isupper() and not (
                sign in "АВИКОСУЯ"
                and re.match(r"\s+[а-яё]{2}", following)
                and not re.match(r"\s+(?:не|и|или|является|верн|неверн|подход|правильн)", following)
            )
        if not sign.isalpha() or not sign.isascii():
            return True
        enclosed = text[max(0, start - 1) : start] in tuple("([*_`\"'{") and text[end : end + 1] in tuple(")]*_`\"'}")
        if enclosed or text[end : end + 1] == ")":
            return True
        if sign.islower() and self.options[option].strip() == sign:
            return (
                sign not in "aeoy"
                or not letters.LATER_WORD.match(following)
                or letters.LETTER_VERB.match(following) is not None
            )
        if not sign.isupper():
            if not text[end:].strip(_ENDS):
                return (
                    not text[:start].strip(_ENDS)
                    or re.search(r"\b(?:it's|is|answer|option)[\s:=]*$", text[:start][-12:], re.IGNORECASE) is not None
                )
            return False
        if text[end : end + 1] in ("'", "-", "+", "#", "&"):
            return letters.SUFFIX.match(text, end) is not None or text[end : end + 2] == "- "
        if text[end : end + 1] == "." and re.match(r"\.\s?[A-Z]\.", text[end : end + 4]):
            return False  # initials
        if not re.match(r"\s*\w", following) or following[0] > "\u2e7f":
            return True
        if sign in "AO" and letters.LETTER_AFTER.match(following):
            return True
        if sign == "I":
            return letters.PRONOUN_VERB.match(following) is not None
        if sign == "A" and re.match(r"\s+(?:is|was)\s+an?\s", following):
            return False  # `A is a vowel`
        if sign in "AO" and letters.LATER_WORD.match(following):
            begins = re.search(r"(?:^|[.!?\n:])[\s\"'(*_]*$", text[max(0, start - 8) : start]) is not None
            article = re.match(r"\s+(?:as|for|e|es|é|car|must|can|could|should|would|will|has|does)\b", following)
            return letters.LETTER_VERB.match(following) is not None and not (
                begins and article and sign == "A" and self._is_article(following)
            )
        return True

    @staticmethod
    def _is_article(following: str) -> bool:
        return re.match(r"\s+(?:for|e|es|é|car|must)\b", following) is not None


def _folded(text: str) -> str:
    """The text in lower case, of the same length as before."""
    return "".join(low if len(low := sign.lower()) == 1 else sign for sign in text)


def _bare(text: str) -> str:
    """An option without the signs around it, in one case."""
    text = " ".join(clean(text).split())
    stripped = text.strip(_AROUND).lstrip("# ").strip(_AROUND)
    if len(stripped) > 2 and stripped[0] == stripped[-1] == "$":
        stripped = stripped[1:-1].strip(_AROUND)
    return (stripped or text).casefold()


def _pattern(names: list[str]) -> re.Pattern[str]:
    """One alternative per option, the longest first, as whole words; a neighbour of another script is none of the
    word.
    """
    found = []
    for name in sorted({name for name in names if name.strip()}, key=len, reverse=True):
        bare = name.strip("()[] ") if len(name.strip("()[] ")) == 1 else name
        word = r"\s+".join(re.escape(part) for part in bare.split())
        before = r"(?<![\d.,-])(?<!\w)" if bare[0].isdigit() else _NO_LETTER_BEFORE if bare[0].isalnum() else ""
        after = r"(?![.,]?\d)(?![\w%])" if bare[-1].isdigit() else _NO_LETTER_AFTER if bare[-1].isalnum() else ""
        if len(bare) == 1 and bare.isalnum() and not bare.isascii() and bare.lower() == bare.upper():
            before, after = r"(?<!\w)", rf"(?=\W|$|{_PARTICLE})"
        found.append(f"{before}{word}{after}")
    return re.compile("|".join(found))
