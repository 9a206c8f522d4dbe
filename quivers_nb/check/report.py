"""Where findings are collected while a module is checked.

Checking never stops at the first fault. Whatever fails gets no meaning (None stands for an unknown
object, morphism or value), and whoever meets None stays silent: the fault was told once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from quivers_nb.diagnostics.diagnostic import Because, Diagnostic, Label, Severity
from quivers_nb.diagnostics.source import SourceText, Span


@dataclass
class Report:
    """The findings of one module, in the order in which they were made."""

    source: SourceText
    findings: list[Diagnostic] = field(default_factory=list)
    count: int = 0  # of errors told, repeated ones included: has anything gone wrong since …?
    _uses: dict[tuple[object, ...], list[Span]] = field(default_factory=dict)

    def error(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        labels: Iterable[Label] = (),
        because: Iterable[Because] = (),
        hint: str | None = None,
    ) -> None:
        """Add an error."""
        self.count += 1
        self._add(
            Diagnostic(code, message, span, tuple(labels), _once(because), hint, Severity.ERROR)
        )

    def undefined(
        self, code: str, message: str, span: Span, *, key: tuple[object, ...], hint: str | None
    ) -> None:
        """Add an error for the first use of a name that is not there; later uses only count."""
        uses = self._uses.setdefault((code, *key), [])
        self.count += 1
        if span in uses:
            return
        uses.append(span)
        told = Diagnostic(code, message, uses[0], hint=hint)
        if len(uses) > 1:
            more = f"{len(uses) - 1} more use{'s' if len(uses) > 2 else ''}"
            label = Label(uses[1], "also here")
            told = replace(told, message=f"{message} (and {more})", labels=(label,))
            self.findings = [d for d in self.findings if (d.code, d.span) != (code, uses[0])]
        self._add(told)

    def warning(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        labels: Iterable[Label] = (),
        because: Iterable[Because] = (),
        hint: str | None = None,
    ) -> None:
        """Add a warning."""
        self._add(
            Diagnostic(code, message, span, tuple(labels), _once(because), hint, Severity.WARNING)
        )

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.findings if d.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.findings if d.severity is Severity.WARNING)

    def text(self, span: Span) -> str:
        """The source text under ``span``, on one line."""
        return " ".join(self.source.text[span.start : span.stop].split())

    def line(self, span: Span) -> int:
        """The 1-based line on which ``span`` begins."""
        return self.source.place(span.start).line

    def _add(self, found: Diagnostic) -> None:
        if found not in self.findings:
            self.findings.append(found)


def _once(because: Iterable[Because]) -> tuple[Because, ...]:
    """The links of a chain without repetitions."""
    return tuple(dict.fromkeys(because))
