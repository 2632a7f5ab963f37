"""The words around options: what says that one is right, wrong, only considered, or chosen. In some 25 languages.

Every pattern is searched in a window of bounded length beside an option, so a text takes time linear in its length.
"""

from __future__ import annotations

import re

_ANY_CASE = re.IGNORECASE
CLOSING = r"""[ \t"')\]*_`]*"""
OPENING = r"""[\s"'(\[*_`<]*"""

# ── right and wrong ──────────────────────────────────────────────────────

_WRONG = (
    r"\b(?:wrong|incorrect(?:ly)?|false|invalid|impossible|unlikely|implausible|irrelevant|eliminated|excluded|rejected"
    r"|ruled\ out|(?<!turns\ )(?<!turned\ )(?<!comes\ )out(?!\ of)|too|tempting|insufficient|unsupported|contradicted"
    r"|untrue|inaccurate|misleading"
    r"|(?:an?\ |the\ )?(?:\w+\ )?(?:traps?|distractors?|decoys?|mistakes?|red\ herrings?|misconceptions?))\b"
    r"|\b(?:falsch|unzutreffend|unmöglich|ausgeschlossen|faux|fausses?|incorrectes?|exclue?s?|éliminée?s?|erronée?s?"
    r"|incorrect[oa]s?|incorret[oa]s?|scorrett[oaie]|fals[oaei]s?|errad[oa]s?|errone[oaie]|erróne[oa]s?"
    r"|sbagliat[oaie]|errat[oaie]|equivocad[oa]s?|descartad[oa]s?|esclus[oaie]"
    r"|fout|onjuist|verkeerd|fel|forkert|feil|greșite?[ăa]?|incorecte?[ăa]?|hibás(?:ak)?|helytelen|téves"
    r"|yanlış(?:tır)?|hatalı|salah|keliru|sai|väär(?:in|ä|iä)?)\b"
    r"|\b(?:błędn|niepopraw|nieprawid|fałsz|špatn|nespr[áa]vn|неверн|неправильн|ошибочн|неподход|невірн|хибн"
    r"|λάθος|λανθασμέν)"
    r"|خاطئ|خطأ|ग़?लत|שגוי|错|錯|不对|不對|不正确|不正確|不符|不成立|不选|不選|間違|違[いうっ]|誤|不正解|不適|틀[리렸린]|오답|ผิด|ভুল"
)
_RIGHT = (
    r"\b(?:correct(?:ly)?|right|true|accurate|valid|best|(?:most\ )?(?:appropriate|plausible|suitable)"
    r"|(?:the|my|our)\ (?:\w+\ )?(?:answer|choice|pick|one\ that\ (?:fits|works|matches)|selection))\b"
    r"|\b(?:richtige?[nrs]?|korrekte?[nrs]?|zutreffend|stimm(?:t|en)|correcte?s?|justes?|vraie?s?|exacte?s?"
    r"|bonnes?|correct[oa]s?|verdader[oa]s?|ciert[oa]s?|corret[oa]s?|cert[oa]s?|verdadeir[oa]s?|corrett[oaie]"
    r"|giust[oaie]|esatt[oaie]|juiste?|goed|rätt|riktigt?|rigtige?|korrekta?|corecte?[ăa]?|helyes(?:ek)?|igaz"
    r"|doğru(?:dur)?|benar|tepat|betul|đúng|oike(?:in|a|at))\b"
    r"|\b(?:poprawn|prawidłow|prawdziw|správn|верн|правильн|подход|вірн|σωστ)"
    r"|صحيح|صواب|सही|נכו[ןנ]|正确|正確|(?<![针對反])对(?![比于应])|符合|正し[いく]|正解|適切|当てはま|맞[습는다아]|정답|옳|적절|ถูก|সঠিক"
)
_NOT = (
    r"(?:\b(?:not|cannot|never|neither|nor|hardly|isn't|aren't|wasn't|weren't|can't|don't|doesn't|didn't|won't|couldn't"
    r"|wouldn't|shouldn't|nicht|kein[er]?s?|ne|pas|no|não|non|niet|geen|inte|ikke|nie|není|nejsou|nu|nem|не|δεν|değil"
    r"|bukan|tidak|không|ei|eivät|eikä)\b|\bn'(?=est|y)|ليس|لا|غير|नहीं|不|没|没有|לא|ない|않|아니|아닙|ไม่)"
)
NEGATION = _NOT.replace("\\ ", " ")
POLAR = re.compile(rf"(?P<wrong>{_WRONG})|(?P<right>{_RIGHT})|(?P<no>{_NOT})", _ANY_CASE | re.VERBOSE)
"""Right, wrong, or a negation."""

