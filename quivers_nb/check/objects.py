"""Objects: from an object expression to a finite set, a space or a product (section 3)."""

from collections.abc import Callable
from typing import Any

from quivers_nb.check.options import BOUND, NUMBER, Kind, read_options
from quivers_nb.check.scope import ObjectBinding, Pattern, Scope
from quivers_nb.check.term import Axis
from quivers_nb.check.words import enum_set, free_monoid, free_residuated
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.space import (
    Finite,
    FinSet,
    Object,
    Size,
    SizeVar,
    Space,
    SumSet,
    factors,
    is_finite,
    product,
)
from quivers_nb.syntax import tree

CONSTRUCTORS: dict[str, tuple[int, int]] = {  # least and greatest number of sizes
    "Real": (1, 99), "Simplex": (1, 1), "Sphere": (1, 1), "Ball": (1, 1), "CholeskyFactor": (1, 1),
    "Covariance": (1, 1), "Correlation": (1, 1), "Orthogonal": (1, 1), "Stiefel": (2, 2),
    "LowerTriangular": (1, 1), "Diagonal": (1, 1),
}  # fmt: skip
LARGEST = 2**31 - 1  # what an index can count to on every device
WORDS = (*CONSTRUCTORS, "FinSet", "FreeMonoid", "FreeResiduated")


def declare_object(decl: tree.ObjectDecl, scope: Scope) -> None:
    """Bind the name of an `object` line."""
    value: Object | Pattern | None
    if _is_pattern(decl.value):
        value = Pattern(scope.report.text(decl.value.span))
    elif isinstance(decl.value, tree.ObjEnum):
        value = enum_set(decl.name.text, decl.value, scope)
    else:
        value = check_object(decl.value, scope)
    axes = _declared_axes(decl, value, scope)
    scope.declare_object(decl.name, ObjectBinding(value, axes, decl.name.span))


def check_object(obj: tree.Obj, scope: Scope) -> Object | None:
    """The object that an expression denotes, or None after saying why there is none."""
    return OBJECTS[type(obj)](obj, scope)


def check_finite(obj: tree.Obj, scope: Scope, *, code: str, what: str) -> Finite | None:
    """Like `check_object`, but a space is an error: ``what`` says who needs a finite set."""
    value = check_object(obj, scope)
    if value is None or is_finite(value):
        return value  # type: ignore[return-value]
    text = scope.report.text(obj.span)
    scope.report.error(
        code,
        f"{what} must be finite, but `{text}` is a space ({value})",
        obj.span,
        labels=declared_label(obj, scope),
    )
    return None


def axes_of(obj: tree.Obj, scope: Scope) -> tuple[Axis, ...]:
    """The axes a plate over a finite object expression adds, one per factor, with their names."""
    if isinstance(obj, tree.ObjName) and obj.name.text in scope.objects:
        return scope.objects[obj.name.text].axes
    size = obj.size if isinstance(obj, tree.ObjFinSet) else None
    if isinstance(size, tree.Name) and size.text in scope.objects:
        return scope.objects[size.text].axes
    if isinstance(obj, tree.ObjProduct):
        return tuple(axis for factor in obj.factors for axis in axes_of(factor, scope))
    value = check_object(obj, scope)
    if value is None or not is_finite(value):
        return ()
    return tuple(Axis(None, factor) for factor in factors(value) if not isinstance(factor, Space))


def declared_label(obj: tree.Obj, scope: Scope) -> tuple[Label, ...]:
    """A label at the declaration of an object that is named."""
    if isinstance(obj, tree.ObjName) and obj.name.text in scope.objects:
        return (Label(scope.objects[obj.name.text].span, f"`{obj.name.text}` is declared here"),)
    return ()


def _declared_axes(
    decl: tree.ObjectDecl, value: Object | Pattern | None, scope: Scope
) -> tuple[Axis, ...]:
    if value is None or isinstance(value, Pattern) or not is_finite(value):
        return ()
    parts = factors(value)
    if len(parts) > 1:
        return axes_of(decl.value, scope)
    return (Axis(decl.name.text, value),)  # type: ignore[arg-type]


def _is_pattern(obj: tree.Obj) -> bool:
    match obj:
        case tree.ObjSlash() | tree.ObjApply():
            return True
        case tree.ObjProduct():
            return any(map(_is_pattern, obj.factors))
        case tree.ObjSum():
            return any(map(_is_pattern, obj.terms))
        case _:
            return False


