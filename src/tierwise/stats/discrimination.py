"""How well a score tells right answers from wrong ones of the same question."""

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
    counted = [pairs_won(answers) for answers in questions]
    pairs = sum(of for _, of in counted)
    return sum(won for won, _ in counted) / pairs if pairs else None


def pairs_won(answers: Sequence[tuple[float, bool]]) -> tuple[float, int]:
    """In how many pairs of a right and a wrong answer the right one has the higher score, ties counted half; and the
    number of pairs.
    """
    wrong = sorted(score for score, is_right in answers if not is_right)
    right = [score for score, is_right in answers if is_right]
    won = sum((bisect_left(wrong, score) + bisect_right(wrong, score)) / 2 for score in right)
    return won, len(right) * len(wrong)