NOT_AFTER = re.compile(
    r"\w{0,3}\s*(?:아니|아닙|않|지\s*않|ない|なく|nicht\b|niet\b|inte\b|ikke\b|とは(?:言|い)え|नहीं|değil)"
)
"""A negation that follows what it denies."""
_COPULA = (
    r"(?:is|are|was|were|be|been|seems?|looks?|appears?|must|should|would|can|could|may|might|to|has|have|ist|sind|est"
    r"|sont|es|son|é|são|è|sono|ser|zijn|är|er|jest|są|je|jsou|este|e|sunt|on|ovat|adalah|là|это|هو|هي|είναι|c'est|az|a"
    r"|also|all|both|the|an?|only|most|one|therefore|thus|indeed|clearly|definitely|simply|just|again|obviously|still"
    r"|so|very|probably|likely|actually|really|certainly|surely|quite|fully|die|der|das|la|le|les|el|los|las|il|un|una"
    r"|uma"
    r"|également|auch|beide|alle|aussi|también|ambas|também|anche|entrambe|aber|hingegen|however|though|then|answers?"
    r"|options?|choices?|statements?|ones?|self|itself|that|which|está|están|estão|sta|(?!hardly|scarcely|barely"
    r"|partly|partially)\w+ly)"
)
PREDICATE = re.compile(rf"^{CLOSING}[.):,|=>→-]*[\s*_`|(]*(?:{_COPULA}\s+)*(?={POLAR.pattern})", _ANY_CASE | re.VERBOSE)
"""What may stand between an option and what is said of it."""
SCRIPT_PREDICATE = re.compile(
    rf"^{CLOSING}(?:选?项|選?項|选项|번|番|は|が|も|은|는|이|가|都|均|是|则|則|才|も|では|とは|도|से|है|ही|हैं)*\s*"
    rf"(?=(?:{POLAR.pattern}))",
    _ANY_CASE | re.VERBOSE,
)
TICK = re.compile(r"[✓✔✅☑🗹]|\[[xX]\]|👍|🟢")
CROSS = re.compile(r"[✗✘❌❎✖×☒]|\[ ?\]|👎|🔴|☐")
TICK_AFTER = re.compile(
    rf"^{CLOSING}[.):|=→-]*[ \t*_`|(]*(?:[^\n|.;✓✔✅✗✘❌]{{0,40}}?[ \t|(:-])?"
    r"(?:(?P<yes>[✓✔✅☑]|👍|🟢)|(?P<no>[✗✘❌❎✖☒]|👎|🔴))"
)
TICK_BEFORE = re.compile(
    r"(?:^|\n|\|)[\s*_>|-]*(?:(?P<yes>[✓✔✅☑]|\[[xX✓]\]|👍|🟢)|(?P<no>[✗✘❌❎✖☒☐]|\[ ?\]|👎|🔴))[\s*_`|(]*$"
)
YES_AFTER = re.compile(
    rf"^{CLOSING}[.)]?\s*(?:[:|?=→-]+)[\s*_|]*(?:(?P<yes>yes|ja|oui|sí|sì|sim|да|tak|evet|是|はい|네)|(?P<no>no(?!t)|nein"
    rf"|non|não|nee|нет|nie|hayır|否|いいえ|아니))\b"
    rf"|^\s*[)\]]?\s*\(?(?:(?P<yes2>yes|ja|oui|sí|да)|(?P<no2>no|nein|non|нет))\b[)\s]*(?=[.,;()\n]|$)"
    rf"|^{CLOSING}[.)]?\s*[:|=→-]+\s*(?:(?P<yes3>T)|(?P<no3>F))(?=[\s.,;|]|$)",
    _ANY_CASE,
)
"""`B: yes`, `B? No.`, `| B | Yes |`."""

