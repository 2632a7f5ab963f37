"""The words around options: denials, hedges, alternatives, and what says that an option is chosen."""

from __future__ import annotations

import re

from tierwise.verifiers.marks import MOST

_CLOSING = r"""[ \t"')\]*_`]*"""
_OPENING = r"""[\s"'(\[*_`]*"""
_VERBOSE = re.IGNORECASE | re.VERBOSE

DENIED_BEFORE = re.compile(
    r"""(?:\bnot|n't|\bcannot|\bneither|\bnor|\bnever|\banything\ but|\bfar\ from
    |\bdoubt|\bno\ longer|\brul(?:e[sd]?|ing)\ out|\beliminat(?:e[sd]?|ing)
    |\bexclud(?:e[sd]?|ing)|\bexcept(?:\ for)?|\bother\ than|\brather\ than|\binstead\ of|\bunlike|\bas\ opposed\ to
    |\breject(?:s|ed|ing)?|\bdiscard(?:s|ed|ing)?|\bdismiss(?:es|ed|ing)?|\bagainst|\bwithout|\bavoid(?:s|ed|ing)?
    |(?<!not\ )(?<!n't\ )\b(?:wrong|incorrect|a\ mistake|misleading)\ to
    |\bdiffers\ from
    |\bnicht|\bkeine?r?s?|\bweder|\banstatt|\bstatt|\bpas|\bni|\bno\ es|\bno\ son|\bno\ puede\ ser|\bn[ãa]o(?:\ [ée])?
    |\bnon(?:\ [eè])?|\bне|\bnie|\bniet|\bdeğil|不是|不选|不選|排除|并非|而非)
    (?:\ (?:it|it's|that|think|believe|be|is|are|just|only|simply|really|the|an?
    |choose|pick|select|say|go\ (?:with|for)|answer|conclude|recommend|call|options?|choice|answer|letter|die
    |das|der|la|le|el|l'|opción|opção
    |entre|both|either|correct|right|true))*[\s"'(\[:*_`]*$""",
    _VERBOSE,
)
"""What ends just before an option that is denied."""

DENIED_AFTER = re.compile(
    rf"""^{_CLOSING}[.):-]?\s*(?:wrong|incorrect|false)\b
    |^{_CLOSING}\s*(?:[✗✘❌]|değil\b
      |,?\s*[^.,;\n]{{0,40}},?\ but\ (?:(?:it\ is\ |it's\ |is\ )?(?:wrong|incorrect|false)|(?:it\ )?is\ not)\b)
    |^{_CLOSING}(?:\?\s*(?:no|nope|nein|non|нет)\b|неверн|неправильн|falsch\b|faux\b)|^[)\]]\s*(?:no|nein|non)\b
    |^{_CLOSING}(?:\ ?\(?[^.,;:()\n]{{0,40}}\)?\ )?,?\s*
    (?:(?:is|are|was|seems?|looks?|would\ be|can|could|does|do|must|has|ist|est|es|é|è)
      \ (?:the\ |an?\ |all\ |both\ |also\ |clearly\ |definitely\ |simply\ |just\ |therefore\ |obviously\ |too\ )*
      (?:(?:not\b|n't)(?!\ (?:wrong|incorrect|false))
        |wrong|incorrect|false|too\b|out\b|ruled\ out|eliminated|excluded|rejected|invalid|impossible|unlikely
        |irrelevant|tempting|falsch|nicht|incorrect[oae]?|fals[oaex]|faux|errad[oa]|sbagliat[oa])
    |(?:(?:isn't|aren't|wasn't)(?!\ (?:wrong|incorrect|false))
      |can't|cannot|doesn't|don't|won't|couldn't|wouldn't|fails?\b|contradicts?\b|violates?\b
      |n'est\ pas|no\ es|não\ é|non\ è)
    |не\ |错|錯|不对|不對|不正确|不正確|错误|は(?:間違い|誤り|不正解)|[은는]\ 틀|[가이]\ 아[니닌]
    |(?:では|じゃ)な)""",
    _VERBOSE,
)
"""What follows an option that is denied."""

NO = frozenset(["no", "nein", "non", "não", "nee", "nej", "nie", "нет", "hayır", "yes", "sí", "oui", "ja", "sim", "да"])
EXCEPT = re.compile(rf"(?:\b(?:except(?:\ for)?|other\ than|but)\ |除了?){_OPENING}$", re.IGNORECASE)

