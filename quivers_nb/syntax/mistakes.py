"""Findings about text that the grammar accepts and the language does not.

Facts come in, a `Diagnostic` goes out; `construct` and `shapes` decide when. Findings about text
that the grammar refuses are in `recovery`.
"""

from collections.abc import Sequence

from quivers_nb.diagnostics.diagnostic import Diagnostic, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.syntax import tree

LEVELS = ("algebra", "semigroupoid", "bilinear_form", "rule")
KINDS = ("FinSet", "Space", "Object", "Real", "Nat")
SORT_KINDS = ("object", "index", "data")
BARE_METHODS = ("curry_right", "curry_left", "dagger", "freeze")
CALLED_METHODS = ("marginalize", "change_base", "trace")
METHODS = BARE_METHODS + CALLED_METHODS

SHAPES = {
    "identity": "one object name, as in `identity(A)`",
    "cup": "one object name, as in `cup(A)`",
    "cap": "one object name, as in `cap(A)`",
    "from_data": 'one string, as in `from_data("weights")`',
    "fan": "one or more morphisms, as in `fan(f, g)`",
    "repeat": "a morphism and perhaps a whole number, as in `repeat(f, 3)`",
    "stack": "a morphism and a whole number, as in `stack(f, 3)`",
    "scan": "a morphism and perhaps `init`, as in `scan(cell, init=learned)`",
    "parser": "arguments by keyword, as in `parser(rules=[r], start=S)`",
    "ccg": "arguments by keyword, as in `ccg(start=S)`",
    "lambek": "arguments by keyword, as in `lambek(start=S)`",
    "chart_fold": "arguments by keyword, as in `chart_fold(lex=f, start=S)`",
}
METHOD_SHAPES = {
    "marginalize": "the names of one or more objects, as in `f.marginalize(A)`",
    "change_base": "one transformation, as in `f.change_base(softmax(A))`",
    "trace": "one object name, as in `f.trace(A)`",
}


def words(choices: Sequence[str]) -> str:
    """Choices in words: ``a``, ``b`` or ``c``."""
    quoted = [f"`{choice}`" for choice in choices]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _choice(code: str, what: str, name: tree.Name, choices: Sequence[str]) -> Diagnostic:
    """A word that is not one of a closed list."""
    near = nearest(name.text, choices)
    hint = f"did you mean `{near}`?" if near else f"write {words(choices)}"
    message = f"`{name.text}` is not {what}"
    return Diagnostic(code, message, name.span, hint=hint)


def unknown_level(name: tree.Name) -> Diagnostic:
    """``composition real as monoid``."""
    return _choice("Q0140", "a level of a composition", name, LEVELS)


def unknown_kind(name: tree.Name) -> Diagnostic:
    """``program p(G : Finset) : …``."""
    return _choice("Q0140", "a kind of parameter", name, (*KINDS, "Mor[A, B]"))


def unknown_sort_kind(name: tree.Name) -> Diagnostic:
    """``T : thing`` under ``sorts``."""
    return _choice("Q0140", "a kind of sort", name, SORT_KINDS)


def unknown_argument(call: tree.Name, key: tree.Name, keys: Sequence[str]) -> Diagnostic:
    """``parser(rule=[r])``."""
    return _choice("Q0140", f"an argument of `{call.text}`", key, keys)


def missing_options(kind: str, name: tree.Name, cod: Span) -> Diagnostic:
    """A morphism or contraction without its option block."""
    block = "[role=…]" if kind == "morphism" else "[rule=…]"
    example = "[role=latent]" if kind == "morphism" else "[rule=real]"
    return Diagnostic(
        "Q0102",
        f"{kind} `{name.text}` has no option block: `{block}` is required after the codomain",
        cod,
        hint=f"add a block after the codomain, for example `{example}`",
    )


def stray_options(obj: tree.Obj, block: tree.Options) -> Diagnostic:
    """Options after an object expression that takes none."""
    what = f"`{obj.name.text}`" if isinstance(obj, tree.ObjName) else "this object"
    return Diagnostic(
        "Q0131",
        f"{what} takes no options: only a space such as `Real 2 [low=0.0]` does",
        block.span,
        hint="leave the block out, or write all options of the declaration in one block at its end",
    )


def fractional_size(size: tree.Number) -> Diagnostic:
    """``FinSet 2.5``."""
    return Diagnostic(
        "Q0103", f"a finite set has a whole number of elements, not {size.text}", size.span,
        hint="write a whole number, as in `FinSet 3`",
    )  # fmt: skip


def setting_without_owner(name: tree.Name, key: tree.Name) -> Diagnostic:
    """``F(A, depth=2)`` where F is an ordinary name."""
    return Diagnostic(
        "Q0128", f"`{name.text}` takes no `{key.text}`: its arguments are objects", key.span,
        hint=f"leave `{key.text}=…` out",
    )  # fmt: skip


