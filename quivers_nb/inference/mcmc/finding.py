"""A finding: something that speaks against trusting a run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` names the kind; ``fact`` says what was seen and ``advice`` what to do."""

    code: str
    fact: str
    advice: str

    def __str__(self) -> str:
        return f"{self.code}: {self.fact}. {self.advice}."
