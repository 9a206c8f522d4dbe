"""The annealed guide: draws of a simple guide, moved towards the posterior by Hamiltonian steps.

Zhang, Hsu, Li, Finn & Grosse (2021), "Differentiable annealed importance sampling and the perils of
gradient noise", algorithm 1; Geffner & Domke (2021), "MCMC variational inference via uncorrected
Hamiltonian annealing"; Jankowiak & Phan (2022), "Surrogate likelihoods for variational annealed
importance sampling", section 2.3.

A draw comes by a path. From ``q0 ~ base`` and momenta ``v ~ N(0, 1)`` it takes K leapfrog steps

    half = q + eta_k s v / 2,   w = v + eta_k s grad log f_k(half),   q' = half + eta_k s w / 2

in which ``f_k = p**beta_k base**(1 - beta_k)``, ``s = mass**(-1/2)``, and between steps momenta are
refreshed in part, ``v' = gamma w + sqrt(1 - gamma**2) noise``. Steps keep volume and refreshments
keep N(0, 1), so the path backwards from a draw has density ``p(q_K) prod_k N(w_k)`` where the one
forwards has ``base(q_0) prod_k N(v_k)``: their ratio is an importance weight of mean ``p``'s mass,
however coarse the steps.
"""

import copy
from collections.abc import Collection, Mapping
from math import log

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import Model, OpenTarget, Terms, Values
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count, Positive, Share
from quivers_nb.inference.vi.guide import GuideModule, default_dtype, parameter_name
from quivers_nb.inference.vi.guides.delta import AutoDelta
from quivers_nb.inference.vi.guides.normal import AutoNormalGuide
from quivers_nb.inference.vi.rows import Shape, front_of
from quivers_nb.inference.vi.sums import Sums, own_axes, summed


