"""The words around a single letter, which tell an option from an article, a pronoun or the name of something else."""

from __future__ import annotations

import re

_ANY_CASE = re.IGNORECASE
LATER_WORD = re.compile(r"[ ]?[a-zà-ÿ']")
LETTER_OF = re.compile(
    r"""(?:\b(?:vitamin|hepatitis|influenza|appendix|fig(?:ure|\.)?|table|plan|(?<!other\ )types?|group|section|point
      |grade|team|class|exhibit|chapter
    |series|phase|stage|factor|protein|gene|angle|vertex|side|vector|matrix|event|set|box|city|company|person|node
      |player|triangle|variable|column|row
    |sample|compound|particle|circle|let|angle\ at|point\ at|segment|Punkt|Gruppe|Klasse|Typ|Vitamin|vitamine|punto
      |grupo|(?:got|gets?|received|is|was|as|earn(?:ed|s)?|with)\ an?|N/)\s+|\bN/|\b[A-Z](?:-|\s+(?:to|through
      |bis)\s+))$""",
    _ANY_CASE | re.VERBOSE,
)
"""What stands before a letter that names something else: `vitamin C`, `let A be`."""
LETTER_VERB = re.compile(
    r"""\s+(?:is|was|are|because|since|as|for|and|or|but|would|will|can|could|must|should|fails?|works?|seems?|says?
    |states?|matches|fits|has|does|gives|describes|means|not|too|rather|instead|over|due|given|which|it|vs|beats?|wins
      |remains?|alone|looks?|,|ist|est|es|é|è|weil|porque|car|perché)\b""",
    re.VERBOSE,
)
"""What follows a letter that is an option, and no article."""
SUFFIX = re.compile(r"'(?:[\s.]|$|[dt][ıiuü]r\b|y[ae]\b|[ıiuü]n\b)")
"""What may follow a letter after an apostrophe: the end, or a Turkish suffix."""
LETTER_AFTER = re.compile(
    r"\s+(?:and|as\s+well\s+as|or|und|oder|et|ou|y|o|e|i|og|och|en|ve|và|dan|ja|és|a|și|şi|и|и?ли|mais|mas|ma|sino"
    r"|sondern)\s+[\"'(\[*_`]*[A-Z](?![\w'])"
)
"""Another letter that is joined to the one before it: `A und C`."""
PRONOUN_VERB = re.compile(r"\s+(?:is|because|since|fits|matches|but\s+not)\b")
ENDS_OPTION = re.compile(
    r"""["')\]*_`]*(?:\s*$|\s*[.,:;!?\n(]|\s+(?:-|because|since|as|weil|porque|car|perché|and|or)\s)""", re.VERBOSE
)
