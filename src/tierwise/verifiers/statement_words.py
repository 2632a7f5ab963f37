"""The words with which a statement begins that tell what it is for, in some twenty languages.

A table holds a line per language; the order is of no importance.
"""

from __future__ import annotations

import re


def words(*languages: str) -> str:
    """Words as one pattern, given as a line per language; none of them is a part of a longer word."""
    return r"(?<![^\W_])" + "(?:" + "|".join(languages) + ")" + r"(?![^\W_])"


OPENING = re.compile(r"[\s*_>#|•✓✅-]*(?:\(?\d{1,2}[.)]\s+)?[\s*_(\[]*")
"""What a sentence begins with before its first word: bullets, emphasis, the number of a step."""
CONCLUDES = (
    words(
        r"so|therefore|thus|hence|consequently|accordingly|finally|overall|altogether|in\ (?:total|all|sum|summary"
        r"|conclusion|short|brief|the\ end|other\ words)|to\ sum\ up|as\ a\ result|we\ (?:get|obtain|find|conclude)"
        r"|final\ \w+|at\ the\ end|eventually|result|total|conclusion|(?:this|that|which)\ (?:means|gives"
        r"|leaves|makes|yields|comes)",
        r"also|daher|somit|folglich|demnach|damit|deshalb|insgesamt|zusammen|kurz(?:\ gesagt|um)?|ergebnis"
        r"|das\ (?:ergibt|macht|sind)|fazit|am\ ende|schließlich",
        r"donc|ainsi|par\ conséquent|au\ total|en\ tout|résultat|on\ obtient|finalement|[àa]\ la\ fin"
        r"|en\ (?:bref|résumé)"
        r"|en\ conclusion|conclusion",
        r"por\ (?:lo\ )?tanto|así(?:\ que|\ pues)?|entonces|en\ (?:total|resumen)|resultado|en\ conclusión|finalmente"
        r"|al\ final|en\ conclusión|conclusión",
        r"portanto|logo|assim|então|em\ (?:resumo|suma)|no\ total|ao\ todo|por\ isso|no\ (?:fim|final)|conclusão",
        r"quindi|dunque|perciò|pertanto|in\ (?:totale|breve|sintesi)|risultato|allora|alla\ fine|conclusione",
        r"dus|daarom|in\ totaal|resultaat|samen|uiteindelijk|conclusie|kortom",
        r"alltså|därför|totalt|sammanlagt|resultat|altså|derfor",
        r"więc|zatem|czyli|razem|łącznie|w\ sumie|wynik",
        r"итак|значит|следовательно|таким\ образом|поэтому|всего|итого|в\ итоге|результат|отже|разом",
        r"jadi|maka|oleh\ karena\ itu|hasil(?:nya)?|totalnya",
        r"vậy|do\ đó|vì\ vậy|như\ vậy|tổng\ cộng|kết\ quả",
        r"yani|dolayısıyla|bu\ nedenle|toplam(?:da)?|sonuç|demek\ ki|öyleyse",
        r"إذن|لذلك|وبالتالي|بالتالي|المجموع|النتيجة",
        r"इसलिए|अतः|कुल|परिणाम",
    )
    + "|(?:所以|因此|故|总共|一共|总计|合计|综上|于是|結果|结果|合計|したがって|よって|ゆえに|つまり|だから"
    "|따라서|그러므로|그래서|합계|결과|총)"
)
"""How a sentence begins that concludes."""
RETRACTS = (
    words(
        r"(?:oh\ |hmm+,?\ |but\ )?wait|no(?=,|\ wait|\ -)|actually|correction|sorry|apologies|oops|scratch\ that|hmm+"
        r"|on\ second\ thoughts?|edit|let\ me\ (?:re(?!ad)|correct|fix|double)\w*|(?:i|we)\ (?:made|see|spot)\ "
        r"(?:an?|the|my|our)\ (?:\w+\ )?(?:error|mistake|slip)|my\ (?:mistake|bad)"
        r"|(?:that|this)(?:\ is|'s|\ was)\ (?:wrong|incorrect|not\ right)|i\ (?:misread|miscounted|forgot"
        r"|overlooked)",
        r"moment|halt|warte|korrektur|nein(?=,)|doch\ nicht|entschuldigung|stopp|quatsch|ich\ habe\ mich",
        r"attend(?:s|ez)|non(?=,)|correction|pardon|erratum|je\ me\ suis\ trompée?|en\ fait",
        r"espera|no(?=,)|corrección|perdón|me\ equivoqué|en\ realidad|mejor\ dicho",
        r"espere|não(?=,)|correção|desculpe|aliás|na\ verdade|me\ enganei",
        r"aspetta|un\ momento|no(?=,)|correzione|scusa(?:te)?|anzi|in\ realtà|mi\ sono\ sbagliat[oa]",
        r"wacht|nee(?=,)|correctie|toch\ niet|vänta|nej(?=,)|rättelse|förlåt|vent",
        r"czekaj|chwila|nie(?=,)|korekta|poprawka|przepraszam|pomyliłe?[mś]",
        r"стоп|подождите|погодите|нет(?=,)|исправление|поправка|извините|ошибся|зачекайте",
        r"tunggu|koreksi|ralat|maaf|khoan|đính\ chính|xin\ lỗi|nhầm|bekle|düzeltme|pardon|hayır(?=,)",
        r"انتظر|تصحيح|عذر[اًا]+|लेकिन\ रुकिए|रुकिए|रुको|सुधार|माफ़?",
    )
    + "|(?:等等|等一下|不对|不對|更正|抱歉|纠正|我算错|待って|いや|訂正|すみません|間違えました|잠깐|아니,|정정|죄송)"
)
"""How a sentence begins that takes back what was said before it."""
CONFIRMS = re.compile(
    words(
        r"yes|right|correct|indeed|confirmed|same|holds|checks\ out|agrees|matches|fine|stands|consistent",
        r"ja|richtig|stimmt|oui|exact|sí|correcto|sim|certo|sì|да|верно|tak|zgadza",
    )
    + "|正确|没错|正しい|맞",
    re.IGNORECASE,
)
REMARKS = (
    words(
        r"let\ me\ know|(?:i\ )?hope\ (?:this|that|it)|feel\ free|please\ (?:let|feel)|(?:would"
        r"|do)\ you\ (?:like|want|need)"
        r"|if\ you(?:'d|\ would)?\ (?:like|have|need|want|prefer)|is\ there\ anything|i(?:'d"
        r"|\ would)\ be\ (?:happy|glad)"
        r"|i\ can\ also|(?:happy|glad)\ to|i(?:'m|\ am)\ (?:\w+\ )?(?:\d+|sure|confident|certain)|confidence"
        r"|certainty"
        r"|sources?|references?|citations?|tips?|fun\ fact|here's\ a\ fun|did\ you\ know|p\.?\s?s\.?"
        r"|disclaimer|caveat"
        r"|assum\w+|this\ assumes|i(?:\ have|'ve)?\ (?:double|triple|re)?-?\ ?(?:checked|verified|assumed"
        r"|used|rounded)"
        r"|keep\ in\ mind|in\ practice|(?:i(?:'d|\ would)|we)\ (?:\w+\ )?(?:recommend|suggest|advise)"
        r"|bear\ in\ mind|remember|for\ (?:reference|comparison|context)|by\ the\ way|incidentally"
        r"|thanks|thank\ you|good\ luck|great\ question|(?:if|had)\ you\ (?:had\ |have\ )?(?:asked|meant"
        r"|wanted)|see\ (?:also|section|chapter|page)|difficulty|time\ (?:taken|spent)"
        r"|estimated|word\ count|tokens?",
        r"lass\ (?:mich|es\ mich)|sag\ (?:mir\ )?bescheid|empfehlung|tipp|rat|wenn\ du|falls\ (?:du|sie)"
        r"|möchtest\ du|ich\ hoffe|quellen?|tipp"
        r"|ich\ bin\ (?:mir\ )?(?:zu\ )?\d+|viel\ erfolg|zum\ vergleich|übrigens|hinweis|anmerkung|annahme",
        r"n'hésite[zs]?|si\ (?:vous|tu)\ (?:avez|as|voulez|souhaitez)|j'espère|voulez-vous|remarque|astuce"
        r"|conseils?|au\ fait|source",
        r"¿quieres|avísame|si\ (?:tienes|necesitas|quieres|deseas)|espero\ que|nota|fuentes?|consejo|por\ cierto",
        r"se\ (?:quiser|precisar|tiver)|fonte|dica|observação|fammi\ sapere|se\ vuoi|spero\ che|fonti|consiglio",
        r"laat\ (?:het\ )?me|als\ je|hopelijk|opmerking|säg\ till|om\ du\ (?:vill|har)|hoppas|källa|obs",
        r"daj\ znać|jeśli\ (?:chcesz|masz)|mam\ nadzieję|uwaga|źródł[oa]",
        r"если\ (?:у\ вас|хотите|нужно)|надеюсь|примечание|источники?|кстати|якщо",
        r"semoga|jika\ anda|catatan|sumber|hy\ vọng|nếu\ bạn|lưu\ ý|umarım|isterseniz|not(?=:)|kaynak",
        r"(?:note|remark|hint)(?=\W*:)|note(?=\ that)",
        r"ملاحظة|إذا\ كنت|آمل|नोट|यदि\ आप|अगर\ आप",
    )
    + "|(?:如果(?:你|您)|如(?:有|需)|希望(?:这|這|能)|需要我|注[::]|注意|备注|提示|来源|建议|建議|余裕|他に"
    "|ご(?:質問|不明)|注記|補足|참고|도움이|궁금"
    "|[^.\n]{0,30}물어보[셨시]다?면|[^.\n]{0,30}聞かれて)"
)
"""How a sentence begins that only surrounds the result: offers, wishes, notes, sources, confidence."""
UNASKED = re.compile(
    r"""(?:\bnot|n't)\ (?:\w+\ ){0,2}?(?:asked|requested|required|needed|wanted)(?:\ (?:for|about))?\s*[,)]
    |\bnicht\ (?:\w+\ )?(?:gefragt|gesucht|verlangt)|\bniet\ (?:\w+\ )?(?:gevraagd|nodig)|\binte\ (?:\w+\ )?efterfråga
    |\b(?:pas|non)\ (?:\w+\ )?demandée?s?\b|\bno\ se\ (?:pide|pedía|pregunta|preguntaba)|\bnão\ (?:foi\ |é\ )?pedid[oa]
    |\bnon\ (?:è\ |era\ )?(?:stat[oa]\ )?(?:richiest|chiest)[oa]|\bnie\ pytano|\bне\ спрашив""",
    re.IGNORECASE | re.VERBOSE,
)
"""An aside that says that the question asks for something else: `The area, which was not asked for, is 54`."""
EXPLAINS = (
    words(
        r"explanation|reason(?:ing)?|because|here(?:'s|\ is|\ are)\ (?:why|how|the|my|a)|breakdown"
        r"|to\ see\ (?:this|why)"
        r"|this\ is\ (?:because|since)|that(?:'s|\ is)\ (?:because|since)|(?:double-?|cross-?)?check(?:ed"
        r"|ing)?|verification"
        r"|verify(?:ing)?|proof|to\ (?:verify|check|confirm)|(?:let(?:'s|\ us|\ me))\ (?:\w+-)?(?:verify"
        r"|check|confirm)"
        r"|details?|how\ i\ got|working(?:s)?|steps?(?=:|\W*$|\W*\n)|calculation|derivation|solution\ steps"
        r"|why\b|where\ it\ comes",
        r"erklärung|begründung|denn|weil|probe|rechnung|rechenweg|kontrolle|nachweis|herleitung"
        r"|zur\ (?:kontrolle|probe)",
        r"explications?|parce\ que|car|vérification|détails?|calcul|justification|preuve|en\ effet",
        r"explicación|porque|comprobación|verificación|detalles?|cálculo|desglose|justificación",
        r"explicação|verificação|cálculos?|justificativa|spiegazione|perché|verifica|dettagli|calcolo|infatti",
        r"uitleg|omdat|want|controle|berekening|förklaring|eftersom|kontroll|beräkning|forklaring",
        r"wyjaśnienie|ponieważ|bo|sprawdzenie|obliczenia|uzasadnienie",
        r"объяснение|потому\ что|проверка|пояснение|решение|обоснование|пояснення|перевірка",
        r"penjelasan|karena|pemeriksaan|giải\ thích|vì|kiểm\ tra|açıklama|çünkü|kontrol|sağlama",
        r"الشرح|التفسير|لأن|التحقق|तर्क|व्याख्या|क्योंकि|जाँच|जांच",
    )
    + "|(?:解释|解析|理由|说明|因为|验证|检验|验算|過程|过程|説明|なぜなら|検算|確認|설명|왜냐하면|검산|이유|풀이)"
)
"""How a sentence begins from which on the text only explains or checks a result that it has given."""
ELABORATES = (
    words(
        r"there\ (?:are|is|were)|each|every|the[sy]e?|this|that(?:'s|\ is|\ was)?|here|with|without|if|for"
        r"|in\ (?:each|every)"
        r"|i|you|we|when|since|as|given|assuming|both|compared|but|however|of\ (?:these|those|course)"
        r"|on\ average|note",
        r"es\ (?:gibt|sind)|jede[rsnm]?|diese[rsnm]?|dabei|wenn|mit|pro|hier|davon|bei|für",
        r"il\ y\ a|chaque|chacun\w*|cela|c'est|avec|si|pour|dont|cet?te",
        r"hay|cada|est[aeo]s?|con|si|eso|para|há|isso|isto|com|se|ci\ sono|ogni|ciascun\w*|quest[oaei]|per",
        r"er\ zijn|elke?|dat|dit|als|met|det\ finns|varje|detta|om|med",
        r"każd\w+|jest|są|to|jeśli|при|кажд\w+|это|если|с|есть",
        r"setiap|ada|ini|jika|dengan|mỗi|có|nếu|đây|với|her|bu|eğer",
        r"كل|هناك|هذا|إذا|प्रत्येक|हर|यह|यदि|अगर",
    )
    + "|(?:每|有|这|這|如果|若|其中|それぞれ|各|これ|もし|そのうち|각|이는|만약)"
)
"""How a sentence begins that, after a conclusion, more often adds to it than concludes anew."""
STRONG = (
    words(
        r"(?:the|your|our|their|his|her|its|my)\ (?:\w+\ )?(?:total|sum|result|value|difference|product"
        r"|quotient|number"
        r"|final\ \w+|solution|mean|median|probability)\b[^.,;:]{0,40}?\ (?:is|are|was|comes\ to|equals|=)",
        r"it(?:'s|\ is|\ was|\ takes|\ costs)|that(?:'s|\ is|\ makes|\ leaves)|total(?:\ \w+){0,2}|result|sum"
        r"|yes|sure|no",
        r"das\ (?:ist|sind|macht|ergibt)|es\ (?:ist|sind)|(?:die|das)\ (?:summe|ergebnis|lösung)|gesamt\w*|ja"
        r"|nein|summe",
        r"c'est|cela\ fait|ça\ fait|il\ y\ en\ a|le\ (?:total|résultat)|la\ somme|oui|résultat",
        r"(?:son|es)(?=\ \d)|el\ (?:total|resultado)|la\ suma|sí|o\ (?:total|resultado)|a\ soma|são|é|sim"
        r"|somma|sono|è|sì"
        r"|il\ (?:totale|risultato)|la\ somma",
        r"het\ (?:is|zijn|totaal)|de\ som|det\ (?:är|blir)|summan|totalt|to\ (?:jest|daje)|wynik|suma|tak",
        r"это|сумма|итого|результат|да|total|jumlah(?:nya)?|hasilnya|tổng|toplam|sonuç|evet",
    )
    + "|(?:答|共|总|和为|是的|はい|答え|合計|네|답|총)"
)
"""How a sentence begins that says a result, without a word that concludes."""
TELLS_NOT = re.compile(
    r"""(?:\b(?:not|n't|without|lacks?)|n't)\ (?:\w+\ ){0,3}?(?:enough|sufficient)\ (?:information|data|details
      |context)
    |\b(?:insufficient|incomplete|missing)\ (?:information|data|details)|\b(?:need|require)s?\ (?:to\ know
      |(?:more|further)\ (?:information|data|details))
    |\bwould\ need\ (?:to\ know|the|more|an?)\b
    |(?:\b(?:cannot|can\ not|unable\ to|not\ able\ to|impossible\ to|not\ possible\ to|no\ way\ to)|can't|couldn't)
      \ (?:\w+\ ){0,2}?(?:solve|determined?|tell|answer(?:ed)?|say|know|work\ out|figure|compute|calculate|give
        |provide|find|be\ (?:known|solved|determined|calculated|computed|found|answered|priced|said))\b
    |\bdon't\ (?:know|have)\b|(?:\bnot|n't)\ (?:sure|specified|given|stated|known)\b|(?:cannot|can't)\ know\b
      |\bno\ (?:idea|clue)\b
    |(?:is|are|isn't|was)\ (?:missing|unknown|unspecified|undetermined|unclear|given)(?=\W*$)
    |\b(?:gives?|states?|mentions?|specif\w+|contains?|has)\ no\ \w+|\bdoes(?:n't|\ not)\ (?:say|state|specify
      |mention|give|tell|include)
    |^\W*(?:none\b|no\ (?:such|(?:\w+\ )?solutions?)\b|there(?:'s|\ is|\ are)\ no\b)|lässt\ sich\ (?:\w+\ )?nicht
    |\b(?:weiß|wissen)\ (?:ich\ |wir\ )?(?:es\ )?nicht|nicht\ (?:bestimm|genug|lösbar|berechn|beantwort
      |angegeben|bekannt)|fehlen?\ (?:die\ )?(?:angaben|informationen)|keine\ ahnung
    |\bno\ (?:lo\ )?sé\b|no\ (?:se\ puede|es\ posible|puedo)\ (?:determinar|saber|resolver|calcular|responder)
      |falta(?:n)?\ (?:información|datos)
    |impossible\ (?:de|à)\ (?:dire|savoir|déter|calcul|répond)|ne\ (?:sais|peux|peut|permet\w*)\ pas
      |on\ ne\ (?:peut|sait)\ pas|pas\ assez
    |não\ (?:sei|é\ possível|posso|dá\ para)|faltam?\ (?:dados|informaç)|non\ (?:lo\ )?so\b
      |non\ (?:è\ possibile|si\ può)|mancano\ (?:dati|informazioni)
    |weet\ (?:ik\ )?(?:het\ )?niet|niet\ te\ (?:bepalen|berekenen|zeggen)|onvoldoende|vet\ (?:jag\ )?inte
      |går\ inte\ att|otillräcklig
    |nie\ (?:wiem|da\ się|można|mogę)|brak\ (?:danych|informacji)|za\ mało\ danych
    |невозможно\ (?:определить|сказать|вычислить|ответить)|недостаточно\ (?:данных|информации)|не\ (?:знаю
      |могу)|нельзя\ определить
    |tidak\ (?:tahu|dapat|bisa|cukup)|không\ (?:biết|thể|đủ)|bilmiyorum|yeterli\ (?:bilgi|veri)|belirlenemez
      |hesaplanamaz
    |无法|無法|不知道|不能确定|信息不足|条件不足|分かりません|わかりません|不明|できません|알\ 수\ 없|모르|부족
    |لا\ (?:أعرف|يمكن|أعلم)|لا\ توجد\ معلومات|पता\ नहीं|नहीं\ (?:बता|कह|निकाल)|पर्याप्त\ जानकारी""",
    re.IGNORECASE | re.VERBOSE,
)
