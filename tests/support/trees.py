"""Strategies for syntax trees: every node type, in the normal form that the parser gives.

Normal form: products hold no products and sums no sums; the head of an `ExprCall` is no reserved
word; an initializer that reads as ``F(args)`` is a `Call`; every label or none; comments are what
a comment can be. Names are drawn from a pool in which many are keywords elsewhere.
"""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from quivers_nb.syntax import tree
from quivers_nb.syntax.machine import SPACES
from quivers_nb.syntax.mistakes import BARE_METHODS, KINDS, LEVELS, SORT_KINDS
from quivers_nb.syntax.shapes import FOLD_KEYS, PARSER_KEYS

names = st.builds(
    tree.Name,
    st.sampled_from(
        ["a", "b", "f", "X", "Y2", "_t", "sample", "let", "object", "return", "role", "factor"]
    ),
)
object_names = names.filter(lambda name: name.text not in SPACES)
ints = st.builds(tree.Number, st.integers(0, 10**6))
floats = st.builds(tree.Number, st.floats(0, allow_nan=False, allow_infinity=False))
literals = ints | floats
numbers = st.builds(tree.Number, st.integers(-9, 9) | st.floats(-1e300, 1e300))
strings = st.builds(tree.String, st.from_regex(r'([^"\\\n\r]|\\[^\n\r])*', fullmatch=True))


def some(items: SearchStrategy[object], least: int = 1, most: int = 3) -> SearchStrategy[tuple]:
    """A short tuple."""
    return st.lists(items, min_size=least, max_size=most).map(tuple)


maybe = st.none().__or__
name_tuples = some(names)

# --- options ----------------------------------------------------------------------------------

option_items = names | strings | numbers
option_values = (
    option_items
    | st.builds(tree.OptionList, some(option_items, 0))
    | st.builds(
        tree.OptionCall,
        names,
        some(st.tuples(maybe(names), option_items), 0),
    )
)
option_entries = st.builds(tree.OptionEntry, names, maybe(option_values))
options = st.builds(tree.Options, some(option_entries, 0))
pragmas = st.builds(tree.Options, some(option_entries))

# --- objects ----------------------------------------------------------------------------------

sizes = ints | object_names
spaces = st.builds(
    tree.ObjSpace,
    st.sampled_from(sorted(SPACES)).map(tree.Name),
    some(sizes | floats, 1, 2),
    maybe(options),
)
object_atoms = (
    st.builds(tree.ObjName, object_names)
    | st.builds(tree.ObjInt, ints)
    | st.builds(tree.ObjFinSet, sizes)
    | spaces
    | st.builds(tree.ObjFreeMonoid, object_names, ints)
    | st.builds(tree.ObjFreeResiduated, object_names, maybe(ints), maybe(some(names, 0)))
)


def _not(cls: type, items: SearchStrategy[tree.Obj]) -> SearchStrategy[tree.Obj]:
    return items.filter(lambda item: not isinstance(item, cls))


def _compound_objects(inner: SearchStrategy[tree.Obj]) -> SearchStrategy[tree.Obj]:
    return (
        st.builds(tree.ObjProduct, some(_not(tree.ObjProduct, inner), 2))
        | st.builds(tree.ObjSum, some(_not(tree.ObjSum, inner), 2))
        | st.builds(tree.ObjSlash, st.sampled_from("/\\"), inner, inner)
        | st.builds(tree.ObjApply, object_names, some(inner, 1, 2))
    )


objects = st.recursive(object_atoms, _compound_objects, max_leaves=5)
enums = st.builds(tree.ObjEnum, name_tuples)

# --- morphism expressions -----------------------------------------------------------------------

operators = st.sampled_from(
    [">>", "<<", ">=>", "*>", "~>", "||>", "?>", "&&>", "+>", "$>", "%>", ">>>", "@"]
)
expr_names = st.builds(tree.ExprName, names)
expr_atoms = (
    expr_names
    | st.builds(tree.ExprCall, names, some(names | numbers))
    | st.builds(
        tree.ExprStructural, st.sampled_from(["identity", "cup", "cap"]).map(tree.Name), names
    )
    | st.builds(tree.ExprFromData, strings)
)


def _keyed(
    kinds: list[str], keys: tuple[str, ...], values: SearchStrategy[object]
) -> SearchStrategy[tree.Expr]:
    args = st.builds(tree.ParserArg, st.sampled_from(keys).map(tree.Name), values)
    return st.builds(tree.ExprParser, st.sampled_from(kinds).map(tree.Name), some(args, 0))


def _methods(inner: SearchStrategy[tree.Expr]) -> SearchStrategy[tree.Expr]:
    def called(name: str, args: SearchStrategy[tuple]) -> SearchStrategy[tree.Expr]:
        return st.builds(tree.ExprMethod, inner, st.just(tree.Name(name)), args)

    bare = st.sampled_from(BARE_METHODS).map(tree.Name)
    return (
        st.builds(tree.ExprMethod, inner, bare, st.none())
        | called("marginalize", some(expr_names))
        | called("trace", some(expr_names, 1, 1))
        | called("change_base", some(inner, 1, 1))
    )