CHOSEN_BEFORE = re.compile(
    rf"""(?:
    \b(?:choose|chose|choosing|pick(?:ing|ed)?|select(?:ing|ed)?|go(?:ing)?\ (?:with|for)|opt(?:ing)?\ for
      |settle\ (?:on|for)
      |vote\ for|conclude|prefer|lean(?:ing)?\ (?:towards?|to)|supports?|points?\ (?:clearly\ )?(?:to|towards)
      |indicates?
      |corresponds?\ to|match(?:es)?|leav(?:es?|ing)(?:\ (?:us|me))?(?:\ with)?|left\ with|remain(?:s|ing)?(?:\ is)?
      |down\ to|conclusion|verdict|label|classif(?:y|ied)(?:\ (?:it|this))?\ as|i\.e\.|that\ is|namely
      |(?:so(?!\ (?:is|are|does|do|was)\b)|therefore|thus|hence|consequently|accordingly|finally|ultimately|only
      |definitely|clearly|must\ be|has\ to\ be|have\ to\ be|got(?:ta|\ to)\ be|(?:would|will|'d|'ll)\ (?:say|answer
      |guess|go)|guess))\b
    |=>|→|∴|⇒
    |\b(?:wähle|nehme|entscheide\ mich\ für|plädiere\ für|bleibt|verbleibt|also|daher|somit|folglich|nur
      |choisis|opte\ pour|retiens|reste|donc|s'agit\ de|seule?
      |elijo|escojo|selecciono|opto\ p[oe]r|me\ quedo\ con|queda|por\ (?:lo\ )?tanto|así\ que|solo|sólo
      |escolho|fico\ com|resta|sobra|portanto|logo|apenas|somente|scelgo|rimane|quindi|dunque|solo
      |kies|blijft|dus|alleen|väljer|vælger|velger|återstår|alltså|wybieram|zostaje|więc|zatem|tylko|volím|vybírám
      |zbývá|tedy|proto
      |выбираю|выберу|оста[её]тся|значит|поэтому|следовательно|итак|только|обираю|отже|лише|aleg|rămâne|deci
      |seçerim|memilih|pilih|jadi|hanya|chọn|vậy|chỉ|valitsen|siis|tehát|választom)\b
    |أختار|اختر|لذلك|إذن|فقط|इसलिए|केवल|אני\ בוחר|לכן|επιλέγω|άρα|选择?|選擇?|所以|因此|故|综上|剩下?|只有
    |应该?是|應該?是|よって|したがって|ゆえに
      |つまり|따라서|그러므로|그래서
    )
    (?:\s*\b(?:us|me|with|only|just|for|on|to|is|it|it's|be|must|option|choice|answer|letter|statement|the|as|either
      |number|label|alternative|die|der|den|das|option|antwort|nur|la|le|l'|el|opci[óo]n|op[cç][aã]o|alternativa|letra
      |opzione|риспоста|вариант|ответ|option|réponse|respuesta|resposta|risposta|que|qu'|pour|het|antwoord|de|svaret
      |odpowiedź|este)\b)*
    {OPENING}[:,-]*{OPENING}$""",
    _ANY_CASE | re.VERBOSE,
)
"""How a clause goes up to an option that it chooses: a verb of choice, a word of conclusion, what remains."""
CHOSEN_AFTER = re.compile(
    rf"""^{CLOSING}(?:,\s*)?(?:
    (?:it\ is|is\ (?:it|my|our|what\ I|the\ (?:\w+\ )?(?:answer|choice|option|one)\b)|would\ be\ my|wins(?!\ over)
      |alone|remains|is\ left|is\ the\ only|(?:is|does)(?=[.!]|$)
      |for\ sure|hands\ down|must\ be|has\ to\ be|it's|satisfies\ all|fits\ (?:best|all|perfectly))\b
    |(?:[ıiuüyae']*\s*)?(?:şıkkı\w*\s+|seçeneği\w*\s+)?(?:seçiyorum|seçerim|seçilir)
    |(?:को\s+)?चुन|を選|が残|に(?:なり|なる|決)|を(?:正解|答え)|이?\s*남|을?\ ?를?\s*(?:선택|고르|고릅))""",
    _ANY_CASE | re.VERBOSE,
)
IT_IS = re.compile(
    rf"""(?:^|[.!?;:\n-][ \t]*|\b(?:so|thus|hence|therefore|but|and|then|think|guess|believe|sure|que|que\ c'est|daher
      |also)\s+)
    (?:(?:so|thus|hence|therefore|clearly|no|yes|i\ (?:think|believe|guess|say))[,:]?\s+)*
    (?:it's|it\ is|it\ was|it\ must\ be|it\ has\ to\ be|it\ should\ be|this\ is|that\ is|that's|c'est|es\ ist|das\ ist
      |é|è|to|это|es|het\ is|det\ är|I\ (?:think|believe|guess|say)|probably|likely|most\ likely|certainly|definitely)
    \s+(?:probably\ |definitely\ |clearly\ |most\ likely\ |certainly\ |an?\ |option\ |la\ |el\ |die[ ]
      |the\ )*{OPENING}$""",
    _ANY_CASE | re.VERBOSE,
)
"""A sentence that says nothing but which option it is."""
RIGHT_BEFORE = re.compile(
    rf"""(?:{POLAR.pattern})\w*[\s:*_,-]*
    (?:\b(?:options?|choices?|answers?|ones?|statements?|alternatives?|letters?|selections?|picks?|labels?|category
      |classification|guess|interpretation|conclusion|here|turns|out|among|of|these|those|them|four|five|three|all
      |above|listed|given|in|my|view|opinion|is|are|would|must|should|to|be|the|therefore|thus|clearly|then|only|both
      |by|far
      |option(?:en)?|antwort(?:en)?|aussagen?|lösung(?:en)?|wahl|sind|ist|die|der|réponses?|est|sont|la|les|le
      |proposition|affirmation|sigui?entes|respuestas?|opci[óo]n(?:es)?|es|son|las|el|respostas?|op[cç](?:ão|ões)
      |alternativas?|letras?|é|são|as|a|o|rispost[ae]|opzion[ei]|è|sono|antwoord(?:en)?|zijn|svar(?:et|en)?|är|er
      |odpowied[źz]i?e?|to|są|jest|odpověď|odpovědi|jsou|je|вариант\w*|ответ\w*|утверждени\w*|это|является|являются
      |відповід\w*|răspuns\w*|sunt|este|e|válasz\w*|az|cevap\w*|seçenek\w*|şık\w*|adalah|ialah|jawaban\w*|là|vastaus
      |vastaukset|on|ovat|οι|είναι|το|η)\b[\s:*_=-]*
      |(?:的|是|为|選項|选项|答案|項|项|のは|は|は、|なのは|해|한|것은|번은|הם|היא|है|हैं|विकल्प|उत्तर|الخيار|الإجابة|هو|هي)\s*){{0,8}}
    {OPENING}[:=|-]*{OPENING}$""",
    _ANY_CASE | re.VERBOSE,
)
"""How a clause goes up to an option, with what says that it is right or wrong: `the correct options are`."""