@known_options
class AutoDAIS(GuideModule):
    """Differentiable annealed importance sampling: ``K`` leapfrog steps from base to posterior.

    Learned are the base (``base.loc_<site>``, ``base.log_scale_<site>``), the masses of momenta
    ``log_mass_<site>`` in the shapes of the base, ``log_step_size (K,)``, and for K > 1 the inverse
    temperatures (``temperature_logits (K,)``: their softmax is what each step adds, the last is 1)
    and what is kept of momenta between steps (``damping_logit (K - 1,)``). Masses start as the
    precisions of the base, so ``step_size`` is relative to ``init_scale``; ``damping`` is what is
    kept at first. ``base`` is a guide of the same model with a density, None an `AutoNormalGuide`
    of ``init_scale`` and ``rows``.

    It has no density of a value: `draw` says that of the path, so ``p / q`` are importance weights.
    `ELBO` is below the log evidence and tighter with K; `IWAE`, `VRIWAE`, `Renyi` and `khat` take
    its weights; estimators other than `Reparameterized` need more than that and are refused. A step
    costs K gradients of the model and their derivative. Draws follow the data: the guide must be
    bound to them, ``guide.at(x, obs)``, before `Predictive` (`SVI`, `MCMC` and `khat` do so).
    Minibatches are for models all of whose latents are row-wise.

    Raises `UserError` if nothing is left to guide, an option is out of its range, or the base is of
    other sites or a point.
    """

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        K: Count = 4,
        init_scale: Positive = 0.1,
        step_size: Positive = 0.1,
        damping: Share = 0.9,
        base: GuideModule | None = None,
        rows: int | Shape | None = None,
    ) -> None:
        start = AutoNormalGuide(model, observed_names, init_scale, rows) if base is None else base
        super().__init__(model, observed_names, start.rows)
        _check_base(start, self)
        self.K, self.base = K, start
        self._model = [model]  # in a list: not a submodule
        self._target: OpenTarget | None = None  # at the data that this guide is bound to
        dtype = default_dtype(model)
        for latent in self.covered.latents:
            shape = (*self._rows_of(latent), *self.covered.parameter_shape(latent))
            mass = torch.full(shape, -2.0 * log(init_scale), dtype=dtype)
            self.register_parameter(parameter_name("log_mass", latent.name), Parameter(mass))
        self.log_step_size = Parameter(torch.full((K,), log(step_size), dtype=dtype))
        if K > 1:
            logit = log(damping / (1.0 - damping))
            self.temperature_logits = Parameter(torch.zeros(K, dtype=dtype))
            self.damping_logit = Parameter(torch.full((K - 1,), logit, dtype=dtype))

    @property
    def temperatures(self) -> Tensor:  # (K,)
        """Inverse temperatures of the steps, rising to 1."""
        if self.K == 1:
            return torch.ones_like(self.log_step_size)
        return torch.softmax(self.temperature_logits, 0).cumsum(0)

    def needs_all_rows(self) -> str:
        """Shared sites move by the density of all rows."""
        own = self.base.needs_all_rows()
        shared = [latent.name for latent in self.covered.latents if not latent.row_wise]
        if own or not shared:
            return own
        return f"moves `{shared[0]}`, common to the rows, by the density of all: take another guide"

    def at(self, x: Tensor | None, obs: Values | None = None) -> "AutoDAIS":
        """The same guide, sharing its parameters, on the density of these data."""
        bound = copy.copy(self.placed(x, obs))
        base = self.base.at(x, obs)
        assert isinstance(base, GuideModule)
        bound._modules = {**self._modules, "base": base}
        dtype = self.log_step_size.dtype
        bound._target = self._model[0].target(x, obs, latents="declared", dtype=dtype)
        return bound

    def check_rows(self, front: Shape) -> Shape:
        """The rows must be those of the data."""
        if self._target is not None and any(d.row_wise for d in self.covered.latents):
            bound = front_of(self._target.layout)
            if front != bound:
                raise UserError(f"the guide is bound to rows {bound}, asked for {front}")
        return self.base.check_rows(super().check_rows(front))

    def sample(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """The ends of paths, and what the paths say of their density."""
        target = self._opened()
        start, terms = self.base.draw(target.layout, stack, generator)
        q, gained = self._moved(target, start, generator)
        lost = self._terms(front, target.layout, -gained, by_row=terms.row is not None)
        return target.layout.split(q), summed([terms, lost])

    def _opened(self) -> OpenTarget:
        if self._target is None:
            raise UserError(
                "draws of AutoDAIS follow the density of their data: bind the guide to them first, "
                "guide.at(x, obs)"
            )
        return self._target

    def _moved(
        self, target: OpenTarget, q: Tensor, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:  # (*s, dim) -> (*s, dim), (*s, dim)
        """All particles at once, K steps; and how much likelier momenta are behind steps."""
        lengths = self.log_step_size.exp().unsqueeze(-1) * self._scale(target.layout)
        betas, gained = self.temperatures, torch.zeros_like(q)
        before = _noise(q, generator)
        for step in range(self.K):
            if step:
                before = self._refreshed(before, _noise(q, generator), step)
            half = q + 0.5 * lengths[step] * before
            after = before + lengths[step] * self._slope(target, half, betas[step], generator)
            q = half + 0.5 * lengths[step] * after
            gained = gained + 0.5 * (before.square() - after.square())
            before = after  # until it is refreshed
        return q, gained

    def _refreshed(self, momentum: Tensor, noise: Tensor, step: int) -> Tensor:
        """In part: N(0, 1) stays N(0, 1)."""
        logit = self.damping_logit[step - 1]
        # 1 - sigmoid(x)**2 = (1 - sigmoid(x)) (1 + sigmoid(x)), without cancellation near 1
        kept, lost = torch.sigmoid(logit), torch.sigmoid(-logit)
        return kept * momentum + (lost * (1.0 + kept)).sqrt() * noise

    def _scale(self, layout: Layout) -> Tensor:  # (dim,)
        """How fast unit momenta move every coordinate: ``mass**(-1/2)``."""
        pieces = []
        for coordinate in layout:
            latent = self.covered.by_name[coordinate.name]
            own = (*self._rows_of(latent), *latent.unconstrained_shape)
            mass: Tensor = getattr(self, parameter_name("log_mass", latent.name))
            pieces.append(mass.reshape(own).expand(coordinate.shape).reshape(-1))
        return torch.exp(-0.5 * (pieces[0] if len(pieces) == 1 else torch.cat(pieces)))

    def _slope(
        self, target: OpenTarget, q: Tensor, beta: Tensor, generator: Generator | None
    ) -> Tensor:  # (*s, dim) -> (*s, dim)
        """The gradient of ``beta log p + (1 - beta) log base``, itself differentiable."""
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            at = q if q.requires_grad else q.detach().requires_grad_(True)
            log_p = target.terms(at, generator=generator).total()
            log_base = self.base.log_density(target.layout, at).total()
            bridge = beta * log_p + (1.0 - beta) * log_base
            (slope,) = torch.autograd.grad(bridge.sum(), at, create_graph=again)
        return slope

    def _terms(self, front: Shape, layout: Layout, each: Tensor, *, by_row: bool) -> Terms:
        """A term per coordinate ``(*s, dim)``, put where the base has its own."""
        if not by_row:
            return Terms(None, each.sum(-1))
        sums = Sums(front, each)
        for name, term in layout.split(each).items():
            latent = self.covered.by_name[name]
            sums.add(latent, own_axes(term, len(latent.unconstrained_shape)))
        return sums.terms()

    def density(
        self,
        front: Shape,  # noqa: ARG002
        stack: Shape,  # noqa: ARG002
        values: Mapping[str, Tensor],
    ) -> Terms:
        """There is none: values are reached by many paths."""
        raise UserError(
            f"AutoDAIS knows the density of paths, not of the values of {len(values)} sites: take "
            "Reparameterized(), the default estimator, and khat for how good its draws are"
        )


def _noise(like: Tensor, generator: Generator | None) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def _check_base(base: GuideModule, guide: GuideModule) -> None:
    ours, theirs = (list(each.covered.by_name) for each in (guide, base))
    if ours != theirs:
        raise UserError(f"the base guides {theirs}, the model and the observed names leave {ours}")
    pointless = [type(p).__name__ for p in base.modules() if isinstance(p, AutoDelta | AutoDAIS)]
    if pointless:
        raise UserError(
            f"the base is made of {pointless[0]}, which has no density to start from: take "
            "AutoNormalGuide, or another guide with one"
        )
