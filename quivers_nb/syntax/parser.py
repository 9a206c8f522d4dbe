"""Text to tree, with one diagnostic per broken statement.

A word is a keyword only where the machine can go on with it, so an object may be called
``sample``. At the start of each statement the machine is remembered; a statement that cannot be
read is explained (`recovery`), put aside, and the next one is read from the remembered place.
"""

from quivers_nb.diagnostics.errors import ParseError
from quivers_nb.diagnostics.source import SourceText, Span
from quivers_nb.syntax import tree
from quivers_nb.syntax.reader import Reader


def parse(source: SourceText | str) -> tree.Module:
    """Read a module.

    Raises:
        ParseError: the text is not a QVR module; carries one diagnostic per broken statement.
    """
    if isinstance(source, str):
        source = SourceText(source)
    reader = Reader(source.text)
    declarations = reader.read()
    if findings := reader.findings():
        raise ParseError(findings, source)
    return tree.Module(
        declarations=declarations,
        trailing=tuple(reader.lines.rest),
        span=Span(0, len(source.text)),
    )