# ── denied and only considered ───────────────────────────────────────────

DENIED_BEFORE = re.compile(
    rf"""(?:\bnot|n't|\bcannot|\bneither|\bnor|\bnever|\banything\ but|\bfar\ from|\bno\ longer
    |\brul(?:e[sd]?|ing)\ out|\beliminat(?:e[sd]?|ing)|\bcross(?:ed|ing)?\ (?:out|off)|\bstr(?:ike|uck|iking)\ out
    |\bexclud(?:e[sd]?|ing)|\bexcept(?:\ for)?|\bother\ than|\b(?:rather|better|more\ \w+|stronger|worse|less\ \w+
      |\w+er)\ than|\binstead\ of|\bunlike
    |\bas\ opposed\ to|\bcontrary\ to|\bin\ contrast\ to|\bcontrairement\ à|\bim\ gegensatz\ zu|\ba\ diferencia\ de
      |\bao\ contrário\ d[eao]|\ba\ differenza\ d[ie]|\bв\ отличие\ от|\breject(?:s|ed|ing)?|\bdiscard(?:s|ed|ing)?
      |\bdismiss(?:es|ed|ing)?|\bagainst|\bwithout
    |\bavoid(?:s|ed|ing)?|\bhardly|\bscarcely|\bdiffers\ from|\bbeats?|\bversus|\bvs\.?
      |(?<!no\ )(?<!without\ a\ )(?<!without\ )\bdoubt
      |\bdisprov\w+|\bcontradicts?|\b(?:pick|choose|chose|select|prefer|take|favou?r)\s+[^.;\n]{{1,30}}\ over
      |\bprefer\s+[^.;\n]{{1,30}}\ to
    |(?<!not\ )(?<!n't\ )\b(?:wrong|incorrect|a\ mistake|misleading)\ to
    |\bnicht|\bkeine?r?s?|\bweder|\bnoch|\b(?:an)?statt|\baußer|\bals(?=\s*$)|\bpas|\bni|\bau\ lieu\ de|\bplutôt\ que
      |\bsauf
    |\bélimin\w+|\bexclu\w*|\bécart\w+|\bno|\ben\ (?:vez|lugar)\ de|\bdescart\w+|\belimin\w+|\bexcepto|\bsalvo
    |\bn[ãa]o|\bnem|\bem\ vez\ de|\bexceto|\bnon|\bné|\binvece\ d[ie]|\bpiuttosto\ che|\besclu\w+|\bscart\w+|\btranne
    |\bне|\bни|\bвместо|\bкроме|\bисключ\w+|\bа\ не|\bні|\bокрім|\bnie|\bani|\boprócz|\bzamiast|\bwyklucz\w+|\bniet
      |\bgeen|\bbehalve|\buitgesloten|\binte|\bikke|\bej|\bnikoli|\bne|\bnení|\bmísto|\bnu|\bnici|\bnem|\bsem|\bbukan
      |\btidak|\bkhông(?:\ phải)?|\bloại|\bei|\beikä
    |ليست?|وليست?|لا|לא|ולא|δεν|όχι|不是|不选|不選|排除|并非|而非|不能是|除了?|去掉)
    (?:\ (?:it|it's|that|think|believe|be|is|are|just|only|simply|really|the|an?|by|for
    |choose|pick|select|say|go\ (?:with|for)|answer|conclude|recommend|call|options?|choices?|answers?|letter|die|für
      |option|antwort
    |das|der|la|le|el|les|l'|est|es|è|é|é\ a|opción|opciones|opção|alternativas?|opzion[ei]|вариант\w*|entre|both
      |either|correct|right|true|phải|là|este|to|je|az|a|pour|per|por|para))*{OPENING}$""",
    _ANY_CASE | re.VERBOSE,
)
"""What ends just before an option that is denied."""
DENIED_AFTER = re.compile(
    rf"""^{CLOSING}(?:[.):-]\s*)?(?:
    (?:[^.,;:()\n]{{0,40}},?\ )?(?:isn't|aren't|wasn't|can't|cannot|doesn't|don't|won't|couldn't|wouldn't|fails?\b
      |contradicts?\b|violates?\b|lacks?\b|(?:makes?|has|have)\ no\b|overlooks?\b|misses\b|omits?\b|confuses?\b
      |hardly\b|(?:is|are)\ (?:hardly|scarcely|barely)\b
      |ignores?\b|conflicts?\b|n'est\ pas|no\ (?:es|son|lo\ es|lo\ son|puede)|não\ (?:é|são|pode)|non\ (?:è|sono)|не[ ]
      |nie\ |inte\b|niet\b|nem\b|nu\ |tidak\b|không\b)
    |(?:\w+\ )?(?:scheide[nt]\ (?:\w+\ )?aus|entf[äa]ll\w*|fall\w*\ weg|passe?n?t?\ (?:auch\ )?nicht|can\ (?:all[ ]
      |both\ |also\ )?be\ (?:ruled|eliminated|excluded|discarded|dismissed|rejected|crossed|disregarded)|(?:go
      |goes)\ out|отпада\w+|исключа\w+)
    |\w+\ (?:\w+\ )?(?:nicht|niet|inte|ikke|pas)\b
    |(?:では|じゃ|で)(?:は)?(?:ない|なく|ありません)|でも|(?:이|가|은|는|도)\ ?(?:아니|아닙|정답이\ 아|답이\ 아)
    |不|değil|नहीं|(?:की\ )?बजाय)""",
    _ANY_CASE | re.VERBOSE,
)
BUT_DENIED = re.compile(
    r"\b(?:but|yet|however|although|though|aber|mais|pero|mas|ma|но|ale|maar|men)\b[^.;:\n]{0,30}?"
    r"(?:\b(?:isn't|not|wrong|incorrect|false|fails?|no|doesn't|can't|cannot|falsch|nicht|faux|pas|incorrect[oa]"
    r"|irrelevant|incomplete|insufficient|unrelated|неверн\w*|не|niet|nie|inte|trap|ignores?|contradicts?)\b)",
    _ANY_CASE,
)
"""`A is tempting, but incorrect`."""
EXCEPT = re.compile(
    rf"\b(?:(?:every|any)(?:thing|\ option|\ one)?|all|alle[s]?|tout(?:es)?|todas?|todos|tutt[eio]|все"
    rf"|each)\b[^.;\n]{{0,30}}"
    rf"(?:\b(?:except(?:\ for)?|but|other\ than|save|außer|sauf|menos|excepto|exceto|salvo|tranne"
    rf"|кроме))\s+(?:options?\s+)?{OPENING}$|除了?{OPENING}$",
    _ANY_CASE,
)
APART = re.compile(
    rf"(?:\b(?:apart\ from|aside\ from|except(?:\ for)?|other\ than|with\ the\ exception\ of|(?:no|nothing"
    rf"|none)\ (?:\w+\ )?(?:but|except)|außer|bis\ auf|sauf|hormis|excepto|salvo|exceto|tranne|кроме)\ (?:(?:option"
    rf"|for)\ )?|除了?){OPENING}$",
    _ANY_CASE,
)
"""`Apart from D, all are wrong`."""
NO_OTHER = re.compile(
    r"\b(?:no(?:\ \w+)?|none|nothing|keine?\ \w+|aucune?|ninguna?|nenhuma?|nessuna?)\ (?:other\ than|but|except"
    r"|besides|außer|sauf|salvo|excepto)\b",
    _ANY_CASE,
)
LOOKED_AT = re.compile(
    rf"\b(?:look(?:ing|s)?\ at|what\ about|about|analy[sz](?:e|ing)|examin(?:e|ing)|evaluat(?:e|ing)|review(?:ing)?"
    rf"|regarding|concerning|determine\ (?:if|whether)|text\ of)\ (?:the\ )?(?:options?\ )?{OPENING}$",
    _ANY_CASE,
)
"""What says that an option is looked at, and not yet what of it."""
NOT_SAID = re.compile(
    r"""(?:\b(?:don't|doesn't|didn't|do\ not|does\ not|can't|cannot|could\ not|couldn't|wouldn't|would\ not|not|never
      |hardly)\ (?:\w+\ ){0,2}?
      (?:think|believe|see\ (?:how|why)|say(?:ing)?|suggesting|claiming|claim|conclude|agree|mean|imply|sure|certain
      |convinced|true|correct
      |the\ case|likely|choose|pick|select|go\ (?:with|for)|recommend|support)
    |\b(?:under\ no\ circumstances|by\ no\ means|in\ no\ case|auf\ keinen\ Fall|en\ aucun\ cas|en\ ningún\ caso
      |de\ ninguna\ manera|ни\ в\ коем)|\bno\ (?:way|chance|evidence|possibility|indication)
      |(?<!no\ )(?<!without\ )\bdoubt|\bunlikely|\bimpossible|(?<!n't\ )(?<!not\ )\b(?:false|wrong|incorrect|untrue
      |a\ mistake|misleading|mistaken|tempted|refuse|hesitate|reluctant)\ (?:that|to)
    |\bglaube\ nicht|\bdenke\ nicht|\bne\ pense\ pas|\bne\ crois\ pas|\bno\ creo|\bnão\ (?:acho|creio)|\bnon\ (?:credo
      |penso)|\bне\ думаю|\bне\ считаю|\bcomme?\ faux)
    \b(?!,)[^.,;:!?\n]{0,60}$""",
    _ANY_CASE | re.VERBOSE,
)
"""A clause that takes back all that it says: `I doubt that it is B`."""
WRONG_LABEL = re.compile(
    r"""(?<!n't\ )(?<!not\ )\b(?:wrong|incorrect|false|common|popular|frequent|tempting|naive|distractor|trap|decoy
      |mistake|misconception|error|first|initial|original|previous|earlier|opposite)\b
    [^.,;:!?\n]{0,30}(?:\b(?:is|was|are|would\ be|be|to\ choose|that\ it\ is|to\ say|to\ pick)
      |:)\s*(?:option\ )?["'(\[*_`]*$""",
    _ANY_CASE | re.VERBOSE,
)
"""`the wrong answer is`, `a common mistake is to choose`, `the distractor is`."""

