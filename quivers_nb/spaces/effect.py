"""The four effects a program may declare (section 7.10)."""

from enum import Enum


class Effect(Enum):
    """What running a program does; ``Pure`` is the absence of the others."""

    SAMPLE = "Sample"
    SCORE = "Score"
    MARGINAL = "Marginal"
    PURE = "Pure"