HEDGED_BEFORE = re.compile(
    r"""\b(?:could|might|may|maybe|perhaps|possibly|tempt(?:ed|ing)|leaning|lean|first\ thought|initially|at\ first
    |considered|consider|suppose|if|assume|assuming|vielleicht|könnte|peut-être|pourrait|quizás?|tal\ vez|podría|talvez
    |poderia|forse|potrebbe|возможно|может)\b[^.!?;\n]{0,60}$
    |(?:可能|也许|或许|かもしれ)[^。.!?\n]{0,10}$""",
    _VERBOSE,
)
CONCEDED_BEFORE = re.compile(
    r"\b(?:while|although|though|whereas|obwohl|bien que|aunque|хотя)\b[^.!?;,\n]{0,40}$|虽然[^,。\n]{0,10}$",
    re.IGNORECASE,
)
"""What grants something to an option that is not chosen."""
HEDGED_AFTER = re.compile(
    rf"""^{_CLOSING}(?:かもしれ|일\s*수도|seems?\ (?:tempting|plausible|possible)
    |(?:might|may|could)\ (?:be|seem|work|look)
    |(?:seems?|looks?|appears?|is)\ [^.,;:\n]{{0,30}}\bat\ first\b)""",
    _VERBOSE,
)
BUT = re.compile(
    r"\b(?:but|however|though|yet|rather|actually|sondern|mais|sino|pero|mas|ma|но)\b|而是|但", re.IGNORECASE
)

OR = re.compile(
    rf"""^{_CLOSING}(?:,?\s*(?:\bor\b|\bou\b|\boder\b|\bo\b|\bили\b|\bof\b|或者?|または|또는|/)
    |,(?!\s*(?:because|since|as|which|not))){_OPENING}(?:option\s+|either\s+)?$""",
    _VERBOSE,
)
AND = re.compile(
    rf"""^{_CLOSING}(?:,?\s*(?:\band\b|\bund\b|\bet\b|\by\b|\be\b|\bи\b|\bve\b|\bvà\b|\ben\b|\bi\b|\boch\b|\bog\b|\bdan\b|&|和|与|と|및|와|과|\+)|[,;、/])?{_OPENING}
    (?:option\s+)?(?:[(\[]?[A-Z][).\]]\s*)?$""",
    _VERBOSE,
)
NONE = re.compile(
    r"""^[\s"'(*_`]*(?:none|neither|nothing|unknown|unclear|no\s+(?:option|answer|correct)|keine?\b|aucune?\b
    |ningun[oa]\b|nessun[oa]\b|nenhum[a]?\b|都不)""",
    _VERBOSE,
)
"""How a text begins that chooses nothing."""

CHOSEN = re.compile(
    rf"""(?:\b(?:I|we|so|thus|hence)\s+(?:would\s+|will\s+|'d\s+|'ll\s+|therefore\s+)?
      (?:choose|pick|select|go\ with|chose|opt\ for)
    |\b(?:I|we)(?:\s+would|'d|\s+will|'ll)\s+(?:say|answer|guess)\b(?!\s+that)
    |\b(?:choose|select|pick|selecting|choosing|going\ with|go\ with)\b
      (?=\s+(?:option\s+|choice\s+|answer\s+)?["'(\[*_`]*\S{{1,40}})
    |\b(?:correct|right|best|true|appropriate|suitable|likely|my|final|intended|proper)\s+
      (?:one|option|choice|letter|statement|alternative|pick|selection|guess|label|category|classification)\s*
      (?:[^\s.,:;!?=]{{1,20}}\s+){{0,5}}?(?:is|are|would\ be|must\ be|:|=)
    |\b(?:choice|verdict|label|classification|conclusion|decision)\s*(?:is|:|=)
    |\brichtige?\s+(?:Option|Wahl|Lösung|Aussage)\s+ist
    |\b(?:opci[óo]n|opção|opzione|option)\s+(?:correcta|correta|corretta|correcte)\s+(?:es|é|è|est)
    |\bправильный\s+(?:вариант|ответ)\s*[:-]?)[\s:*_"'`>(\[]*(?=([^\n]{{1,{MOST}}}))""",
    _VERBOSE,
)
"""What says that an option is chosen, with what follows."""