HEDGED_BEFORE = re.compile(
    r"""\b(?:could|might|may|maybe|perhaps|possibly|tempt(?:ed|ing)|was\ leaning|(?:students?|textbooks?|keys?
      |sources?|authors?|teachers?|experts?|others?|some|he|she|they|alice|bob)\b(?:\ \w+){0,2}?\ (?:says?|gives?
      |claims?|argues?|chose|chooses?|picks?|picked|answered|suggests?|prefers?|lists?|listed|gave)|first\ thought
      |thought|initially|at\ first
    |considered|consider|suppose|if(?!\ I\ had\ to)|assume|assuming|whether|unless|almost|nearly
    |(?:some|many|most|people|students?|others|few|critics|everyone|somebody|someone|one|you(?:'d|\ (?:might|may|would
      |could))
      |they)\ (?:\w+\ ){0,3}?(?:say|said|answer|pick|choose|think|claim|argue|believe|guess|call|go\ (?:for|with)
      |opt\ for|confuse|select)
    |vielleicht|könnte|möglicherweise|eventuell|wenn|falls|peut-être|pourrait|possiblement|si(?!\w)|quizás?|tal\ vez
      |podría|posiblemente|talvez|poderia|pode\ ser|se(?=\ fosse)
    |forse|potrebbe|возможно|может|если|być\ może|może|gdyby|misschien|kan|kanske|kanskje|måske|možná|poate|talán|ehkä
      |belki|mungkin|có\ thể|có\ lẽ)\b[^.!?;\n]{0,60}$
    |(?:可能|也许|或许|如果|ربما|قد|शायद|אולי|ίσως|もし|若|恐らく|おそらく|아마)[^。.!?\n]{0,10}$""",
    _ANY_CASE | re.VERBOSE,
)
CONCEDED_BEFORE = re.compile(
    r"\b(?:while|although|though|whereas|despite|notwithstanding|obwohl|bien que|aunque|embora|sebbene|хотя|chociaż"
    r"|hoewel)\b[^.!?;,\n]{0,40}$|虽然[^,。\n]{0,10}$",
    re.IGNORECASE,
)
"""What grants something to an option that is not chosen."""
HEDGED_AFTER = re.compile(
    rf"""^{CLOSING}(?:かもしれ|일\s*수도|seems?\ (?:tempting|plausible|possible)
    |(?:might|may|could)\ (?:\w+\ )?(?:be|seem|work|look|have|fit)|(?:also\ )?(?:seems?|looks?|sounds?
      |appears?)\ (?!to\ be\ the\b)(?:good|right|plausible|tempting|possible|attractive|reasonable)
    |would\ (?:\w+\ )?(?:be|have|hold|work|fit)\b(?!\ my\b)[^.;\n]{{0,60}}\bif\b|would\ (?:only\ )?(?:be
      |have)\b(?!\ (?:my|the\ (?:best|answer|correct)))
    |(?:was|were)\ (?:my|the|a)\ (?:first|initial|original|previous)|(?:is|are|was)\ (?:the|an?
      |one\ of\ the)\ (?:most\ )?(?:common|popular|frequent|tempting)
    |(?:are|is|was)\ (?:\w+\ )?(?:plausible|possible|tempting|close|comparable)\b
    |used\ to\ be\b|(?:was|were)\b[^.;\n]{{0,40}}\b(?:before|until|previously|originally)\b
    |(?:states?|says?|claims?|mentions?|talks?|refers?|discuss(?:es)?|suggests?|concerns?|involves?|asks?|reads?
      |proposes?)\b
    |(?:was|were)\ (?:also\ )?considered\b|(?:is|are)\ about\b|is\ what\ (?:most|many|some|people)
    |(?:is|are)\ not\ necessarily\b
    |(?:is|are|was)\ (?:only\ )?(?:partially|partly|half|almost|nearly|close|somewhat)\b
    |könnte|pourrait|podría|poderia|potrebbe|может|가능|可能
    |(?:seems?|looks?|appears?|is)\ [^.,;:\n]{{0,30}}\bat\ first\b)""",
    _ANY_CASE | re.VERBOSE,
)
BUT = re.compile(
    r"\b(?:but|however|though|yet|rather|actually|instead|sondern|aber|mais|sino|pero|mas|ma|bensì|но|ale|lecz|maar"
    r"|men|utan|hanem|ci|melainkan|tetapi|mà)\b|而是|但|بل|بلكن|אלא|αλλά",
    re.IGNORECASE,
)
TAKES_BACK = re.compile(
    r"""(?:^|(?<=[.!?:;\n-]))[\s*_(]{0,6}(?:hmm+|wait|hold\ on|actually|on\ (?:reflection|second\ thoughts?
      |closer\ \w+)|scratch\ that|no(?=[:!])|no,?\ wait|correction|oops|no\ wait|sorry|my\ mistake|I\ (?:was\ wrong
      |made\ (?:a|an)\ \w+|misread|stand\ corrected)|let\ me\ (?:re-?\w+|correct|double)|rather|but\ then
    |moment|halt|korrektur|quatsch|attends|attendez|correction|en\ fait|espera|corrección|perd[óo]n|en\ realidad
      |corre[çc][ãa]o|na\ verdade|aspetta|correzione|anzi|стоп|подожди|нет,\ погоди|исправ|czekaj|poprawka|wacht|等等
      |等一下|不对|更正|待って|いや|訂正|잠깐|아니)\b
    |\b(?:but\ )?I\ (?:now|have\ since|then)\ (?:think|believe|realized?|see)\b|\bbut\ (?:on
      |after)\ (?:\w+\ )?(?:reflection|rechecking|review|reconsideration|second)\b|\bI\ mean\b""",
    _ANY_CASE | re.VERBOSE,
)
"""Where an answer begins to correct itself."""
UNDECIDED = re.compile(
    r"""\b(?:can't|cannot|can\ not|unable\ to|couldn't|not\ able\ to|impossible\ to|hard\ to|difficult\ to
      |refuse\ to)\ (?:\w+\ ){0,2}?(?:decide|choose|pick|tell|say|determine|answer|know|select|settle
      |distinguish)\b(?![^.;\n]{0,40}\b(?:so|but)\b)
    |\bundecided\b|\bjust\ as\ (?:good|likely|plausible|valid|correct|well|right)\b|\btoss-?up\b|\btorn\ between\b
      |\bequally\ (?:good|likely|plausible|valid|correct|well|right)\b
      |\b(?:could|can)\ equally\b|\bdon't\ know\b|\bno\ idea\b
    |\b(?:narrow\w*|it\ down\ to|stuck\ between|hesitat\w+\ between)\b|\bdepends\b
    |kann\ (?:ich\ )?(?:mich\ )?nicht\ (?:\w+\ )?entscheiden|ne\ (?:peux|sais)\ pas|no\ (?:puedo|sé)|não\ (?:sei
      |consigo)|non\ so\b|не\ (?:знаю|могу)|无法|不知道|不确定|分から|わから|모르""",
    _ANY_CASE | re.VERBOSE,
)
"""An answer that leaves open what it names."""

