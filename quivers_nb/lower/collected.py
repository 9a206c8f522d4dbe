"""The terms of a marginalize block, added up where they belong, and summed when the block ends.

A block in a block over the same rows, elements or groups is not summed by itself: the terms of both
are kept apart until the outermost of them ends, and all their sites are summed together, in the
order that costs least (`quivers_nb.lower.factors`). A chain of nested blocks is then one recursion,
and it does not matter in which block of it a term is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.arguments import match_to_factors
from quivers_nb.lower.dists import Simple
from quivers_nb.lower.factors import Factor, sum_out
from quivers_nb.lower.family_steps import FamilyCallRead, check_sizes
from quivers_nb.lower.frame import Frame
from quivers_nb.lower.run import Run
from quivers_nb.lower.scope import axis_size
from quivers_nb.lower.values import Names


@dataclass(frozen=True)
class Group:
    """What one z stands for: a row, an element of a plate, or a class of each group."""

    dist: Simple
    rows: bool
    over: tuple[int, ...]  # sizes of the groups; () if ungrouped

    @classmethod
    def of(cls, step: ir.MarginalizeStep, call: FamilyCallRead, frame: Frame) -> "Group":
        run = frame.run
        axes = step.over if step.over is not None else step.plate
        lead = run.batch_shape
        names: Names = ()
        if axes is not None:
            lead = tuple(axis_size(axis, frame.sizes) for axis in axes)
            names = tuple(axis.name for axis in axes)
        rows = axes is None and run.batch_rank > 0
        params = (
            [match_to_factors(p, names, step.name) for p in call.params] if names else call.params
        )
        if axes is not None:
            check_sizes(params, lead, call, step.name)
        elif any(param.left_over for param in params):
            own = next(param for param in params if param.left_over)
            raise UserError(
                f"`marginalize {step.name}` is one number per row, but `{own.label}` has own shape "
                f"{own.left_over}: give it a plate, `marginalize {step.name} : A <- …`"
            )
        dist = call.at(params, lead, len(lead) if axes is not None else 0, rows=rows)
        return cls(dist, rows, lead if step.over is not None else ())


@dataclass
class Nest:
    """Blocks in blocks that are summed together. Sites are numbered as they are met.

    ``behind``: the axes of a whole term that are not of these sites: stack, then rows, elements or
    groups.
    """

    behind: int
    names: dict[int, str] = field(default_factory=dict)
    factors: list[Factor] = field(default_factory=list)


@dataclass
class Collected:
    """The block of one step; ``sites`` are those of its nest that it stands in, its own last."""

    step: ir.MarginalizeStep
    group: Group
    run: Run
    nest: Nest
    sites: tuple[int, ...]
    outer: bool  # whether the nest ends with this block
    shared: Tensor | None = None

    @classmethod
    def of(cls, step: ir.MarginalizeStep, group: Group, run: Run) -> "Collected":
        """The collector of a block that stands in ``run``."""
        around = run.block
        if isinstance(around, Collected) and around.goes_with(step, group):
            nest, sites = around.nest, around.sites
        else:
            places = 1 if step.over is not None else len(group.dist.lead)
            nest, sites = Nest(len(run.stack) + places), ()
        number = len(nest.names)
        nest.names[number] = step.name
        return cls(step, group, run, nest, (*sites, number), outer=not sites)

    def goes_with(self, inner: ir.MarginalizeStep, group: Group) -> bool:
        """Whether a block inside is over the very rows, elements or groups of this one."""
        mine, plain = self.step, ir.Reduction.LOGSUMEXP
        if mine.over is not None or inner.over is not None:
            alike = mine.reduction is inner.reduction is plain and self.group.over == group.over
            return alike and not inner.via and None not in (mine.over, inner.over)
        return (mine.plate is None) is (inner.plate is None) and (
            self.group.dist.lead == group.dist.lead
        )

    def take(self, term: Tensor, own_rank: int, *, rows: bool, via: tuple[Tensor, ...]) -> None:
        """A term ``(*stack, *b?, *own)`` of the block."""
        if self.step.over is not None:
            self._keep(self._grouped(term, own_rank, rows=rows, via=via))
        elif self.step.plate is not None:
            self._keep(self._aligned(term, own_rank, rows=rows))
        else:
            summed = term.sum(tuple(range(-own_rank, 0))) if own_rank else term
            if self.group.rows and not rows:
                self.shared = summed if self.shared is None else self.shared + summed
            else:
                self._keep(summed)

    def _keep(self, term: Tensor) -> None:  # (*K, *s, *places)
        self.nest.factors.append(Factor.of(term, self.sites, self.nest.behind))

    def fold(self, prior: Tensor) -> Tensor | None:
        """The log weights ``(K, *s, *places)`` of z join the terms; what is left when all z are
        gone, None while blocks around this one go on.
        """
        count = len(self.group.over)
        self.nest.factors.insert(0, Factor.of(
            prior.flatten(-count) if count > 1 else prior, self.sites, self.nest.behind
        ))  # fmt: skip
        if self.shared is not None:
            self.run.add(self._once(self.shared), rows=False)
        if not self.outer:
            return None
        if self.step.reduction is ir.Reduction.LOGSUMEXP:
            return sum_out(self.nest.factors, self.nest.names)
        (site,) = self.sites
        tables = [factor.over((site,)) for factor in self.nest.factors]
        total = sum(tables[1:], start=tables[0])
        return total.sum(0) if self.step.reduction is ir.Reduction.SUM else total.mean(0)

    @property
    def own_rank(self) -> int:
        """How many own axes the result has: of elements or groups."""
        if self.step.over is not None:
            return 1
        return 0 if self.step.plate is None else len(self.group.dist.lead)

    def _aligned(self, term: Tensor, own_rank: int, *, rows: bool) -> Tensor:
        want = tuple(self.group.dist.lead)
        have = tuple(term.shape[term.ndim - own_rank :])
        if (
            rows
            or own_rank != len(want)
            or any(h not in (1, w) for h, w in zip(have, want, strict=True))
        ):
            raise UserError(
                f"inside `marginalize {self.step.name}` every term must run over its plate {want}, "
                f"but one has shape {have}: give as many values as the plate has elements, or use "
                "the grouped form, [over=…] with via="
            )
        return term

    def _grouped(
        self, term: Tensor, own_rank: int, *, rows: bool, via: tuple[Tensor, ...]
    ) -> Tensor:
        """Rows added into their groups: ``(*stack, *own) -> (*stack, G)``."""
        data = own_rank + (self.run.batch_rank if rows else 0)
        flat = term.flatten(-data) if data > 1 else term if data else term.unsqueeze(-1)
        if not via and flat.shape[-1] == prod(self.group.over):
            return flat  # a block over these very groups
        if not via:
            raise UserError(
                f"inside `marginalize {self.step.name} [over=…]` every observe needs via=index"
            )
        index = flat_index(via, self.group.over, self.step.name, checked=self.run.checked)
        if flat.shape[-1] not in (1, index.shape[0]):
            raise UserError(
                f"via of an observe inside `marginalize {self.step.name}` has {index.shape[0]} "
                f"entries, but its response has {flat.shape[-1]}"
            )
        flat = flat.expand((*flat.shape[:-1], index.shape[0]))
        zeros = flat.new_zeros((*flat.shape[:-1], prod(self.group.over)))
        return zeros.index_add(-1, index, flat)

    def _once(self, shared: Tensor) -> Tensor:
        """A row-independent term in a block per row: it is not of z, and counts once (R4)."""
        if getattr(self.run.block, "by_name", False):
            raise UserError(
                f"an observe inside `marginalize {self.step.name}` has no part in its rows: "
                "it has no density per observation there; move it out of the block"
            )
        if shared.ndim <= len(self.run.stack):
            return shared
        if shared.shape[0] > 1:
            raise UserError(
                f"inside `marginalize {self.step.name}`, one value per row, a grouped `marginalize`"
                f" depends on `{self.step.name}`: its groups mix rows, so it cannot be summed row "
                "by row"
            )
        return shared.squeeze(0)


def flat_index(via: Sequence[Tensor], over: tuple[int, ...], name: str, *, checked: bool) -> Tensor:
    """Row-major group numbers of the rows."""
    if len(via) != len(over):
        raise UserError(
            f"`marginalize {name}` has {len(over)} group axes, but via= gives {len(via)} indices"
        )
    flat: Tensor | None = None
    for index, size in zip(via, over, strict=True):
        rows = index.reshape(-1)
        if checked and bool(((rows < 0) | (rows >= size)).any()):
            bad = int(rows[(rows < 0) | (rows >= size)][0])
            raise UserError(f"via= in `marginalize {name}` holds {bad}, outside 0 … {size - 1}")
        flat = rows if flat is None else flat * size + rows
    assert flat is not None
    return flat