IS_RIGHT = re.compile(
    rf"""^{_CLOSING}(?:is|are|must\ be|ist|est|es|é|è|это)\s+
      (?:therefore\ |thus\ |clearly\ |indeed\ |definitely\ |both\ |the\ |die\ |der\ |la\ |le\ |el\ |a\ |o\ )*
      (?:only\ |most\ |one\ )?(?:(?!not\b|never\b|in|wrong\b|false\b)\w+\ )?
      (?:correct|right|answer|best|true|richtig|korrekt|correct[aoe]?s?|corret[ao]|giust[ao]|верн|правильн)
    |^{_CLOSING}[.):-]?\s*(?:(?:correct|right)\b|[✓✔✅])
    |^{_CLOSING}(?:\?\s*(?:yes|ja|oui|sí|да)\b|верн|правильн|richtig\b)|^[)\]]\s*(?:yes|ja|oui)\b
    |^{_CLOSING}(?:是正确|正确|が正しい|が正解|이\ 정답|가\ 정답)""",
    _VERBOSE,
)
"""What follows an option that is said to be right."""

IT_IS = re.compile(
    r"""(?:^|[.!?\n][ \t]*)(?:(?:so|thus|hence|therefore|clearly),?\s+)?
    (?:it's|it\ is|it\ must\ be|c'est|es\ ist|это)\s+""",
    _VERBOSE,
)
"""A sentence that says nothing but which option it is."""

NOT_CHOSEN = re.compile(
    r"(?:\bnot|n't|\bnever|\bcannot|\b(?:refuse|hesitate|wrong|incorrect|mistake|tempted|reluctant)\s+to|\bto\s+avoid)"
    r"\s+(?:[a-z]+\s+){0,2}$",
    re.IGNORECASE,
)
"""What stands before a verb of choice that is denied: `I would not choose A`."""
RETRACTED = re.compile(
    rf"""\b(?:actually|wait|no|correction|rather|sorry)\b[,.:;!]?\s+(?:it's|it\ is|it\ should\ be|I\ mean)\s+
    (?=([^\n]{{1,{MOST}}}))""",
    _VERBOSE,
)
"""What takes an answer back, with the new one."""

LINE = re.compile(
    r"^[ \t>*_#-]*[^\W\d_][\w ]{0,30}[*_]*[ \t]*:[ \t*_]*(\S[^\n]{0,200}?)[ \t.*_]*$",
    re.MULTILINE,
)
"""A line `Sentiment: positive`."""
BOLD = re.compile(r"(?<![*\w])(\*\*|__|\*|_)(?=[^\s*_])([^*\n]{1,200}?)(?<=[^\s])\1(?![*\w])")
LATER_WORD = re.compile(r"[ ]?[a-zà-ÿ']")
LETTER_VERB = re.compile(
    r"""\s+(?:is|was|are|because|since|as|for|and|or|but|would|will|can|could|must|should|fails?|works?|seems?|says?
    |states?|matches|fits|has|does|gives|describes|means|not|too|rather|instead|over|due|given|which|,|ist|est|es|é|è|weil|porque|car|perché)\b""",
    re.VERBOSE,
)
"""What follows a letter that is an option, and no article."""
SUFFIX = re.compile(r"'(?:[\s.]|$|[dt][ıiuü]r\b|y[ae]\b|[ıiuü]n\b)")
"""What may follow a letter after an apostrophe: the end, or a Turkish suffix."""
LETTER_AFTER = re.compile(
    r"\s+(?:and|or|und|oder|et|ou|y|o|e|i|og|och|en|ve|và|dan|и|и?ли|mais|mas|ma|sino|sondern)\s+[\"'(\[*_`]*[A-Z](?![\w'])"
)
"""Another letter that is joined to the one before it: `A und C`."""
PRONOUN_VERB = re.compile(r"\s+(?:is|because|since|as\b|and\b|or\b|but\s+not|fits|matches)\b")
ENDS_OPTION = re.compile(
    r"""["')\]*_`]*(?:\s*$|\s*[.,:;!?\n(]|\s+(?:-|because|since|as|weil|porque|car|perché)\s)""", re.VERBOSE
)
ENDS_ITEM = re.compile(r"""["')\]*_`]*\s*(?:$|[.,;)\n]|(?:and|or|und|oder|et|ou|y|o|e|и|или|和|或)\b)""", re.VERBOSE)
