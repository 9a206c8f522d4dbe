"""A finding: something that speaks against trusting a run."""

from dataclasses import dataclass

# The page of each code says what the finding means, with a run that has it and one that has not.
CODES = {
    "interrupted": "Q1001",
    "not-moved": "Q1002",
    "divergences": "Q1003",
    "low-bfmi": "Q1004",
    "tree-depth": "Q1005",
    "r-hat": "Q1006",
    "low-ess": "Q1007",
    "low-tail-ess": "Q1008",
    "centering": "Q1009",
    "not-settled": "Q1010",
    "label-switching": "Q1011",
    "undefined-density": "Q1012",
    "evidence-spread": "Q1014",
    "particles-still": "Q1015",
    "few-particles": "Q1016",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """``name`` is the kind, with a code; ``fact`` says what was seen and ``advice`` what to do."""

    name: str
    fact: str
    advice: str

    @property
    def code(self) -> str:
        """The code of its page in the catalogue of diagnostics."""
        return CODES[self.name]

    def __str__(self) -> str:
        return f"{self.name}: {self.fact}. {self.advice}. ({self.code})"
