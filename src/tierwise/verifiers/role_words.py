"""The words beside a number that tell its role in a statement, in some twenty languages.

A table holds a line per language; the order is of no importance. Languages that put the word behind the number
(Japanese, Korean, Turkish, Hindi) stand in the tables whose names end with `AFTER`.
"""

from __future__ import annotations

import re

from tierwise.verifiers.statement_words import words

LETTERS = r"[^\W\d_]"
FILLER = r"[\s*_`\"'$€£¥₹(\\]*"
"""What stands between a word and the number that it belongs to, without being a word."""


SUBORDINATES = (
    words(
        r"because|since|as(?=\ (?:\d|there|the|each|he|she|it|they|you|we|\())|given(?:\ that)?|assuming|if"
        r"|when(?:ever)?|where"
        r"|while|whereas|although|(?:even\ )?though|provided|considering|using|taking|letting|unless|seeing"
        r"|reached|attained|which\ (?:exceeds|"
        r"matches|agrees|is\ (?:less|more|lower|higher|fewer|greater|smaller|larger|under|over|below|above"
        r"|why|within))",
        r"weil|denn|da(?=\ )|indem|wenn|falls|obwohl|während|wobei|sofern|car|comme|parce\ que|puisque|si"
        r"|quand|lorsque|alors\ que"
        r"|bien\ que|sachant|où",
        r"porque|ya\ que|puesto\ que|como|si|cuando|aunque|mientras|donde|dado\ que|pois|já\ que|como|quando"
        r"|embora|enquanto"
        r"|perché|poiché|siccome|dato\ che|anche\ se|mentre|dove",
        r"omdat|want|aangezien|als|hoewel|terwijl|eftersom|därför\ att|när|om(?=\ )|fast|medan|fordi",
        r"bo|ponieważ|gdyż|jeśli|gdy|choć|chociaż|podczas",
        r"потому\ что|так\ как|поскольку|если|когда|хотя|где|ведь|тому\ що|бо|якщо",
        r"karena|sebab|jika|ketika|meskipun|vì|bởi|nếu|khi|mặc\ dù|çünkü|eğer",
        r"لأن|إذا|عندما|حيث|رغم|क्योंकि|जब|यदि|अगर|चूँकि|जहाँ",
    )
    + "|(?:因为|由于|如果|当|虽然|尽管|なぜなら|왜냐하면)"
)
"""What begins a subordinate clause, whose numbers are not the claim."""
DETERMINERS = (
    r"(?:(?:the|a|an|all|these|those|this|that|his|her|its|their|our|your|my|each|every|only|just|about"
    r"|original|initial"
    r"|remaining|other|first|last|next|extra|same|given|whole|exactly|around|roughly|nearly|another"
    r"|additional|both|n|x|y|t"
    r"|der|die|das|den|dem|des|alle[nr]?|ihre[nr]?|seine[nr]?|je|etwa|rund|le|la|les|l|ses|leurs?|tous|toutes"
    r"|chaque|environ"
    r"|el|los|las|sus?|tod[oa]s|cada|o|os|as|seus|suas|cerca|il|lo|i|gli|tutt[ie]|ogni|circa|de|het|alla|en"
    r"|ett|wszystkich"
    r"|всех|каждые|một|cả|bir|semua|कुल|=|of|\w+['’]s)\s+){0,3}"
)
_BY_AMOUNT = r"(?<![^\W_])(?:at|with|by|over|after|from|during)\s+(?:an?|the)\s+(?:\w+\s+)?\w+\s+of\s+"
_PURPOSE = (
    r"\d\S*(?:\s+[^\s\d,.;:]+){0,2}\s+(?:to|um|om|pour|para|per|att|for|för\ att|чтобы|untuk|để|ل)\s*[^\s\d,.;:]+"
    rf"(?:\s+zu)?\s+{DETERMINERS}"
)
_OPERAND = r"\bof\s+[$\d., ]*\d\s*,?\s*(?:and|und|et|y|e|o|en|och|i|и)?\s+"
OPERANDS = re.compile(r"\bof\s+[$\d., ]*$")
OPERAND_AFTER = re.compile(r"\s*(?:,|and\b|und\b|et\b|y\b|e\b|en\b|och\b|i\b|и\b)\s*\S?\d")
"""Around a number that is one of several of which something is told: `the sum of 12 and 15`."""
BACKGROUND_OF = re.compile(
    rf"(?:{_BY_AMOUNT}|{_PURPOSE}|{_OPERAND}){FILLER}$|"
    + words(r"which\ is\ (?:about|approximately|roughly|around|nearly)")
    + rf"\s+{FILLER}$",
    re.IGNORECASE,
)
"""What stands before a number that only describes another one: `at a rate of 4`."""
_SETTING = (
    r"(?<![^\W_])(?:with|for|at|when|if|where|für|bei|mit|wenn|pour|avec|si"
    r"|para|con|se|per|при|если|当)\s+[A-Za-z]\s*=\s*"
)
GROUP = re.compile(
    words(
        r"the|these|those|his|her|their|our|your|my|all|both|les|ses|leurs|los|las|sus|os|as|seus|suas|gli"
        r"|alle|die|jego|jej",
    )
    + rf"\s+{FILLER}$",
    re.IGNORECASE,
)
"""What stands before a number of things that are known: `the 3 children`."""
BACKGROUND = re.compile(
    f"(?:{_SETTING}|"
    + words(
        r"for|of|from|after|before|in|at|by|with|without|per|over|across|than|out\ of|on|within|during|through|among"
        r"|between|less|minus|give\ or\ take|plus\ or\ minus|short\ of|adding|subtracting|removing"
        r"|multiplying\ by|dividing\ by"
        r"|including|excluding|counting|versus|vs\.?|against|like|up|down|about\ how|assuming|using|since|until|till"
        r"|plus|times|to(?=\s+(?:the|all|each|\d+\s+(?:decimal|d\.?p|significant|s\.?f|places)))"
        r"|compared\ (?:to|with)|under"
        r"|around|above|below|against|toward|if|every|had|ago|have\ to|starting\ with|started\ with"
        r"|originally|initially"
        r"|(?:for|of|from|after|before|in|by|when|on|with)\ \w+ing(?:\s+\w+)?",
        r"von|für|in|im|nach|vor|bei|mit|ohne|aus|pro|je|jede[rsn]?\ der|eine[rsn]?\ der|hälfte\ der|um|über"
        r"|unter|ab|zu|zum|durch|seit|bis|als|innerhalb|statt|abzug\ von|ausgehend\ von|abzüglich"
        r"|zuzüglich|inklusive|davon|trotz",
        r"retirant|ajoutant|partant\ de|de|des|du|pour|sur|par|parmi|avec|sans|dans|en|après|avant|chez"
        r"|entre|que|depuis|sous|dès|contre",
        r"restando|sumando|partiendo\ de|subtraindo|somando|del?|por|para|con|sin|tras|después\ de"
        r"|antes\ de|sobre|desde|según|hace|dos|das|em|no|na|após"
        r"|depois\ de|com|sem",
        r"sottraendo|aggiungendo|di|dei|delle|degli|per|con|senza|dopo|prima\ di|tra|fra|su|dal?|dai|dalle|nel|sui",
        r"van|voor|met|na|bij|uit|om|dan|av|för|på|efter|före|från|till|under|än|til|etter",
        r"z|na|dla|w|po|przy|od|za|przed|przez|co|niż|spośród",
        r"из|за|для|в|на|по|после|с|от|при|до|через|у|среди|чем|каждые|з|із|після",
        r"dari|untuk|dengan|dalam|setelah|selama|pada|sebelum|trong|cho|với|sau|từ|của|mỗi|trước|bằng",
        r"hơn\ \w+|بـ|من|في|بعد|قبل|خلال|على|مع|لكل|عن|بين",
    )
    + rf"\s+{DETERMINERS}|(?:大|小|多|少|高|低|长|短|在|从|對|对|每|用|以|比|当|(?<!等)於|(?<!等)于|自|매|لـ\s?|ل"
    rf"|ب){FILLER}|第){FILLER}$",
    re.IGNORECASE,
)
"""What stands before a number that the sentence is not about: `for the 6 tables`, `after 3 years`."""
NOT_BACKGROUND = re.compile(
    words(
        r"(?:total|sum|perimeter|area|volume|product|difference|average|mean|median|balance|profit|loss|cost"
        r"|price|amount"
        r"|distance|speed|rate|value|result|length|width|height|probability|remainder|score|number|weight"
        r"|income|is|are)\ of",
        r"(?:est|serait|sont)\ (?:donc\ )?(?:de|à)|(?:es|son|sería)\ de|é\ de|(?:è|sono)\ di|(?:total|suma"
        r"|somme|soma|totale|somma)\ (?:de|di)",
        r"(?:summe|gesamtzahl|länge|fläche|preis|umfang|ergebnis|wert)\ von|kommt\ (?:man\ )?auf|(?:som"
        r"|totaal)\ van|summa\ på",
        r"(?:end|ends|ended|wind|winds|left|finish|finishes|come|comes)\ (?:up\ )?with|in\ (?:total|all|sum)"
        r"|to\ about|down\ to|up\ to\ a|is\ (?:about|around|over|under|up|down|at)|are\ (?:about|around|over)"
        r"|be\ (?:about|around)|(?:at|by)\ (?:least|most)|for\ a\ total\ of|to\ get|to\ have|it's\ at",
    )
    + rf"\s+{DETERMINERS}{FILLER}$",
    re.IGNORECASE,
)
BACKGROUND_AFTER = re.compile(
    r"(?:\s*[*_`]*(?:%|percent)?\s*(?:"
    + LETTERS
    + r"{1,15}\s+){0,2}"
    + words(
        r"more|fewer|less|extra|older|younger|higher|lower|longer|shorter|taller|heavier|lighter|faster"
        r"|slower|bigger|smaller"
        r"|earlier|later|ago|away\ from|times\ (?:as|more|the|that)|discount|tip|tax|interest|increase"
        r"|decrease|off\b|short|of\ (?:them|us|you)\b"
        r"|mehr|weniger|zu\ viel|älter|jünger|länger|kürzer|größer|kleiner|höher|niedriger|schneller|vor\b"
        r"|rabatt|später|früher"
        r"|de\ plus|de\ moins|plus|moins|más|menos|mayor|menor|mais|più|meno|meer|minder|fler|färre|mer"
        r"|więcej|mniej|lat\ więcej|lebih|"
        r"больше|меньше|старше|моложе|дороже|дешевле|hơn|büyük|küçük|için|sonra|önce|boyunca|fazla|eksik"
    )
    + r"|-[^\W\d_]{2,}|\s?[岁歳살]?(?:年上|年下|多い|少ない|長い|高い)|\s?살\s많|\s\S+\s(?:बड़ा|बड़ी|छोटा|अधिक|ज़्यादा)"
    + r"|[人個日名台本枚つ冊回月]\s?(?:の\S{1,6}は)?[^\d\s(]?(?=\d)|[^\s\d,.]{1,4}で(?![すあはし])"
    r"|[^\s\d,.]{1,4}에\s(?=\d)"
    r"|\s+\S*[ıiuüa](?:den|dan)\s|[^.;\n]{0,40}?\sgöre\s|\s+\S+\s+her\s"
    + r"|\s*[^\s\d,.]{0,3}?\s?(?:年(?=\S)|のうち|から|より|ずつ|につき|に対し|個の|人の|つの|円の|日の"
    r"|時間の|分の|で、|に、|中|里|之后|以后|后|以内|时|이므로"
    r"|이니까|이고|이며|라서|때문에|중|에서|보다|동안|에게|마다|명의|개의|후에)"
    + r"|\s+(?:\S+\s+)?(?:में\ से|के\ लिए|बाद|से\ अधिक|से\ कम|प्रति))",
    re.IGNORECASE,
)
"""What follows a number that is compared or counted from, and so is not the claim."""
NAME = re.compile(r"(?:^|\s)(?!(?:Only|Just|About|Around|All|These|Those|Over|Almost|Some)\b|\w+ly\b)[A-Z][a-z]{2,}\s$")
NAMED = re.compile(r"\s(?:\w{2,}ed|was|is|has|had|flew)\b(?!\s*[\d*$])")
"""Around a number that is a part of a name: `Apollo 11 landed`."""
SHARE_AFTER = re.compile(r"\s*(?:of|von|de|di|du|des|del|da|van|av|z|от|из|dari|của)\s", re.IGNORECASE)
"""What follows a percentage that is one of something."""
_ARRIVES = (
    r"(?:(?<![<>!≤≥≠])=|≈|→|⇒|\\approx|=>|⟹|"
    + words(
        r"so|therefore|thus|hence|(?:rounds?|rounded|rounding)\ (?:up\ |down\ |off\ )?to(?!\ the)|leaving"
        r"|leaves?|makes?|making|gives?|giving|yields?|yielding|i\.e\.,?|namely|that\ is,?"
        r"|which\ (?:is|are|means|comes)|comes?\ to|coming\ to|amounts?\ to|adds?\ up\ to|works?\ out\ (?:to"
        r"|as|at)|equals?|totals?"
        r"|total(?:l)?ing|results?\ in|reduces\ to|simplifies\ to|for\ a\ total\ of|a\ total\ of|in\ total"
        r"|altogether|now|finally|i\ get|must\ be"
        r"|has\ to\ be|have\ to\ be|rather|but\ (?:it|that|the|actually|really|rather|in\ fact)|then|actually"
        r"|meant|we\ (?:get|obtain|find)|correct\ (?:\w+\ )?(?:is|was)",
        r"also|daher|dann|somit|folglich|macht|ergibt|ergeben|d\.\s?h\.|das\ heißt|nämlich|sondern|aber\ (?:es|in"
        r"|tats\w+)|tatsächlich|insgesamt|jetzt|bleiben|bleibt|verbleiben",
        r"donc|soit|c'est-à-dire|ce\ qui\ (?:fait|donne)|fait|donne|il\ reste|maintenant|mais\ (?:c|en|il"
        r"|plutôt|bien)(?=\b)|plutôt|au\ total",
        r"por\ (?:lo\ )?tanto|así\ que|es\ decir|o\ sea|sino|pero\ (?:son|es|en|realmente)|mas\ (?:são|é|na)"
        r"|da|dan|quedan?|en\ total|ahora|agora|adesso|mas\ sim|ou\ seja|portanto|restam|resta|sobram|dá|logo"
        r"|totalizando",
        r"quindi|cioè|ovvero|bensì|ma(?=\s+\d)|ma\ (?:sono|è|in)|fa|fanno|restano|rimangono|ossia|ora",
        r"dus|oftewel|namelijk|maar(?=\s+\d)|maar\ (?:het|dat)|men\ det|geeft|alltså|dvs\.?|utan|blir|ger|kvar",
        r"więc|zatem|czyli|lecz|tylko|ale\ (?:to|w)|zostało|daje|teraz",
        r"значит|то\ есть|т\.\s?е\.|а(?=\s+\d)|но\ (?:это|на\ самом)|поэтому|следовательно|получаем|теперь"
        r"|остал[оа]сь|остаётся|итого",
        r"sekarang|bây\ giờ|şimdi|jadi|yaitu|melainkan|tetapi|sisa|vậy|tức\ là|mà\ là|còn|yani|aksine|kalır|eder",
        r"إذن|أي|بل|لذلك|यानी|बल्कि|इसलिए",
    )
    + r"|现在|今は|지금은|所以|因此|即|也就是|而是|等于|还剩|剩下|共|得|つまり|すなわち|合計|残り|よって|즉|따라서"
    r"|총)"
)
CONCLUDED = re.compile(_ARRIVES + r"[^\d;\n.!?]{0,50}$", re.IGNORECASE)
"""What stands before a number that a sentence arrives at."""
CONCLUDED_BEFORE = re.compile(_ARRIVES + r"[^;\n.!?]{0,50}$", re.IGNORECASE)
"""The same with another number between them: `so the 3 children have 24`."""
CONCLUDED_AFTER = re.compile(
    r"\s*(?:[^\s\d,.;:()]+\s+){0,3}?"
    + words(
        r"in\ (?:all|total)|altogether|overall|combined|in\ sum|insgesamt|zusammen|en\ tout|au\ total"
        r"|en\ total|ao\ todo|no\ total"
        r"|in\ totale|in\ totaal|totalt|sammanlagt|razem|łącznie|всего|в\ (?:итоге|сумме|общей\ сложности)"
        r"|toplam|tổng\ cộng|total"
    )
    + r"|[^\s\d,.]{0,5}(?:です|である|になります|となります|입니다|이다|이에요|예요|(?:'|’)?[dt][iıuü]r"
    r"|\ (?:है|हैं|होगा|होंगे))[\s*_`.!]*$",
    re.IGNORECASE,
)
STATED_AFTER = re.compile(
    r"[*_]*(?:\s*(?:[^\s\d,.;:()]+\s+){0,3}?"
    + words(
        r"left|remain(?:s|ing|ed)?|(?:is|are)\ (?:the\ )?(?:right|correct|answer|result|solution|needed|required)",
        r"übrig|ist\ (?:die|richtig)|restante?s?|reste(?:nt)?|est\ (?:la|le|correct)|es\ (?:la|el"
        r"|correct[oa])|rimast[ei]|over|kvar|zostało|осталось|sisanya|còn\ lại|kal(?:dı|ır|mıştır|acak)",
    )
    + r"|[^\s\d]{0,3}(?:です|だ|である|になり|となり|입니다|이다|이에요|है|हैं))",
    re.IGNORECASE,
)
STATED = re.compile(
    r"(?:[:=]|"
    + words(
        r"(?<!there\ )(?:is|are|was|were)|be|been|becomes?|it's|that's|he's|she's|costs?|equal\ to|approximately",
        r"ist|sind|war|waren|beträgt|betragen|lautet|kostet|est|sont|était|vaut|coûte|es|son|era|eran|cuesta"
        r"|vale|é|são|foi|custa|è|sono|costa",
        r"zijn|bedraagt|kost|är|er|kostar|to|jest|są|wynosi|kosztuje|это|составляет|составит|равн[аоы]|равен"
        r"|стоит|adalah|là|bằng|هو|هي",
    )
    + r"|是|为|為|は|은|는)\s*(?:(?:about|approximately|exactly|only|just|then|therefore|thus|actually|really|roughly"
    r"|indeed|still|of|also"
    r"|etwa|genau|nur|environ|exactement|donc|de|à|exactamente|unos|unas|aproximadamente|circa|di|ungefär"
    r"|ровно|около|khoảng)\s+){0,2}" + FILLER + "$",
    re.IGNORECASE,
)
"""What stands before a number that is predicated of the subject."""
DENIED = re.compile(
    words(
        r"can(?:not|'t|\ not)\ (?:be|equal)|couldn't\ be|must\ not\ be|mustn't\ be|(?:is|are|was|were)n't"
        r"|neither|nor|anything\ but|never|no\ longer"
        r"|(?:false|untrue|incorrect|wrong|not\ true)\ (?:that|to\ say)|instead\ of|rather\ than|other\ than"
        r"|rul\w+\ out|doesn't\ (?:equal|have)|not"
        r"|differs\ from|(?:my|the|an?)\ (?:earlier|previous|wrong|incorrect|old|initial|first|mistaken)",
        r"nicht|kein\w*|weder|noch\ nicht|falsch|statt|anstelle\ von|anstatt|alles\ außer",
        r"pas|ni|faux\ (?:que|de)|au\ lieu\ de|plutôt\ que|jamais|n'est|ne\ sont|no\ (?:es|son|puede\ ser"
        r"|pueden\ ser)|en\ (?:vez|lugar)\ de|nunca|tampoco",
        r"não\ (?:é|são|pode\ ser)|em\ vez\ de|nem|non\ (?:è|sono|può\ essere)|invece\ di|né|anziché",
        r"niet|geen|in\ plaats\ van|noch|inte|ej|istället\ för|ikke|nie|zamiast|ani|не|вместо|ни|bukan"
        r"|bukanlah|tidak|không\ phải(?:\ là)?|thay\ vì",
        r"ليس|ليست|ليسوا|وليس|لا",
    )
    + r"[^,;:.\d\n]{0,22}$|(?:不是|而非|并非|不等于|不可能是|不为)[^,;:\d\n]{0,4}$",
    re.IGNORECASE,
)
"""What denies the number that follows."""
DISCLAIMED = re.compile(
    words(
        r"(?:(?:you|one|some|many|people|students|they|it)\ (?:\w+\ )?(?:might|may|could|would|often)|people"
        r"|students|(?:i|we)(?=\ (?:\w+\ )?"
        r"(?:thought|said|guessed|assumed|expected|believed|wrote|answered)))\b[^,;:\d]{0,25}\b(?:think"
        r"|thought|say|said|guess(?:ed)?|expect(?:ed)?|assumed?|believed?"
        r"|tempted|answered|wrote|claimed)",
        r"(?:first|initial|earlier|previous|original|naive|quick)(?:ly)?\ (?:attempt|guess|thought|try|answer"
        r"|result|calculation|estimate|reading|impression)",
        r"(?:first|initially|previously|earlier|mistakenly|wrongly|incorrectly)\ (?:i\ |we\ )?(?:got|thought"
        r"|said|wrote|had|calculated|guessed|answered|computed|put|gave)",
        r"at\ first(?:\ glance|\ sight)?|mistake|misprint|typo|(?:common|typical|frequent|usual)\ (?:error"
        r"|slip)|wrong(?:ly)?|incorrect(?:ly)?|tempting",
        r"zuerst|zunächst|anfangs|auf\ den\ ersten\ blick|fälschlich\w*|man\ könnte|à\ première\ vue|d'abord"
        r"|on\ pourrait|a\ primera\ vista|al\ principio"
        r"|podría\ parecer|à\ primeira\ vista|inicialmente|poderia\ parecer|a\ prima\ vista|all'inizio"
        r"|сначала|на\ первый\ взгляд|можно\ подумать"
        r"|na\ pierwszy\ rzut\ oka|początkowo|op\ het\ eerste\ gezicht|eerst|först|vid\ första|awalnya"
        r"|sekilas|ban\ đầu|thoạt\ nhìn|ilk\ başta|ilk\ bakışta",
    )
    + r"[^,;:.\n]{0,40}$|(?:起初|最初|一开始|乍一看|最初は|一見|처음에는|언뜻)[^;.\n]{0,20}$",
    re.IGNORECASE,
)
"""Whose number is told only as what somebody thought first, or could think."""
DENIED_AFTER = re.compile(
    r"[*_`\"'$\s]*(?:\([^()]{0,30}\)\s*)?(?:(?!and\b|but\b|so\b|und\b)[^\s\d,.;:!?()]+\s+){0,5}?"
    + words(
        r"(?:(?:is|are|was|were|would\ be|will\ be|looks?|seems?|sounds?|can't\ be|cannot\ be|must\ be"
        r"|has\ to\ be)\s+(?:\w+\s+){0,3}?|that\ was\ )"
        r"(?:wrong|incorrect|false|mistaken|(?:common\ |typical\ |frequent\ )?mistake|error|misprint|typo"
        r"|tempting|impossible|ruled\ out|off"
        r"|too\ (?:few|many|much|little|low|high|small|large|big|long|short)|not\b|nonsense)",
        r"(?:isn't|aren't|wasn't|can't\ be|cannot\ be|won't\ (?:do|work)|doesn't\ (?:work|fit))"
        r"|can\ be\ ruled\ out|fails?|doesn't|does\ not|don't\ (?:work|fit)",
        r"(?:ist|sind|wäre|wären|war)\ (?:\w+\ ){0,2}?(?:falsch|nicht|zu\ \w+|unmöglich|ein\ fehler)|(?:est"
        r"|sont|serait)\ (?:\w+\ )?(?:faux|fausse|incorrecte?|trop|une\ erreur|impossible)|n'est\ pas",
        r"(?:es|son|sería|está|están)\ (?:\w+\ )?(?:incorrect[oa]|fals[oa]|un\ error|demasiado|imposible)"
        r"|no\ es|(?:é|são|seria|está|estão)\ (?:\w+\ )?(?:errad[oa]|incorret[oa]|fals[oa]|demais)|não\ é"
        r"|(?:è|sarebbe)\ (?:\w+\ )?(?:sbagliat[oa]|errat[oa]|fals[oa]|troppo)|non\ è",
        r"(?:is|zou)\ (?:\w+\ )?(?:fout|onjuist|te\ \w+|niet)|(?:är|er)\ (?:\w+\ )?(?:fel|inte|för|feil|ikke"
        r"|galt)|(?:to|jest)\ (?:błąd|błędn\w+|źle|nieprawid\w+)"
        r"|(?:это\ )?(?:неверно|неправильно|ошибка|слишком|не\ (?:подходит|верно|правильно))|неверн\w+|salah"
        r"|bukan|(?:là\ )?sai|yanlış|değil",
        r"خطأ|خاطئ|गलत|नहीं",
    )
    + r"|[^\s\d,.]{0,4}\s?(?:是?错|不对|不正确|不正確|太|是不可能|は(?:間違|誤り|違)|では(?:な|あり)"
    r"|じゃ(?:な|あり)|だ?と思(?:いま|って|った)"
    r"|이?라고\s*(?:생각했|착각)|以为|[은는이가]?\s*(?:틀|아니|아닌|아닙|잘못))",
    re.IGNORECASE,
)
"""What denies the number that it follows."""
HEDGED = re.compile(
    words(
        r"maybe|perhaps|possibly|(?:could|might|may)\ (?:also\ |well\ )?be|alternatively|or\ (?:maybe|perhaps"
        r"|possibly|even)",
        r"vielleicht|möglicherweise|könnte\w*|peut-être|quizás?|tal\ vez|talvez|forse|misschien|kanske|może"
        r"|возможно|может\ быть|mungkin|có\ thể|belki",
    )
    + r"[^,;:.\d\n]{0,25}$|(?:也许|可能是?|もしかすると|아마)[^,;\d]{0,6}$",
    re.IGNORECASE,
)
"""What makes a number one of several that are possible."""
ARRIVES_TO = re.compile(
    r"\b(?:adds?|added|adding|sums?|comes?|coming|amounts?|rounds?|rounded|sums?|works?\ out|reduces"
    r"|simplifies|leads|equal|brings?)"
    r"(?:\ \w+)?\ to\s*[\s*_`$]*$|\b(?:erhöht\w*|summier\w+)\b[^.;\n]{0,20}\ auf\s*$",
    re.IGNORECASE,
)
"""What stands before a number where `to` is no range: `add up to`."""
CHANGES_TO = re.compile(
    words(
        r"(?:rose|ris\w+|drop\w*|fell|fall\w*|go(?:es|ne|ing)?|went|increas\w+|decreas\w+|gr[eo]w\w*|chang\w+"
        r"|reduc\w+|improv\w+|climb\w*|jump\w*|shrink\w*|shrank|lower\w*|rais\w+|bring\w*|brought)"
        r"\b[^;\n!?]{0,60}\bto",
        r"(?:stieg|steigt|sank|sinkt|fiel|fällt|wuchs|erhöht\w*)\b[^;\n!?]{0,40}\bauf|(?:passe|passé|monte"
        r"|augmente|baisse|descend)\b[^;\n!?]{0,40}\bà"
        r"|(?:sube|subió|baja|bajó|aumenta|aumentó|pasó|pasa|sobe|subiu|caiu|aumentou|passou|sale|scende"
        r"|passa)\b[^;\n!?]{0,40}\b(?:a|para)",
    )
    + rf"\s+{DETERMINERS}{FILLER}$",
    re.IGNORECASE,
)
"""What stands before the number that something changes to: `rose from $40 to`."""
