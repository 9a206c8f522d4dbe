"""Every function of one number, at every edge, in both precisions, number by number against torch.

Distances are in units in the last place (`exact.ulps`). A bound holds beside torch's own error:
single precision is measured against double, double against torch or, where torch itself is far
off, against scipy. ``floor``: what cancels is measured in units of the numbers that cancel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.inference.native.exact import Both, edges, spacing

S = torch.special
F64, F32 = torch.float64, torch.float32


@dataclass(frozen=True)
class Case:
    """``value`` and ``slope`` are bounds in ulps; ``truth`` is an independent double function."""

    function: Callable[[Tensor], Tensor]
    value: float = 3.0
    slope: float = 5.0
    floor: float = 0.0  # of slopes
    value_floor: float = 0.0
    truth: Callable[[Any], Any] | None = None
    least: float = -torch.inf
    greatest: float = torch.inf


def _erfcx(x: Any) -> Any:
    """Those of scipy and torch are one algorithm, off by 60 ulps."""
    with mpmath.workdps(40):
        return np.array([
            np.nan if np.isnan(v) else np.inf if v < -30.0 else 0.0 if v == np.inf
            else float(mpmath.exp(mpmath.mpf(v) ** 2) * mpmath.erfc(v)) if v < 25.0 else sp.erfcx(v)
            for v in x.tolist()
        ])  # fmt: skip


CASES = {
    "abs": Case(torch.abs, 0, 0),
    "neg": Case(torch.neg, 0, 0),
    "sign": Case(torch.sign, 0),
    "sgn": Case(torch.sgn, 0),
    "floor": Case(torch.floor, 0),
    "ceil": Case(torch.ceil, 0),
    "trunc": Case(torch.trunc, 0),
    "round": Case(torch.round, 0),
    "round to hundredths": Case(lambda a: a.round(decimals=2), 1, greatest=1e30, least=-1e30),
    "round to hundreds": Case(lambda a: a.round(decimals=-2), 1),
    "isnan": Case(lambda a: a.isnan().to(a.dtype), 0),
    "isinf": Case(lambda a: a.isinf().to(a.dtype), 0),
    "nan_to_num": Case(torch.nan_to_num, 0, 0),
    "nan_to_num to numbers": Case(lambda a: a.nan_to_num(1.5, 2.5, -3.5), 0, 0),
    "square": Case(torch.square, 1, 1),
    "sqrt": Case(torch.sqrt, 1),
    "rsqrt": Case(torch.rsqrt),
    "reciprocal": Case(torch.reciprocal, 1),
    "exp": Case(torch.exp),
    "exp2": Case(torch.exp2),
    "expm1": Case(torch.expm1, floor=1.0),
    "log": Case(torch.log),
    "log1p": Case(torch.log1p),
    "log2": Case(torch.log2),
    "log10": Case(torch.log10),
    "sin": Case(torch.sin),
    "cos": Case(torch.cos),
    "tan": Case(torch.tan),
    "asin": Case(torch.asin, slope=20),
    "acos": Case(torch.acos, slope=20),
    "atan": Case(torch.atan),
    "sinh": Case(torch.sinh, least=-700.0, greatest=700.0),
    "cosh": Case(torch.cosh, least=-700.0, greatest=700.0),
    "tanh": Case(torch.tanh, floor=1.0),
    "asinh": Case(torch.asinh),
    "acosh": Case(torch.acosh),
    "atanh": Case(torch.atanh, slope=40),
    "erf": Case(torch.erf),
    "erfc": Case(torch.erfc),
    "erfinv": Case(torch.erfinv, slope=150),
    "erfcx": Case(S.erfcx, truth=_erfcx, least=-26.0, greatest=50.0, slope=70, floor=50.0),
    "erfcx far out": Case(lambda a: S.erfcx(a.detach()), truth=_erfcx),
    "ndtr": Case(S.ndtr, value_floor=1.0),  # torch adds up 1 + erf
    "ndtri": Case(S.ndtri, truth=sp.ndtri, slope=100, least=1e-12),
    "ndtri far out": Case(lambda a: S.ndtri(a.detach()), 4, truth=sp.ndtri, least=1e-300),
    "ndtri at the end of the range": Case(  # where erfc has few digits
        lambda a: S.ndtri(a.detach()), 1e7, truth=sp.ndtri, greatest=1e-300
    ),
    "log_ndtr": Case(S.log_ndtr, slope=30, least=-10.0),
    "log_ndtr far out": Case(lambda a: S.log_ndtr(a.detach()), truth=sp.log_ndtr),
    "lgamma": Case(torch.lgamma, 4, slope=10, floor=1.0),
    "digamma": Case(lambda a: torch.digamma(a.detach()), 30, truth=sp.psi),
    "trigamma": Case(
        lambda a: torch.polygamma(1, a.detach()), 8, truth=lambda x: sp.polygamma(1, x), least=1e-3
    ),
    "mvlgamma": Case(lambda a: torch.mvlgamma(a.abs() + 2.0, 3), 4, slope=60),
    "i0": Case(torch.i0, 12, truth=sp.i0, slope=12, least=-1e9, greatest=1e9),
    "i0e": Case(S.i0e, 8, truth=sp.i0e, floor=1.0, slope=8),
    "i1": Case(S.i1, 14, truth=sp.i1, slope=14, least=-1e9, greatest=1e9),
    "i1e": Case(S.i1e, 10, truth=sp.i1e, floor=1.0, slope=14),
    "entr": Case(S.entr, 4, floor=1.0),
    "sigmoid": Case(torch.sigmoid, truth=sp.expit, least=-700.0),
    "softplus": Case(F.softplus),
    "softplus, steep": Case(lambda a: F.softplus(a, beta=3.0, threshold=2.0), 4),
    "logsigmoid": Case(F.logsigmoid),
    "logit": Case(torch.logit, 3),
    "logit with eps": Case(lambda a: torch.logit(a, 1e-6).nan_to_num(), 3),
    "relu": Case(F.relu, 0, 0),
    "relu6": Case(F.relu6, 0, 0),
    "leaky_relu": Case(F.leaky_relu, 1, 1),
    "silu": Case(F.silu, floor=1.0, least=-700.0),
    "gelu": Case(F.gelu, truth=lambda x: x * sp.ndtr(x), floor=1.0, least=-37.0),
    "elu": Case(F.elu),
    "selu": Case(F.selu),
    "celu": Case(lambda a: F.celu(a, 0.7)),
    "hardtanh": Case(F.hardtanh, 0, 0),
    "hardsigmoid": Case(F.hardsigmoid, 2, 1e9),  # torch multiplies slopes by 1/6 in single
    "hardswish": Case(F.hardswish, 2, 3, floor=1.0, least=-1e30, greatest=1e30),
    "hardshrink": Case(F.hardshrink, 0, 0),
    "softshrink": Case(F.softshrink, 1, 0),
    "threshold": Case(lambda a: F.threshold(a, 0.3, -1.0), 0, 0),
    "clamp": Case(lambda a: a.clamp(-1.0, 1.0), 0, 0),
    "clamp at NaN": Case(lambda a: a.clamp(min=torch.nan), 0, 0),
    "clamp at NaN tensor": Case(lambda a: a.clamp(max=a.new_full((), torch.nan)), 0, 0),
    "clamp at infinity": Case(lambda a: a.clamp(min=-torch.inf), 0, 0),
    "clamp with crossed bounds": Case(lambda a: a.clamp(1.0, -1.0), 0, 0),
    "remainder": Case(lambda a: a.remainder(0.7), 0, 0, truth=lambda x: np.remainder(x, 0.7)),
    "remainder of a negative": Case(lambda a: torch.remainder(a, -3), 0, 0),
} | {
    f"power {e}": Case(lambda a, e=e: a**e, 4, 5)
    for e in (0, 1, 2, 3, 4, 0.5, -0.5, -1, -2, 1.7, -3, 5, -1.5, 7.25)
} | {
    f"exponential of base {b}": Case(lambda a, b=b: b**a, 4, 5) for b in (0.0, 1.3, -2.0, 2.0)
}  # fmt: skip


def _distance(found: Tensor, wanted: Tensor, floor: float) -> Tensor:
    """In ulps of ``found``'s dtype; infinite where only one is NaN or infinite."""
    near = wanted.to(found.dtype)  # what overflows in this dtype is infinite in it
    same = (found == near) | (found.isnan() & near.isnan())
    unit = spacing(near.nan_to_num(0.0, 0.0, 0.0).abs().clamp_min(floor)).double()
    apart = (found.double() - wanted).abs() / unit
    finite = found.isfinite() & near.isfinite()
    return torch.where(same, 0.0, torch.where(finite, apart, torch.inf))