def _compound_exprs(inner: SearchStrategy[tree.Expr]) -> SearchStrategy[tree.Expr]:
    named = inner.filter(lambda e: not isinstance(e, tree.ExprName))
    return (
        st.builds(tree.ExprBinary, operators, inner, inner)
        | _methods(inner)
        | st.builds(tree.ExprFan, some(inner))
        | st.builds(tree.ExprRepeat, inner, maybe(ints))
        | st.builds(tree.ExprStack, inner, ints)
        | st.builds(tree.ExprScan, inner, maybe(names))
        | _keyed(["parser", "ccg", "lambek"], PARSER_KEYS, names | ints | some(names, 0))
        | _keyed(["chart_fold"], FOLD_KEYS, names | ints | named)
    )


exprs = st.recursive(expr_atoms, _compound_exprs, max_leaves=6)

# --- let arithmetic -----------------------------------------------------------------------------

let_atoms = literals | strings | st.builds(tree.LetName, names)
binders = some(st.tuples(names, objects), 1, 2)


def _compound_lets(inner: SearchStrategy[tree.LetExpr]) -> SearchStrategy[tree.LetExpr]:
    cases = some(st.builds(tree.FactorCase, ints, inner))
    return (
        st.builds(tree.LetBinary, st.sampled_from("+-*/"), inner, inner)
        | st.builds(tree.LetNegate, inner)
        | st.builds(tree.LetCall, names, some(inner, 0))
        | st.builds(tree.LetIndex, names, some(inner))
        | st.builds(tree.LetMethod, names, names, some(inner, 0))
        | st.builds(tree.LetList, some(inner, 0))
        | st.builds(tree.LetLambda, names, inner)
        | st.builds(tree.LetFactor, binders, inner | cases)
    )


lets = st.recursive(let_atoms, _compound_lets, max_leaves=6)

# --- step arguments -----------------------------------------------------------------------------

arg_atoms = names | numbers | st.builds(tree.ArgIndexed, names, some(objects, 1, 2))


def _compound_args(inner: SearchStrategy[tree.StepArg]) -> SearchStrategy[tree.StepArg]:
    return (
        st.builds(tree.ArgCall, names, some(inner, 0))
        | st.builds(tree.ArgList, some(inner, 0))
        | st.builds(tree.ArgKeyword, names, inner)
    )


args = st.recursive(arg_atoms, _compound_args, max_leaves=4)
full_calls = st.builds(tree.Call, names, some(args, 0))
calls = full_calls | st.builds(tree.Call, names, st.none())

# --- lines --------------------------------------------------------------------------------------

_words = st.from_regex(r"[a-z]{1,6}( [a-z(\[{#!]{1,5}){0,2}", fullmatch=True)
comments = _words.map(lambda text: f"# {text}") | _words.map(lambda text: f"#{{ {text}\n{text} }}#")
around = {
    "leading": some(comments | st.just(""), 0, 2),
    "trailing": maybe(comments),
    "docs": some(_words, 0, 2),
}
outside = {**around, "pragmas": some(pragmas, 0, 2)}
trailed = {**around, "pragmas": some(pragmas, 0, 1)}

draws = {"index": maybe(objects), "call": calls, "options": maybe(options)}
samples = st.builds(tree.SampleStep, names=name_tuples, **draws, **around)
observes = st.builds(tree.ObserveStep, name=names, **draws, **around)
let_steps = st.builds(tree.LetStep, names, lets, **around)
scores = st.builds(tree.ScoreStep, names, lets, **around)
_simple_steps = samples | observes | let_steps | scores


def _marginalized(inner: SearchStrategy[tree.Step]) -> SearchStrategy[tree.Step]:
    return st.builds(tree.MarginalizeStep, name=names, **draws, body=some(inner, 1, 2), **around)


steps = st.recursive(_simple_steps, _marginalized, max_leaves=3)


@st.composite
def returns(draw: st.DrawFn) -> tree.ReturnStep:
    """``return``: a name, a tuple, or a tuple with labels."""
    lines = {key: draw(value) for key, value in around.items()}
    if draw(st.booleans()):
        return tree.ReturnStep((draw(names),), **lines)
    found = draw(some(names))
    labels = draw(maybe(some(names, len(found), len(found))))
    return tree.ReturnStep(found, labels, True, **lines)


typed_params = st.builds(
    tree.Param,
    names,
    st.sampled_from(KINDS).map(tree.Name) | st.builds(tree.KindMor, objects, objects),
)
programs = st.builds(
    tree.ProgramDecl,
    name=names,
    params=some(st.builds(tree.Param, names), 0) | some(typed_params),
    dom=objects,
    cod=objects,
    options=maybe(options),
    steps=some(steps, 0),
    returns=returns(),
    **outside,
)
inits = full_calls | exprs.filter(lambda e: not isinstance(e, tree.ExprCall))
let_decls = st.recursive(
    st.builds(tree.LetDecl, names, exprs, **around),
    lambda inner: st.builds(tree.LetDecl, names, exprs, some(inner, 1, 2), **around),
    max_leaves=3,
)
premises = some(objects, 1, 2)
deduction_entries = (
    st.builds(
        tree.AtomsEntry,
        st.sampled_from(["atoms", "binders"]).map(tree.Name),
        name_tuples,
        **around,
    )
    | st.builds(tree.DeductionRule, names, premises, objects, **trailed)
    | st.builds(
        tree.LexiconBlock,
        some(
            st.builds(
                tree.LexiconEntry, strings, st.just("*") | name_tuples | objects, lets, **trailed
            )
        ),
        **around,
    )
    | st.builds(tree.LexiconFile, strings, maybe(options), **around)
)


