"""How well a score tells right answers from wrong ones of the same question. Without numpy: it is a part of serving."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence


def within_question_auroc(questions: Iterable[Sequence[tuple[float, bool]]]) -> float | None:
    """The share of pairs of a right and a wrong answer to one question in which the right one has the higher score.

    Ties count half. Pairs of all questions count alike, so a question with many draws of both kinds has more of them.
    Pairs across questions are left out: they mostly show which questions are easy.

    Args:
        questions: for each question, the score of each answer and whether it is right.

    Returns:
        From 0 to 1, ½ without discrimination; None if no question has both a right and a wrong answer.
    """
    won, pairs = 0.0, 0
    for answers in questions:
        wrong = sorted(score for score, is_right in answers if not is_right)
        right = [score for score, is_right in answers if is_right]
        won += sum((bisect_left(wrong, score) + bisect_right(wrong, score)) / 2 for score in right)
        pairs += len(right) * len(wrong)
    return won / pairs if pairs else None
