"""Posterior programs at run time: deterministic functions of draws, all draws at once (7.11)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.lower.data import Vocabulary, prepare
from quivers_nb.lower.frame import CompiledProgram, Frame
from quivers_nb.lower.inputs import fit_input
from quivers_nb.lower.run import Run
from quivers_nb.lower.scope import axis_size
from quivers_nb.lower.steps import execute
from quivers_nb.lower.values import Names, Value


class PosteriorProgram:
    """``program q(z, w) : A -> B [over=model]`` as a function of values of z and w.

    Attributes: ``name``; ``model`` (the name of the program it is over); ``sites`` (what it reads).
    """

    def __init__(
        self, posterior: ir.Posterior, checked: ir.CheckedModule, sizes: Mapping[str, int]
    ) -> None:
        self._posterior = posterior
        self.name = posterior.name
        self.model = posterior.model.name
        self.sites = tuple(info.name for info in posterior.sites)
        self._sizes = dict(sizes)
        program = posterior.program
        self._compiled = CompiledProgram(program, program.steps, {}, {}, {})
        declared = {spec.name: spec for spec in checked.data}
        host = frozenset({*program.host_names, *declared})
        self._words = Vocabulary(frozenset(), frozenset(), host, declared)

    def __repr__(self) -> str:
        return f"<posterior program {self.name} over {self.model}: reads {', '.join(self.sites)}>"

    def __call__(self, values: Any, data: Mapping[str, Any] | None = None, *, x: Any = None) -> Any:
        """The output at ``values``: a tensor, or a mapping for a tuple return, ``(*s, *b, *own)``.

        ``values`` are draws by site, each ``(*s, *value_shape)`` with the same ``*s``: ``()`` for
        one value of each, ``(chains, draws)`` for the samples of an MCMC result, which may be given
        itself. Sites that are not read may be among them. ``data`` are host data by name, ``x`` the
        model's input where its sites have rows.

        Raises `UserError` if a site is missing or has another shape, or host data are.
        """
        draws: Mapping[str, Any] = getattr(values, "samples", values)
        tensors = {name: self._tensor(name, draws) for name in self.sites}
        dtype = _dtype(tensors)
        batch = fit_input(self._posterior.program, x, dtype, torch.device("cpu")).batch_shape
        prepared = prepare(
            data or {}, self._words, dtype=dtype, device=torch.device("cpu"),
            batch_rank=len(batch), sizes=self._sizes,
        )  # fmt: skip
        stack = self._stack(tensors, batch)
        run = Run((), {}, batch, dtype, torch.device("cpu"), stack)
        inputs = {
            info.name: _value(info, tensors[info.name], stack, len(batch))
            for info in self._posterior.sites
        }
        frame = Frame(self._compiled, run, None, prepared.host, prepared.sizes)
        env = execute(frame, inputs)
        program = self._posterior.program
        outputs = {label: _plain(env[name], stack) for label, name in program.returns}
        return outputs if program.returns_tuple else next(iter(outputs.values()))

    def _tensor(self, name: str, draws: Mapping[str, Any]) -> Tensor:
        if name not in draws:
            near = nearest(name, draws)
            hint = f"did you mean `{near}`?" if near else f"given are {', '.join(draws) or 'none'}"
            raise UserError(f"`{self.name}` reads the site `{name}`, which has no value; {hint}")
        return torch.as_tensor(draws[name])

    def _stack(self, tensors: Mapping[str, Tensor], batch: tuple[int, ...]) -> tuple[int, ...]:
        """The axes in front that all sites share."""
        found: dict[str, tuple[int, ...]] = {}
        for info in self._posterior.sites:
            if info.axes is None:
                continue
            own = tuple(axis_size(axis, self._sizes) for axis in info.axes) + info.event
            rows = batch if info.row_wise else ()
            shape, want = tuple(tensors[info.name].shape), rows + own
            if shape[len(shape) - len(want) :] != want:
                raise UserError(
                    f"the value of `{info.name}` has shape {shape}, but it must end in {want}"
                )
            found[info.name] = shape[: len(shape) - len(want)]
        if len(set(found.values())) > 1:
            shown = ", ".join(f"`{name}` has {front}" for name, front in found.items())
            raise UserError(f"the sites have different numbers of draws in front: {shown}")
        return next(iter(found.values()), ())


def _dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    floats = [t.dtype for t in tensors.values() if t.is_floating_point()]
    return torch.float64 if torch.float64 in floats else torch.get_default_dtype()


def _value(info: ir.VariableInfo, tensor: Tensor, stack: tuple[int, ...], rank: int) -> Value:
    rows = info.row_wise and rank > 0
    own = tensor.ndim - len(stack) - (rank if rows else 0)
    axes = info.axes or ()
    names: Names = (*(axis.name for axis in axes), *((None,) * (own - len(axes))))
    return Value(tensor, names, rows, rank, unit=info.event == (1,))


def _plain(value: Any, stack: tuple[int, ...]) -> Any:
    if not isinstance(value, Value):
        return value
    missing = value.lead < len(stack)
    own = value.tensor.shape[value.lead :]
    return value.tensor.expand((*stack, *own)) if missing else value.tensor
