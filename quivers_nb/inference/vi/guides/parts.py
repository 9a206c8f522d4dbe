"""A guide made of guides, each for some of the sites."""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence

from torch import Generator, Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import Model, Terms, Values
from quivers_nb.inference.vi.guide import Guide, GuideModule
from quivers_nb.inference.vi.rows import Shape
from quivers_nb.inference.vi.sums import summed

MakeGuide = Callable[[Model, Collection[str]], GuideModule]  # model, names that it leaves out
Part = tuple[Collection[str], MakeGuide]


class AutoGuideList(GuideModule):
    """Independent guides side by side: ``parts`` are pairs of site names and what guides them.

        AutoGuideList(model, {"y"}, [
            (["alpha", "beta"], AutoMultivariateNormal),
            (["sigma"], lambda model, rest: AutoNormalGuide(model, rest, init_scale=0.5)),
        ])

    Each part is made as ``make(model, names)`` with the names of everything outside it.

    Raises `UserError` if a site has no part, two parts, or does not exist.
    """

    def __init__(
        self, model: Model, observed_names: Collection[str], parts: Sequence[Part]
    ) -> None:
        super().__init__(model, observed_names)
        names = [name for sites, _ in parts for name in sites]
        self._check(names)
        everything = {*observed_names, *self.covered.by_name}
        self.parts = nn.ModuleList(make(model, everything - set(sites)) for sites, make in parts)

    def _check(self, names: Sequence[str]) -> None:
        known = set(self.covered.by_name)
        faults = {
            "are not sites to guide": sorted(set(names) - known),
            "are in two parts": sorted({name for name in names if names.count(name) > 1}),
            "are in no part": sorted(known - set(names)),
        }
        said = [f"{found} {fact}" for fact, found in faults.items() if found]
        if said:
            raise UserError("; ".join(said) + f". The sites are {sorted(known)}")

    def _guides(self) -> list[GuideModule]:
        return [part for part in self.parts if isinstance(part, GuideModule)]

    def at(self, x: Tensor | None, obs: Values | None = None) -> "AutoGuideList":
        """The same parts, each bound to this input."""
        return super().placed(x, obs)._with([part.at(x, obs) for part in self._guides()])

    def placed(self, x: Tensor | None, obs: Values | None = None) -> "AutoGuideList":
        """The same parts, each with what its supports are made of."""
        if not self.covered.moving:
            return self
        return super().placed(x, obs)._with([part.placed(x, obs) for part in self._guides()])

    def _with(self, parts: Sequence[Guide]) -> "AutoGuideList":
        bound = copy.copy(self)
        bound._modules = {**self._modules, "parts": nn.ModuleList()}
        for part in parts:
            assert isinstance(part, GuideModule)
            bound.parts.append(part)
        return bound

    def check_rows(self, front: Shape) -> Shape:
        """Every part has its say."""
        for part in self._guides():
            part.check_rows(front)
        return front

    def sample(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """Each part's draws; densities add up."""
        values: dict[str, Tensor] = {}
        found: list[Terms] = []
        for part in self._guides():
            drawn, terms = part.sample(front, stack, generator)
            values.update(drawn)
            found.append(terms)
        return values, summed(found)

    def _mixed(self) -> GuideModule | None:
        """The first part that is a mixture: its strata are the list's."""
        return next((part for part in self._guides() if part.num_strata), None)

    @property
    def num_strata(self) -> int:
        """Those of the first part that is a mixture."""
        mixed = self._mixed()
        return 0 if mixed is None else mixed.num_strata

    @property
    def log_shares(self) -> Tensor:  # (C,)
        """Those of that part."""
        mixed = self._mixed()
        assert mixed is not None
        return mixed.log_shares

    @property
    def nested(self) -> bool:
        """Whether those of any part do."""
        return any(part.nested for part in self._guides())

    def sample_strata(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """That part from every stratum, the others as `sample` has them."""
        mixed = self._mixed()
        assert mixed is not None
        values: dict[str, Tensor] = {}
        found: list[Terms] = []
        for part in self._guides():
            drawn, terms = (
                part.sample_strata(front, stack, generator)
                if part is mixed
                else part.sample(front, (mixed.num_strata, *stack), generator)
            )
            values.update(drawn)
            found.append(terms)
        return values, summed(found)

    def density(self, front: Shape, stack: Shape, values: Mapping[str, Tensor]) -> Terms:
        """The sum of the parts' densities."""
        return summed([part.density(front, stack, values) for part in self._guides()])

    def entropy_of(self, front: Shape) -> Terms:
        """The sum of the parts' entropies."""
        return summed([part.entropy_of(front) for part in self._guides()])