def _object_name(obj: tree.ObjName, scope: Scope) -> Object | None:
    return _named(obj.name, scope)


def _integer(obj: tree.ObjInt, scope: Scope) -> FinSet | None:
    return _cardinality(obj.value, scope)


def _named(name: tree.Name, scope: Scope) -> Object | None:
    binding = scope.objects.get(name.text)
    if binding is None:
        _undefined(name, scope)
        return None
    if isinstance(binding.value, Pattern):
        scope.report.error(
            "Q0209",
            f"`{name.text}` is a category pattern (`{binding.value.text}`), not a set",
            name.span,
            labels=[Label(binding.span, "declared as a pattern here")],
            hint="patterns stand in `rule` and `schema` lines; a set or a space is needed here",
        )
        return None
    return binding.value


def _undefined(name: tree.Name, scope: Scope) -> None:
    hint = scope.hint(name.text, (*scope.objects, *WORDS))
    if hint is None:
        hint = f"declare it above: `object {name.text} : FinSet n`, whose size data fix"
    if name.text in scope.morphisms:
        hint = f"`{name.text}` is a {scope.morphisms[name.text].kind}, not an object"
    message = f"undefined object or space `{name.text}`"
    scope.report.undefined("Q0202", message, name.span, key=(name.text,), hint=hint)


def _cardinality(number: tree.Number, scope: Scope) -> FinSet | None:
    if isinstance(number.value, int) and 1 <= number.value <= LARGEST:
        return FinSet(number.value)
    most = f" and at most {LARGEST}" if number.value > LARGEST else ""
    scope.report.error(
        "Q0203",
        f"the cardinality of a finite set must be an integer of at least 1{most}, "
        f"got {number.value}",
        number.span,
    )
    return None


def _finset(obj: tree.ObjFinSet, scope: Scope) -> Object | None:
    if isinstance(obj.size, tree.Number):
        return _cardinality(obj.size, scope)
    name = obj.size.text
    if name in scope.objects:
        value = _named(obj.size, scope)
        if value is None or is_finite(value):
            return value
        _not_a_size(obj.size, scope, value)
        return None
    scope.free_sizes[name] = None
    given = scope.size(name)
    return FinSet(SizeVar(name) if given is None else given)


def _not_a_size(name: tree.Name, scope: Scope, value: Object) -> None:
    scope.report.error(
        "Q0210",
        f"`{name.text}` is {value}, a space: a size is an integer or a finite object",
        name.span,
        labels=[Label(scope.objects[name.text].span, "declared here")],
    )


def _space(obj: tree.ObjSpace, scope: Scope) -> Space | None:
    ctor = obj.ctor.text
    if ctor not in CONSTRUCTORS:
        near = scope.hint(ctor, (*WORDS, *scope.objects))
        scope.report.error(
            "Q0204", f"unknown space constructor or undefined name `{ctor}`", obj.ctor.span,
            hint=near,
        )  # fmt: skip
        return None
    sizes = [_space_size(size, scope) for size in obj.sizes]
    bounds = _bounds(obj, scope)
    if None in sizes or bounds is None or not _sizes_fit(obj, sizes, scope):
        return None
    low, high, radius = bounds
    return Space(ctor, tuple(size for size in sizes if size is not None), low, high, radius)


def _space_size(size: tree.Number | tree.Name, scope: Scope) -> int | None:
    if isinstance(size, tree.Name):
        return _named_size(size, scope)
    if isinstance(size.value, int) and 1 <= size.value <= LARGEST:
        return size.value
    most = f" and at most {LARGEST}" if size.value > LARGEST else ""
    scope.report.error(
        "Q0210", f"a size must be an integer of at least 1{most}, got {size.value}", size.span
    )
    return None


def _named_size(size: tree.Name, scope: Scope) -> int | None:
    given = scope.size(size.text)
    if given is not None and size.text not in scope.objects:
        scope.free_sizes[size.text] = None
        return given
    value = _named(size, scope)
    if value is None:
        return None
    if not is_finite(value):
        _not_a_size(size, scope, value)
        return None
    known: Size = value.size  # type: ignore[union-attr]
    if isinstance(known, SizeVar):
        _unknown_size(size, known, scope)
        return None
    return known


