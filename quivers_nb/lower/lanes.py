"""Which kernels can be evaluated as one batched product.

Two kernels are equal in kind if their tensors have the same shapes and their raw vectors mean the
same: names, scales and initial values do not matter. Terms are equal in kind if their kernels are,
one by one.
"""

from collections.abc import Sequence

from quivers_nb.check import term as ir
from quivers_nb.lower.parameters import batchable
from quivers_nb.spaces.space import Space, is_finite

Units = tuple[tuple[ir.Generator, ...], ...]  # a chain of kernels, or of groups that share an input


def kind(generator: ir.Generator) -> tuple[object, ...]:
    """What must agree for two kernels to share a product."""
    m = generator.morphism
    return m.role, m.dom, m.cod, m.family, m.source, m.settings


def equal_kernels(generators: Sequence[ir.Generator]) -> bool:
    """Whether generators with weights of their own are equal in kind and can be batched."""
    owners = {generator.owner for generator in generators}
    kinds = {kind(generator) for generator in generators}
    single = batchable(generators[0].morphism) and isinstance(generators[0].cod, Space)
    return len(kinds) == 1 and len(owners) == len(generators) and single


def units(term: ir.Term) -> Units | None:
    """A term as a chain of kernels and groups; None if it is anything else."""
    match term:
        case ir.Generator():
            return ((term,),)
        case ir.Named(body=body):
            return units(body)
        case ir.Fan(parts=parts):
            generators = tuple(part for part in parts if isinstance(part, ir.Generator))
            whole = len(generators) == len(parts) > 1 and equal_kernels(generators)
            return (generators,) if whole else None
        case ir.Compose(parts=parts) | ir.Stack(copies=parts):
            return _joined([units(part) for part in parts])
        case _:
            return None


def _joined(chains: Sequence[Units | None]) -> Units | None:
    known = [chain for chain in chains if chain is not None]
    if len(known) < len(chains):
        return None
    return tuple(unit for chain in known for unit in chain)


def equal_lanes(parts: Sequence[ir.Term]) -> tuple[Units, ...] | None:
    """Operands of ``@`` as chains that can run side by side, or None.

    Their kernels must be equal in kind, step by step, with weights of their own; their inputs are
    cut into equal columns, so the domains must be of one kind.
    """
    chains = [chain for chain in map(units, parts) if chain is not None]
    if len(chains) < len(parts) or len({len(chain) for chain in chains}) > 1:
        return None
    if len({is_finite(chain[0][0].dom) for chain in chains}) > 1:
        return None
    steps = zip(*chains, strict=True)
    return tuple(chains) if all(map(_equal_step, steps)) else None


def _equal_step(step: tuple[tuple[ir.Generator, ...], ...]) -> bool:
    sizes = {len(unit) for unit in step}
    return len(sizes) == 1 and equal_kernels([g for unit in step for g in unit])
