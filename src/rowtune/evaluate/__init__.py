"""How good vectors are: word similarity and analogies, with coverage and intervals."""

from rowtune.evaluate.analogies import Answers, answer, compare_answers
from rowtune.evaluate.pairs import Pairs, read_pairs
from rowtune.evaluate.questions import Questions, read_questions
from rowtune.evaluate.result import (
    Accuracy,
    AnalogyScores,
    Correlation,
    Difference,
    Lookups,
    SimilarityScores,
)
from rowtune.evaluate.similarity import Cosines, compare_cosines, cosines_of

__all__ = [
    "Accuracy",
    "AnalogyScores",
    "Answers",
    "Correlation",
    "Cosines",
    "Difference",
    "Lookups",
    "Pairs",
    "Questions",
    "SimilarityScores",
    "answer",
    "compare_answers",
    "compare_cosines",
    "cosines_of",
    "read_pairs",
    "read_questions",
]