# ── how options stand together ───────────────────────────────────────────

OR = re.compile(
    rf"""^{CLOSING}(?:,?\s*\(?(?:\bor(?:\ (?:maybe|perhaps|possibly|else|even))?\b|\bnor\b|\bou\b|\boder\b|\bnoch\b
      |\bo\b
      |\bu\b|\bni\b|\bили\b|\bлибо\b|\bsoit\b|\balbo\b|\bbądź\b|\bни\b|\bабо\b|\bof\b|\blub\b|\bani\b|\bnebo\b
      |\beller\b|\bsau\b|\bvagy\b|\btai\b|\bveya\b|\bya\ da\b|\batau\b|\bhoặc\b|\bhay\b
      |أو|या|או\b|ή|或者?|または|か|또는|이나|나
      |/|\bvs\.?|\bversus\b))
    {OPENING}(?:options?\s+|either\s+)?$""",
    _ANY_CASE | re.VERBOSE,
)
AND = re.compile(
    rf"""^{CLOSING}(?:,?\s*(?:\band(?:\ also)?\b|\bas\ well\ as\b|\bplus\b|\balong\ with\b|\bund\b|\bsowie\b|\bet\b
      |\by\b|\be\b|\bed\b|\bи\b|\bта\b|\bі\b|\bve\b|\bvà\b|\ben\b|\bi\b|\boraz\b|\boch\b|\bog\b|\bdan\b|\bja\b|\bés\b
      |\ba\b|\bși\b|\bşi\b|\bκαι\b|و|और|ו|&|和|与|跟|と|および|와|과|\+|及|এবং|และ)|[,、/]){OPENING}
    (?:options?\s+|also\s+|la\s+|le\s+|die\s+)?{OPENING}$""",
    _ANY_CASE | re.VERBOSE,
)
ASKS = re.compile(
    r"\b(?:is|are|was|could|can|might|may|would|does|do|did|why|which|what|how|if|or|should|maybe|perhaps|ist|est-ce"
    r"|es|será|kann|может|ли)\b",
    re.IGNORECASE,
)
"""How a sentence begins that asks about an option, and does not offer it: `C?` offers it."""
NONE = re.compile(
    r"""^[\s"'(*_`]*(?:none|neither|nothing|unknown|unclear|n/a\b|unsure|not\ (?:sure|certain)|no\s+(?:option|answer
      |correct)|keine?\b|aucune?\b
    |ningun[oa]\b|nessun[oa]\b|nenhum[a]?\b|都不|以上皆非)""",
    _ANY_CASE | re.VERBOSE,
)
"""How a text begins that chooses nothing."""
ALL = re.compile(
    r"\ball\s+(?:of\s+)?(?:the\s+)?(?:above|options?|choices|answers|four|five|three|them|statements"
    r"|these)\b(?!\s+(?:but|except|\w+\s+(?:wrong|not)))"
    r"|\balle\s+(?:antworten|optionen)\b|\btoutes\s+les\s+(?:réponses|options)|\btodas\s+las\s+(?:opciones|respuestas"
    r"|anteriores)|\btodas\s+as\s+(?:alternativas|opções|anteriores)|\btutte\s+le\s+(?:opzioni|risposte)"
    r"|\bвсе\s+(?:варианты|ответы|перечисленные)|以上(?:都|皆|全)|全部|全选|すべて|모두",
    re.IGNORECASE,
)

