"""What parses and is known, but has no meaning at run time yet: one finding names it (Q0901)."""

from quivers_nb.check.report import Report
from quivers_nb.diagnostics.source import Span


def not_lowered(construct: str, span: Span, report: Report, hint: str | None = None) -> None:
    """A declaration, an expression or a step that cannot be compiled yet."""
    report.error("Q0901", f"{construct} is not supported yet", span, hint=hint)
