# budget: one dataclass per grammar production; splitting would scatter the grammar's mirror
"""The syntax tree: frozen dataclasses that mirror the grammar, with half-open spans.

Spans never take part in equality, so ``parse(print(tree)) == tree`` can be said of trees. Every
`Line` (declaration, step, entry) keeps the comments and blank lines before it and the comment at
its end, so that printing a tree loses nothing a person wrote.
"""

from dataclasses import dataclass, field

from quivers_nb.diagnostics.source import Span

NO_SPAN = Span(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Anything with a place in the text."""

    span: Span = field(default=NO_SPAN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An identifier and where it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A literal as written. ``value`` is an int exactly when no ``.`` or exponent was written."""

    value: int | float
    text: str = field(compare=False, default="")


@dataclass(frozen=True, slots=True)
class String(Node):
    """A string literal; ``raw`` keeps escapes unexpanded, without the quotes."""

    raw: str


# --- options ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OptionCall(Node):
    """``attention(heads=4)``: positional items and keyword items, in order."""

    name: Name
    args: tuple["tuple[Name | None, OptionItem]", ...]


@dataclass(frozen=True, slots=True)
class OptionList(Node):
    """``[dom, cod]``."""

    items: tuple["OptionItem", ...]


OptionItem = Name | String | Number
OptionValue = Name | String | Number | OptionList | OptionCall


@dataclass(frozen=True, slots=True)
class OptionEntry(Node):
    """``key`` or ``key=value``."""

    key: Name
    value: OptionValue | None


@dataclass(frozen=True, slots=True)
class Options(Node):
    """An option block ``[…]``; also the entries of a pragma."""

    entries: tuple[OptionEntry, ...]


# --- object expressions -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ObjName(Node):
    """A name in object position."""

    name: Name


@dataclass(frozen=True, slots=True)
class ObjInt(Node):
    """An integer in object position: the anonymous finite set of that size."""

    value: Number


@dataclass(frozen=True, slots=True)
class ObjFinSet(Node):
    """``FinSet 3``, ``FinSet(3)``, ``FinSet n``."""

    size: Number | Name


@dataclass(frozen=True, slots=True)
class ObjSpace(Node):
    """``Real 2 3 [low=0.0]``: a continuous constructor, its sizes and its own options."""

    ctor: Name
    sizes: tuple[Number | Name, ...]
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class ObjProduct(Node):
    """``A * B``, flattened."""

    factors: tuple["Obj", ...]


@dataclass(frozen=True, slots=True)
class ObjSum(Node):
    """``A + B``, flattened."""

    terms: tuple["Obj", ...]


@dataclass(frozen=True, slots=True)
class ObjSlash(Node):
    r"""``X / Y`` or ``X \ Y``, result first."""

    op: str  # "/" or "\\"
    result: "Obj"
    argument: "Obj"


@dataclass(frozen=True, slots=True)
class ObjApply(Node):
    """``Name(a, b)``: constructor or effect application, a pattern."""

    name: Name
    args: tuple["Obj", ...]


@dataclass(frozen=True, slots=True)
class ObjEnum(Node):
    """``{a, b, c}``; only as the value of ``object``."""

    labels: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class ObjFreeMonoid(Node):
    """``FreeMonoid(G, max_length=n)``."""

    generators: Name
    max_length: Number


@dataclass(frozen=True, slots=True)
class ObjFreeResiduated(Node):
    """``FreeResiduated(E, depth=d, ops=[…])``."""

    generators: Name
    depth: Number | None = None
    ops: tuple[Name, ...] | None = None


Obj = (
    ObjName | ObjInt | ObjFinSet | ObjSpace | ObjProduct | ObjSum | ObjSlash | ObjApply
    | ObjEnum | ObjFreeMonoid | ObjFreeResiduated
)  # fmt: skip


# --- morphism expressions -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExprName(Node):
    """A name in morphism position."""

    name: Name


@dataclass(frozen=True, slots=True)
class ExprBinary(Node):
    """``left op right``; ``op`` is a composition operator, ``>>>`` or ``@``."""

    op: str
    left: "Expr"
    right: "Expr"
    op_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ExprMethod(Node):
    """``e.dagger``, ``e.marginalize(A, B)``, ``e.change_base(t)``."""

    receiver: "Expr"
    method: Name
    args: tuple["Expr", ...] | None  # None: written without parentheses


@dataclass(frozen=True, slots=True)
class ExprCall(Node):
    """``c(f, g)`` or ``tmpl(Herd, 2.0)``: a declared name applied to names and numbers."""

    name: Name
    args: tuple[Name | Number, ...]


@dataclass(frozen=True, slots=True)
class ExprStructural(Node):
    """``identity(A)``, ``cup(A)``, ``cap(A)``; ``kind`` says which."""

    kind: Name
    obj: Name


@dataclass(frozen=True, slots=True)
class ExprFromData(Node):
    """``from_data("key")``."""

    key: String


@dataclass(frozen=True, slots=True)
class ExprFan(Node):
    """``fan(e1, …, en)``."""

    parts: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class ExprRepeat(Node):
    """``repeat(e, n)`` (shared parameters) or ``repeat(e)``."""

    body: "Expr"
    count: Number | None


@dataclass(frozen=True, slots=True)
class ExprStack(Node):
    """``stack(e, n)``: n copies with parameters of their own."""

    body: "Expr"
    count: Number


@dataclass(frozen=True, slots=True)
class ExprScan(Node):
    """``scan(cell, init=zeros|learned)``."""

    cell: "Expr"
    init: Name | None


@dataclass(frozen=True, slots=True)
class ParserArg(Node):
    """``rules=[a, b]``, ``start=S``, ``lex=e`` …"""

    key: Name
    value: "Name | Number | tuple[Name, ...] | Expr"


@dataclass(frozen=True, slots=True)
class ExprParser(Node):
    """``parser(…)``, ``ccg(…)``, ``lambek(…)``, ``chart_fold(…)``; ``kind`` says which."""

    kind: Name
    args: tuple[ParserArg, ...]


Expr = (
    ExprName | ExprBinary | ExprMethod | ExprCall | ExprStructural | ExprFromData | ExprFan
    | ExprRepeat | ExprStack | ExprScan | ExprParser
)  # fmt: skip


# --- let arithmetic -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LetName(Node):
    """A variable."""

    name: Name


@dataclass(frozen=True, slots=True)
class LetBinary(Node):
    """``left op right`` with op one of ``+ - * /``."""

    op: str
    left: "LetExpr"
    right: "LetExpr"


@dataclass(frozen=True, slots=True)
class LetNegate(Node):
    """Unary minus, applied to one atom."""

    operand: "LetExpr"


@dataclass(frozen=True, slots=True)
class LetCall(Node):
    """``f(a, b)``."""

    name: Name
    args: tuple["LetExpr", ...]


@dataclass(frozen=True, slots=True)
class LetIndex(Node):
    """``v[i, j]``."""

    name: Name
    indices: tuple["LetExpr", ...]


@dataclass(frozen=True, slots=True)
class LetMethod(Node):
    """``v.m(a)``."""

    receiver: Name
    method: Name
    args: tuple["LetExpr", ...]


@dataclass(frozen=True, slots=True)
class LetList(Node):
    """``[a, b]``."""

    items: tuple["LetExpr", ...]


@dataclass(frozen=True, slots=True)
class LetLambda(Node):
    """``x -> body``."""

    param: Name
    body: "LetExpr"


@dataclass(frozen=True, slots=True)
class FactorCase(Node):
    """``0 -> e`` inside ``factor … in {…}``."""

    label: Number
    body: "LetExpr"


@dataclass(frozen=True, slots=True)
class LetFactor(Node):
    """``factor v : I, w : J in body`` or ``factor v : I in { 0 -> a, 1 -> b }``."""

    binders: tuple[tuple[Name, Obj], ...]
    body: "LetExpr | tuple[FactorCase, ...]"


LetExpr = (
    Number | String | LetName | LetBinary | LetNegate | LetCall | LetIndex | LetMethod | LetList
    | LetLambda | LetFactor
)  # fmt: skip


# --- step arguments -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArgIndexed(Node):
    """``name[i, j]``: index *names* (or object expressions for templates)."""

    name: Name
    indices: tuple[Obj, ...]


@dataclass(frozen=True, slots=True)
class ArgCall(Node):
    """A nested family or measure operator, ``Normal(m, s)``."""

    name: Name
    args: tuple["StepArg", ...]


@dataclass(frozen=True, slots=True)
class ArgList(Node):
    """``[a, b]``."""

    items: tuple["StepArg", ...]


@dataclass(frozen=True, slots=True)
class ArgKeyword(Node):
    """``loc=mu``."""

    key: Name
    value: "StepArg"


StepArg = Name | Number | ArgIndexed | ArgCall | ArgList | ArgKeyword


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``F(a, b)`` at the right of ``<-`` and ``~``, or bare ``F`` after ``<-`` (``args`` None).

    After ``~`` a bare ``F`` is an `ExprName`: only the checker can tell a family from a morphism.
    """

    name: Name
    args: tuple[StepArg, ...] | None


# --- lines: declarations, steps and entries ---------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Node):
    """Something that owns a line.

    ``leading``: the comments before it, as written, and ``""`` for each blank line; ``docs``: the
    texts of its doc comments; ``trailing``: the comment at the end of its (first) line.
    """

    leading: tuple[str, ...] = ()
    trailing: str | None = None
    docs: tuple[str, ...] = ()
    pragmas: tuple[Options, ...] = ()  # outer pragmas before a declaration, or trailing ones


@dataclass(frozen=True, slots=True)
class SampleStep(Line):
    """``sample v : A <- M(args) [options]``; several names when destructuring."""

    names: tuple[Name, ...]
    index: Obj | None
    call: Call
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class ObserveStep(Line):
    """``observe y : A <- M(args) [options]``."""

    name: Name
    index: Obj | None
    call: Call
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class MarginalizeStep(Line):
    """``marginalize z : A <- F(args) [options]`` and its block."""

    name: Name
    index: Obj | None
    call: Call
    options: Options | None
    body: tuple["Step", ...]


@dataclass(frozen=True, slots=True)
class LetStep(Line):
    """``let v = e`` inside a program."""

    name: Name
    value: LetExpr


@dataclass(frozen=True, slots=True)
class ScoreStep(Line):
    """``score v = e``."""

    name: Name
    value: LetExpr


@dataclass(frozen=True, slots=True)
class ReturnStep(Line):
    """``return v``, ``return (v, w)``, ``return (label: v)``; ``labels`` is None or as long."""

    names: tuple[Name, ...]
    labels: tuple[Name, ...] | None = None
    is_tuple: bool = False


Step = SampleStep | ObserveStep | MarginalizeStep | LetStep | ScoreStep


@dataclass(frozen=True, slots=True)
class KindMor(Node):
    """``Mor[A, B]``."""

    dom: Obj
    cod: Obj


@dataclass(frozen=True, slots=True)
class Param(Node):
    """A program parameter; ``kind`` is None for an input name, else a kind's name or `KindMor`."""

    name: Name
    kind: Name | KindMor | None = None


@dataclass(frozen=True, slots=True)
class ProgramDecl(Line):
    """``program p(params) : A -> B [options]`` with its steps and its return."""

    name: Name
    params: tuple[Param, ...]
    dom: Obj
    cod: Obj
    options: Options | None
    steps: tuple[Step, ...]
    returns: ReturnStep


@dataclass(frozen=True, slots=True)
class CompositionEntry(Line):
    """``join(t) = max(t)``; ``params`` is None for a value entry."""

    name: Name
    params: tuple[Name, ...] | None
    value: LetExpr


@dataclass(frozen=True, slots=True)
class CompositionDecl(Line):
    """``composition NAME as LEVEL`` with its entries."""

    name: Name
    level: Name | None
    entries: tuple[CompositionEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class CategoryDecl(Line):
    """``category A, B``."""

    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class RuleDecl(Line):
    """``rule R(X, Y) : P, Q => C``."""

    name: Name
    params: tuple[Name, ...]
    premises: tuple[Obj, ...]
    conclusion: Obj


@dataclass(frozen=True, slots=True)
class SchemaDecl(Line):
    """``schema R(X, Y : K) : P * Q -> C``."""

    name: Name
    params: tuple[tuple[tuple[Name, ...], Obj], ...]
    dom: Obj
    cod: Obj


@dataclass(frozen=True, slots=True)
class BundleDecl(Line):
    """``bundle b = [a, b]``."""

    name: Name
    members: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class ObjectDecl(Line):
    """``object NAME : VALUE``."""

    name: Name
    value: Obj


@dataclass(frozen=True, slots=True)
class MorphismDecl(Line):
    """``morphism f : A -> B [options] ~ init``; a `Call` when init reads as ``F(args)``."""

    name: Name
    dom: Obj
    cod: Obj
    options: Options
    init: Call | Expr | None = None


@dataclass(frozen=True, slots=True)
class ContractionInput(Node):
    """``name : A -> B``."""

    name: Name
    dom: Obj
    cod: Obj


@dataclass(frozen=True, slots=True)
class ContractionDecl(Line):
    """``contraction c (a : A -> B, …) : C -> D [options]``."""

    name: Name
    inputs: tuple[ContractionInput, ...]
    dom: Obj
    cod: Obj
    options: Options


@dataclass(frozen=True, slots=True)
class LetDecl(Line):
    """``let g = e where …``."""

    name: Name
    value: Expr
    where: tuple["LetDecl", ...] = ()


@dataclass(frozen=True, slots=True)
class DataDecl(Line):
    """``data w : A -> B``."""

    name: Name
    dom: Obj
    cod: Obj


@dataclass(frozen=True, slots=True)
class ExportDecl(Line):
    """``export e``."""

    value: Expr


@dataclass(frozen=True, slots=True)
class PragmaLine(Line):
    """An inner pragma ``#![…]`` of the module."""

    options: Options


@dataclass(frozen=True, slots=True)
class AtomsEntry(Line):
    """``atoms A, B`` or ``binders Lam`` (``kind`` says which)."""

    kind: Name
    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class DeductionRule(Line):
    """``rule r : P, Q |- C #[…]``."""

    name: Name
    premises: tuple[Obj, ...]
    conclusion: Obj


@dataclass(frozen=True, slots=True)
class LexiconEntry(Line):
    """``"word" : CAT = form``; ``category`` is ``"*"``, label names, or an object expression."""

    word: String
    category: str | tuple[Name, ...] | Obj
    form: LetExpr


@dataclass(frozen=True, slots=True)
class LexiconBlock(Line):
    """``lexicon`` and its entries."""

    entries: tuple[LexiconEntry, ...]


@dataclass(frozen=True, slots=True)
class LexiconFile(Line):
    """``lexicon from "file" [options]``."""

    path: String
    options: Options | None


@dataclass(frozen=True, slots=True)
class DeductionDecl(Line):
    """``deduction D : A -> B [options]`` and its entries."""

    name: Name
    dom: Obj
    cod: Obj
    options: Options | None
    entries: tuple[AtomsEntry | DeductionRule | LexiconBlock | LexiconFile, ...]


@dataclass(frozen=True, slots=True)
class SortEntry(Line):
    """``S : object [dim=4]`` under sorts or vertex_kinds."""

    name: Name
    kind: Name
    options: Options | None


@dataclass(frozen=True, slots=True)
class ConstructorEntry(Line):
    """``op : s1, s2 -> s``."""

    name: Name
    args: tuple[Name, ...]
    result: Name


@dataclass(frozen=True, slots=True)
class BoundVar(Node):
    """``x : S : ty : T``; the annotation may be absent."""

    name: Name
    sort: Name
    annotation: tuple[Name, Name] | None = None


@dataclass(frozen=True, slots=True)
class BinderEntry(Line):
    """``op : binds (x : S) in (arg : T) -> U``."""

    name: Name
    variables: tuple[BoundVar, ...]
    scopes: tuple[tuple[Name, Name], ...]
    result: Name


@dataclass(frozen=True, slots=True)
class EdgeEntry(Line):
    """``e : A -> B`` (directed) or ``e : A -- B``."""

    name: Name
    source: Name
    directed: bool
    target: Name


@dataclass(frozen=True, slots=True)
class SignatureSection(Line):
    """One of sorts, constructors, binders, vertex_kinds, edge_kinds."""

    kind: Name
    entries: tuple[SortEntry | ConstructorEntry | BinderEntry | EdgeEntry, ...]


@dataclass(frozen=True, slots=True)
class SignatureDecl(Line):
    """``signature S(params)`` and its sections."""

    name: Name
    params: tuple[Name, ...]
    sections: tuple[SignatureSection, ...]


@dataclass(frozen=True, slots=True)
class CoderEntry(Line):
    """One entry of an encoder or decoder body.

    ``kind``: ``dim iterations readout init message update var_init op`` (encoder) or
    ``dim body structure primitive factor binder_select`` (decoder). ``index`` is the bracketed name
    of message/update; ``mode`` is (``recurrent``|``attention``, name); ``source`` holds the names
    after ``from`` and ``as`` of var_init.
    """

    kind: str
    name: Name | None = None
    index: Name | None = None
    args: tuple[Name, ...] = ()
    mode: tuple[Name, Name] | None = None
    source: tuple[Name, ...] = ()
    number: Number | None = None
    body: LetExpr | None = None


@dataclass(frozen=True, slots=True)
class CoderDecl(Line):
    """``encoder E : Sig`` or ``decoder D over Sig`` (``kind`` says which)."""

    kind: str
    name: Name
    signature: Name
    params: tuple[Name, ...]
    options: Options | None
    entries: tuple[CoderEntry, ...]


@dataclass(frozen=True, slots=True)
class LossDecl(Line):
    """``loss L [options]`` and its body."""

    name: Name
    options: Options | None
    body: LetExpr


Declaration = (
    CompositionDecl | CategoryDecl | RuleDecl | SchemaDecl | ObjectDecl | MorphismDecl | BundleDecl
    | ProgramDecl | DataDecl | ContractionDecl | LetDecl | ExportDecl | DeductionDecl
    | SignatureDecl | CoderDecl | LossDecl | PragmaLine
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Module(Node):
    """A parsed source file. ``trailing``: comments and blank lines after the last declaration."""

    declarations: tuple[Declaration, ...]
    trailing: tuple[str, ...] = ()