def _unknown_size(size: tree.Name, known: SizeVar, scope: Scope) -> None:
    scope.report.error(
        "Q0210",
        f"the size of `{size.text}` is not known yet, and a space needs a number",
        size.span,
        labels=[Label(scope.objects[size.text].span, f"its size is `{known}`")],
        hint=f'give the size when loading: `sizes={{"{known}": …}}`',
    )


def _sizes_fit(obj: tree.ObjSpace, sizes: list[int | None], scope: Scope) -> bool:
    ctor = obj.ctor.text
    least, most = CONSTRUCTORS[ctor]
    if not least <= len(sizes) <= most:
        wanted = f"{least} size" + ("s" if least > 1 else "")
        scope.report.error("Q0210", f"{ctor} takes {wanted}, got {len(sizes)}", obj.span)
        return False
    if ctor == "Stiefel" and (sizes[1] or 0) > (sizes[0] or 0):
        scope.report.error(
            "Q0210",
            f"Stiefel n k needs k <= n, got n = {sizes[0]}, k = {sizes[1]}",
            obj.sizes[1].span,
        )
        return False
    return True


def _bounds(obj: tree.ObjSpace, scope: Scope) -> tuple[float | None, float | None, float] | None:
    """``(low, high, radius)`` of a constructor's own options; None after an error."""
    if obj.options is None:
        return None, None, 1.0
    allowed: dict[str, Kind] = {
        "Real": {"low": BOUND, "high": BOUND},
        "Ball": {"radius": NUMBER},
    }.get(obj.ctor.text, {})
    before = scope.report.count
    found = read_options(obj.options, allowed, scope.report, what=f"a {obj.ctor.text} space")
    if scope.report.count > before:
        return None
    low, high = (found[k].number if k in found else None for k in ("low", "high"))
    radius = found["radius"].number if "radius" in found else 1.0
    if low is not None and high is not None and low >= high:
        _empty(f"empty interval: low = {low} is not below high = {high}", obj, scope)
        return None
    if radius <= 0:
        _empty(f"empty ball: the radius must be positive, got {radius}", obj, scope)
        return None
    return low, high, radius


def _empty(message: str, obj: tree.ObjSpace, scope: Scope) -> None:
    span: Span = obj.options.span if obj.options is not None else obj.span
    scope.report.error("Q0205", message, span)


def _product(obj: tree.ObjProduct, scope: Scope) -> Object | None:
    parts = [check_object(factor, scope) for factor in obj.factors]
    known = tuple(part for part in parts if part is not None)
    return product(known) if len(known) == len(parts) else None


def _sum(obj: tree.ObjSum, scope: Scope) -> Object | None:
    terms: list[Finite] = []
    whole = True
    for term in obj.terms:
        value = check_object(term, scope)
        if value is None:
            whole = False
        elif not is_finite(value):
            whole = False
            scope.report.error(
                "Q0206",
                f"no coproduct of spaces: `{scope.report.text(term.span)}` is a space",
                term.span,
                labels=declared_label(term, scope),
                hint="a coproduct `+` joins finite sets; for both values at once write `*`",
            )
        else:
            terms.extend(value.terms if isinstance(value, SumSet) else (value,))  # type: ignore[arg-type]
    return SumSet(tuple(terms)) if whole else None


def _no_set(obj: tree.Obj, scope: Scope) -> None:
    text = scope.report.text(obj.span)
    if isinstance(obj, tree.ObjEnum):
        message, hint = f"an enum `{text}` needs a name", f"declare it first: `object E : {text}`"
    else:
        message, hint = f"`{text}` is a category pattern, not a set", None
    scope.report.error("Q0209", message, obj.span, hint=hint)


def _free_monoid(obj: tree.ObjFreeMonoid, scope: Scope) -> Object | None:
    return free_monoid(obj, _named(obj.generators, scope), scope)


def _free_residuated(obj: tree.ObjFreeResiduated, scope: Scope) -> Object | None:
    return free_residuated(obj, _named(obj.generators, scope), scope)


OBJECTS: dict[type, Callable[[Any, Scope], Object | None]] = {
    tree.ObjName: _object_name,
    tree.ObjInt: _integer,
    tree.ObjFinSet: _finset,
    tree.ObjSpace: _space,
    tree.ObjProduct: _product,
    tree.ObjSum: _sum,
    tree.ObjFreeMonoid: _free_monoid,
    tree.ObjFreeResiduated: _free_residuated,
    tree.ObjSlash: _no_set,
    tree.ObjApply: _no_set,
    tree.ObjEnum: _no_set,
}
