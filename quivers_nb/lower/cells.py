"""What is known of a scan's cell before it runs."""

from quivers_nb.check import term as ir
from quivers_nb.check.affine import GaussianCell, gaussian_cell
from quivers_nb.lower.frame import CompiledProgram, every_step
from quivers_nb.lower.nodes import Beside, Chain, Lanes, Leaf, Node, Spread, Sub
from quivers_nb.lower.steps import ProgramInExpression
from quivers_nb.spaces.space import Object, is_finite, width

Outputs = tuple[tuple[str, Object], ...]


def chain_size(state: Object) -> int:
    """How many states a finite chain has; 0 for any other state."""
    single = is_finite(state) and width(state) == 1
    return int(state.size) if single else 0  # type: ignore[union-attr,arg-type]


def end_paths(node: Node) -> frozenset[str]:
    """The paths of a node's last kernels, which a head does not ask for."""
    match node:
        case Leaf(path=path, parts=parts):
            return frozenset({path, *(parts.paths if parts is not None else ())})
        case Chain(parts=parts):
            return end_paths(parts[-1])
        case Beside(parts=parts) | Spread(parts=parts):
            return frozenset[str]().union(*map(end_paths, parts))
        case Lanes(node=inner):
            return end_paths(inner)
        case _:
            return frozenset()


def outputs(node: Node) -> Outputs | None:
    """The sites whose values side by side are a node's value; None if it is computed."""
    match node:
        case Leaf(path=path, cod=cod, parts=None):
            return ((path, cod),)
        case Chain(parts=parts):
            return outputs(parts[-1])
        case Beside(parts=parts) | Spread(parts=parts):
            found = [outputs(part) for part in parts]
            known = [each for each in found if each is not None]
            return sum(known, ()) if len(known) == len(found) else None
        case Sub(path=path, body=ProgramInExpression(compiled=compiled)):
            return _returned(compiled, path)
        case _:
            return None


def _returned(compiled: CompiledProgram, path: str) -> Outputs | None:
    """The sampled values that a program returns, if it returns nothing else."""
    drawn: dict[str, Object] = {}
    for index, step in enumerate(compiled.steps):
        if isinstance(step, ir.SampleStep) and len(step.names) == 1 and index not in compiled.subs:
            obj = step.space
            if obj is None and isinstance(step.source, ir.FamilyCall):
                obj = compiled.program.cod if len(compiled.program.returns) == 1 else None
            if obj is not None:
                drawn[step.names[0]] = obj
    names = [name for _, name in compiled.program.returns]
    if not all(name in drawn for name in names):
        return None
    return tuple((f"{path}/{name}", drawn[name]) for name in names)


def by_time(node: Node) -> bool:
    """Whether the steps can be run all at once: none has a site that is not one per row."""
    match node:
        case Chain(parts=parts) | Beside(parts=parts) | Spread(parts=parts):
            return all(map(by_time, parts))
        case Lanes(node=inner):
            return by_time(inner)
        case Sub(body=ProgramInExpression(compiled=compiled)):
            return _program_by_time(compiled)
        case _:
            return True


def _program_by_time(compiled: CompiledProgram) -> bool:
    for step in every_step(compiled.steps):
        if isinstance(step, ir.MarginalizeStep):
            if step.plate is not None or step.over is not None:
                return False
        elif isinstance(step, ir.SampleStep | ir.ObserveStep) and step.plate is not None:
            return False
    inner = [*compiled.subs.values(), *compiled.blocks.values()]
    nodes = [node for each in (compiled, *inner) for node in each.nodes.values()]
    return all(map(by_time, nodes)) and all(map(_program_by_time, compiled.subs.values()))


def linear_gaussian(node: Node, dom: Object, state: Object) -> GaussianCell | None:
    """The pattern of a cell whose states can be integrated exactly."""
    if not isinstance(node, Sub) or not isinstance(node.body, ProgramInExpression):
        return None
    parts = getattr(state, "factors", (state,))
    if any(is_finite(part) for part in parts):
        return None
    return gaussian_cell(node.body.compiled.program, width(state), width(dom))