CHOICE_MARK = re.compile(
    r"""(?:\b(?:I|we)\s+(?:would\s+|will\s+|'d\s+|'ll\s+|therefore\s+|hereby\s+)?(?:choose|pick|select|go\ with
      |opt\ for)
    |\b(?:I|we)(?:\s+would|'d|\s+will|'ll)\s+(?:say|answer|guess|choose|pick|select|go\ with)\b(?!\s+that)
    |^[ \t>*_-]*(?:choose|select|pick)\b
    |\b(?:correct|right|best|true|appropriate|suitable|likely|my|final|intended|proper|only)\s+
      (?:one|option|choice|letter|statement|alternative|pick|selection|guess|label|category|classification)\s*
      (?:[^\s.,:;!?=]{1,20}\s+){0,5}?(?:(?:is|are|would\ be|must\ be|has\ to\ be)\b(?!'|n't)|:|=)
    |\b(?:choice|verdict|label|classification|conclusion|decision|final|ans|solution|key|gabarito|lösung|soluci[óo]n
      |solution|solução|soluzione|решение)\b\.?\s*(?:is|:|=|->|→)
    |[\[(]\s*(?:答案|正解|解答|정답|answer|ans|final\ answer|respuesta|réponse|antwort|ответ)\s*[\])]
    |\brichtige?\s+(?:Option|Wahl|Lösung|Aussage)\s+ist
    |\b(?:opci[óo]n|opção|opzione|option|alternativa)\s+(?:correcta|correta|corretta|correcte)\s*(?:es|é|è|est|:)
    |\bправильный\s+(?:вариант|ответ)\s*[:-]?)[\s:*_"'`>(\[]*(?=([^\n]{1,300}))""",
    _ANY_CASE | re.VERBOSE | re.MULTILINE,
)
"""What marks the choice of an option, with what follows."""

