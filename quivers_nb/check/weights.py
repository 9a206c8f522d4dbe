"""How many weights a declared morphism has: too many are refused before anything is allocated."""

from itertools import pairwise

from quivers_nb.check.kernels import raw_width
from quivers_nb.check.scope import Scope
from quivers_nb.check.term import Morphism, ParamSource, Role, SourceKind
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import Object, is_finite, width
from quivers_nb.syntax import tree

MOST = 2_000_000_000


def check_weights(morphism: Morphism, members: int, decl: tree.MorphismDecl, scope: Scope) -> bool:
    """Whether the weights can be held; says how many there would be where not."""
    count = members * weights(morphism)
    if count <= MOST:
        return True
    scope.report.error(
        "Q0316",
        f"`{morphism.name}` would have {count:.3g} weights; the most are {MOST:.3g}",
        decl.name.span,
        because=[Because("the types decide their number", decl.dom.span | decl.cod.span)],
        hint="lower a size, or split the morphism into a chain through a smaller object",
    )
    return False


def weights(morphism: Morphism) -> int:
    """The number of weights of one member; 0 where a size is not known yet."""
    rows, columns = _entries(morphism.dom), _entries(morphism.cod)
    if morphism.role is Role.EMBED:
        return 2 * rows * columns
    if morphism.family is not None:
        return _of_family(morphism, morphism.family) if columns else 0
    known = morphism.role in {Role.DISCRETIZE, Role.OBSERVED}
    return 0 if known else rows * columns


def _of_family(morphism: Morphism, family: str) -> int:
    row, settings = FAMILIES[family], dict(morphism.settings)
    rows, source = _entries(morphism.dom), morphism.source
    if source is None:
        return len(row.kernel or ())
    if family == "Flow":
        return _flow(source, rows, _entries(morphism.cod), int(settings["n_layers"]))
    raw = raw_width(row, morphism.cod, dict(morphism.settings))
    if source.kind is SourceKind.LOOKUP:
        return rows * raw
    return _network(source, width(morphism.dom), raw)


def _network(source: ParamSource, inputs: int, raw: int) -> int:
    """Weights and biases of the layers; of attention, four square maps before the last layer."""
    layers = (inputs, *source.widths, raw)
    dense = sum((a + 1) * b for a, b in pairwise(layers))
    extra = 4 * (inputs + 1) * inputs if source.kind is SourceKind.ATTENTION else 0
    return 0 if source.kind is SourceKind.IDENTITY else dense + extra


def _flow(source: ParamSource, condition: int, d: int, layers: int) -> int:
    """Of each layer a network from the condition and the kept entries to twice the moved ones."""
    kept = [len(range(layer % 2, d, 2)) for layer in range(layers)]
    return sum(_network(source, condition + k, 2 * (d - k)) for k in kept)


def _entries(obj: Object) -> int:
    size = obj.size if is_finite(obj) else width(obj)  # type: ignore[union-attr]
    return size if isinstance(size, int) else 0