def free_object(name: tree.Name, span: Span) -> Diagnostic:
    """``FreeMonoid`` or ``FreeResiduated`` with arguments of the wrong shape."""
    shape = {
        "FreeMonoid": "`FreeMonoid(G, max_length=2)`, with `G` a declared set",
        "FreeResiduated": "`FreeResiduated(E, depth=1, ops=[slash])`, with `E` a declared enum",
    }[name.text]
    return Diagnostic(
        "Q0128", f"the arguments of `{name.text}` do not have the form {shape}", span,
        hint=f"write {shape}",
    )  # fmt: skip


def call_shape(name: tree.Name, span: Span) -> Diagnostic:
    """A reserved word, or a declared name, called with arguments of the wrong shape."""
    if shape := SHAPES.get(name.text):
        what, example = shape.split(", as in ")
        return Diagnostic("Q0128", f"`{name.text}` takes {what}", span, hint=f"write {example}")
    return Diagnostic(
        "Q0128",
        f"in an expression `{name.text}(…)` takes declared names and numbers only",
        span,
        hint="bind the inner expression with a `let` of its own and pass its name",
    )


def no_arguments(name: tree.Name, span: Span) -> Diagnostic:
    """``f()`` in an expression."""
    return Diagnostic(
        "Q0128", f"`{name.text}()` passes no arguments", span, hint=f"write `{name.text}`"
    )


def method_shape(method: tree.ExprMethod) -> Diagnostic | None:
    """What is wrong with a method: its name, missing or superfluous parentheses, its arguments."""
    name, args = method.method, method.args
    if name.text not in METHODS:
        return _choice("Q0129", "a method of morphisms", name, METHODS)
    if name.text in BARE_METHODS:
        if args is None:
            return None
        message = f"`.{name.text}` is written without parentheses"
        return Diagnostic("Q0129", message, name.span, hint=f"write `.{name.text}`")
    names = all(isinstance(arg, tree.ExprName) for arg in args or ())
    count = len(args or ())
    fits = {
        "marginalize": count >= 1 and names,
        "trace": count == 1 and names,
        "change_base": count == 1,
    }
    if fits[name.text]:
        return None
    what, example = METHOD_SHAPES[name.text].split(", as in ")
    message = f"`.{name.text}` takes {what}"
    return Diagnostic("Q0129", message, name.span, hint=f"write {example}")


def mixed_parameters(params: Sequence[tree.Param]) -> Diagnostic | None:
    """Input names and typed parameters in one list."""
    bare = [p for p in params if p.kind is None]
    typed = [p for p in params if p.kind is not None]
    if not bare or not typed:
        return None
    odd = typed[0] if params[0].kind is None else bare[0]
    first = params[0]
    what = "an input name" if first.kind is None else "a typed parameter"
    return Diagnostic(
        "Q0108",
        f"a program cannot mix input names (`{bare[0].name.text}`)"
        f" and typed parameters (`{typed[0].name.text}`)",
        odd.span,
        labels=(Label(first.span, what),),
        hint="give every parameter a kind (a template), or none (names of the input)",
    )


def some_labels(items: Sequence[tuple[tree.Name, tree.Name | None]]) -> Diagnostic:
    """``return (a: x, y)``."""
    bare = next(first for first, second in items if second is None)
    return Diagnostic(
        "Q0132", f"`{bare.text}` has no label, but other returned values have one", bare.span,
        hint=f"label every value, as in `label: {bare.text}`, or none",
    )  # fmt: skip


def pragma_without_declaration(options: tree.Options) -> Diagnostic:
    """An outer pragma with nothing after it."""
    return Diagnostic(
        "Q0125", "this pragma stands before no declaration", options.span,
        hint="put it on the line before a declaration, or write `#![…]` for the whole module",
    )  # fmt: skip


def docs_before_pragma(options: tree.Options) -> Diagnostic:
    """A doc comment above an inner pragma."""
    return Diagnostic(
        "Q0125", "a doc comment describes a declaration, not a pragma of the module", options.span,
        hint="write `# …` instead of `#! …`, or move the pragma above the doc comment",
    )  # fmt: skip


def too_deep(span: Span, limit: int) -> Diagnostic:
    """An expression or a block nested deeper than anyone can follow."""
    return Diagnostic(
        "Q0124", f"this is nested more than {limit} levels deep", span,
        hint="give the inner part a name of its own with `let`",
    )  # fmt: skip


def number_too_large(span: Span) -> Diagnostic:
    """A literal beyond what a float, or a reasonable integer, holds."""
    return Diagnostic(
        "Q0103", "this number is too large", span, hint="write a number below 1.0e308"
    )