def _section(kinds: list[str], entries: SearchStrategy[tree.Line]) -> SearchStrategy[tree.Line]:
    kind = st.sampled_from(kinds).map(tree.Name)
    return st.builds(tree.SignatureSection, kind, some(entries, 1, 2), **around)


sort_entries = st.builds(
    tree.SortEntry, names, st.sampled_from(SORT_KINDS).map(tree.Name), maybe(options), **around
)
bound_vars = st.builds(tree.BoundVar, names, names, maybe(st.tuples(names, names)))
binder_entries = st.builds(
    tree.BinderEntry, names, some(bound_vars), some(st.tuples(names, names)), names, **around
)
sections = (
    _section(["sorts", "vertex_kinds"], sort_entries)
    | _section(
        ["constructors"],
        st.builds(tree.ConstructorEntry, names, some(names, 0), names, **around),
    )
    | _section(["binders"], binder_entries)
    | _section(
        ["edge_kinds"], st.builds(tree.EdgeEntry, names, names, st.booleans(), names, **around)
    )
)


def _entry(kinds: list[str], **fields: SearchStrategy[object]) -> SearchStrategy[tree.CoderEntry]:
    return st.builds(tree.CoderEntry, kind=st.sampled_from(kinds), **fields, **around)


one = some(names, 1, 1)
modes = st.tuples(st.sampled_from(["recurrent", "attention"]).map(tree.Name), names)
dims = _entry(["dim"], name=names, number=ints)
encoder_entries = (
    dims
    | _entry(["iterations"], number=ints)
    | _entry(["readout"], body=lets)
    | _entry(["init"], name=names, args=one, body=lets)
    | _entry(["message", "update"], index=names, args=some(names, 2, 2), body=lets)
    | _entry(["var_init"], name=names, source=some(names, 0, 2), body=lets)
    | _entry(["op"], name=names, args=some(names, 0), mode=maybe(modes), body=lets)
)
decoder_entries = (
    dims
    | _entry(["body"])
    | _entry(["structure", "primitive", "factor", "binder_select"], args=one, body=lets)
)


def _coder(
    kind: str, entries: SearchStrategy[tuple[tree.CoderEntry, ...]]
) -> SearchStrategy[tree.CoderDecl]:
    return st.builds(
        tree.CoderDecl, st.just(kind), names, names, some(names, 0), maybe(options), entries,
        **outside,
    )  # fmt: skip


inputs = st.builds(tree.ContractionInput, names, objects, objects)
schema_params = some(st.tuples(name_tuples, objects), 1, 2)
entries = st.builds(tree.CompositionEntry, names, maybe(name_tuples), lets, **around)

DECLARATIONS: dict[str, SearchStrategy[tree.Declaration]] = {
    "composition": st.builds(
        tree.CompositionDecl,
        names,
        maybe(st.sampled_from(LEVELS).map(tree.Name)),
        some(entries, 0),
        **outside,
    ),
    "category": st.builds(tree.CategoryDecl, name_tuples, **outside),
    "rule": st.builds(tree.RuleDecl, names, name_tuples, premises, objects, **outside),
    "schema": st.builds(tree.SchemaDecl, names, schema_params, objects, objects, **outside),
    "bundle": st.builds(tree.BundleDecl, names, some(names, 0), **outside),
    "object": st.builds(tree.ObjectDecl, names, objects | enums, **outside),
    "morphism": st.builds(
        tree.MorphismDecl, names, objects, objects, options, maybe(inits), **outside
    ),
    "contraction": st.builds(
        tree.ContractionDecl, names, some(inputs, 1, 2), objects, objects, options, **outside
    ),
    "let": let_decls,
    "data": st.builds(tree.DataDecl, names, objects, objects, **outside),
    "export": st.builds(tree.ExportDecl, exprs, **outside),
    "pragma": st.builds(
        tree.PragmaLine, pragmas, leading=around["leading"], trailing=around["trailing"]
    ),
    "program": programs,
    "deduction": st.builds(
        tree.DeductionDecl, names, objects, objects, maybe(options), some(deduction_entries),
        **outside,
    ),
    "signature": st.builds(tree.SignatureDecl, names, some(names, 0), some(sections), **outside),
    "encoder": _coder("encoder", some(encoder_entries, 0)),
    "decoder": _coder("decoder", some(decoder_entries)),
    "loss": st.builds(tree.LossDecl, names, maybe(options), lets, **outside),
}  # fmt: skip

modules = st.builds(
    tree.Module,
    some(st.one_of(*DECLARATIONS.values()), 0, 4),
    some(comments | st.just(""), 0, 2),
)