STRUCK = re.compile(r"~~(?=\S)[^~\n]{1,300}~~|<(s|del|strike)>[^<\n]{1,300}</\1>", _ANY_CASE)
"""Text that is struck out."""
QUOTED = re.compile(r"^[ \t]*>[^\n]*(?:\n|$)", re.MULTILINE)
"""A line that quotes what was asked."""
BULLETS = re.compile(r"(?:[ \t]*(?:[-*•+]|\d{1,2}[.)])[ \t]+[^\n]*(?:\n[ \t]*)*){1,60}")
OPTION_NOUN = re.compile(r"(?<!故)(?<!应)(?<!以)(?<!此)(?<!案)(?:选项|選項|選择項)\s*$")
"""`选项` before a letter, which names an option and does not choose it."""
LINE = re.compile(
    r"^[ \t>*_#-]*([^\W\d_][\w ]{0,30})[*_]*[ \t]*[:=][ \t*_]*(\S[^\n]{0,200}?)[ \t.*_]*$",
    re.MULTILINE,
)
"""A line `Sentiment: positive`."""
BAD_LINE = re.compile(
    rf"{_WRONG}|\b(?:distractor|eliminated|trap|first|initial|student|common|previous)", _ANY_CASE | re.VERBOSE
)
BOLD = re.compile(r"(?<![*\w])(\*\*|__|\*|_)(?=[^\s*_])([^*\n]{1,200}?)(?<=[^\s])\1(?![*\w])")
SENTENCE = re.compile(r"[.!?](?=[\s\"')*_\]]|$)|[;\n。]")
"""What ends a sentence."""
BEGINS = re.compile(
    r"[ \t*_#>|(\[-]*(?:(?:option|choice|answer|statement|opción|opção|alternativa|вариант|选项)\s*[(*\[]*)?", _ANY_CASE
)
"""What stands in a line before the option that it is about."""
ENDS_ITEM = re.compile(
    r"""["')\]*_`]*\s*(?:$|[.,;)\n]|[^\x00-\x7f]|(?:and|or|und|oder|et|ou|y|o|e|и|или|和|或)\b)""", re.VERBOSE
)