def _truths(case: Case, x: Tensor, theirs: Tensor, double: Tensor, what: str) -> Tensor:
    if what == "value" and case.truth is not None:
        with np.errstate(all="ignore"):
            return torch.from_numpy(np.asarray(case.truth(x.double().numpy())))
    return theirs.double() if x.dtype is F64 else double


def _points(case: Case, dtype: torch.dtype) -> Tensor:
    x = edges(dtype)
    x = x[(x != 0.0) | ~x.signbit()]  # compiled code may take -0 for 0
    return x[((x >= case.least) & (x <= case.greatest)) | x.isnan()]


@pytest.mark.parametrize("dtype", [F64, F32], ids=["double", "single"])
@pytest.mark.parametrize("name", CASES)
def test_a_function_is_torchs_number_by_number(name, dtype):
    case = CASES[name]
    x = _points(case, dtype)
    both = Both([case.function], [tuple(x.shape)])
    found = both.compare(x)
    doubles = Both([case.function], [tuple(x.shape)]).everything(x.double()).split(len(x))
    for (what, _, ours, theirs, _), double in zip(found, doubles, strict=True):
        floor = case.floor if what == "slope" else case.value_floor
        truth = _truths(case, x, theirs, double, what)
        mine, torchs = (_distance(t, truth, floor) for t in (ours, theirs))
        bound = case.value if what == "value" else case.slope
        worse = ~((mine <= bound + torchs) | (ours == theirs) | (ours.isnan() & theirs.isnan()))
        rows = [
            f"{x[i]:.9g}: {ours[i]:.9g}, torch {theirs[i]:.9g}, true {truth[i]:.9g} ({mine[i]:.3g})"
            for i in worse.nonzero().flatten().tolist()
        ]
        assert not rows, f"{what} of {name}: " + "; ".join(rows[:5])
