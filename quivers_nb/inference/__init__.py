"""Inference: guides and objectives, Hamiltonian samplers, particles, diagnostics, prediction.

Everything works on densities over flat vectors; nothing here knows the language. Names are
imported when they are first touched.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "AmortizedNormalGuide": "vi.guides.amortized",
    "AutoDAIS": "vi.guides.dais",
    "AutoDelta": "vi.guides.delta",
    "AutoGuideList": "vi.guides.parts",
    "AutoLaplaceApproximation": "vi.guides.laplace",
    "AutoLowRankMultivariateNormal": "vi.guides.multivariate",
    "AutoMixture": "vi.guides.mixture",
    "AutoMultivariateNormal": "vi.guides.multivariate",
    "AutoNormalGuide": "vi.guides.normal",
    "AutoNormalizingFlow": "vi.guides.flow",
    "AutoStructured": "vi.guides.structured",
    "Calibration": "calibration",
    "ClassProbabilities": "discrete",
    "ClosedFormEntropy": "vi.estimators",
    "DistributedSVI": "vi.distributed",
    "DoublyReparameterized": "vi.importance",
    "ELBO": "vi.elbo",
    "EmptyGuide": "vi.guides.empty",
    "FitGuide": "calibration",
    "HMCKernel": "mcmc.hmc",
    "IWAE": "vi.importance",
    "LeaveOneOut": "vi.estimators",
    "MCMC": "mcmc.run",
    "MCMCResult": "mcmc.result",
    "NUTSKernel": "mcmc.nuts",
    "NoBaseline": "vi.estimators",
    "Predictive": "predictive",
    "Renyi": "vi.importance",
    "Reparameterized": "vi.estimators",
    "RunningMean": "vi.estimators",
    "RunFailed": "mcmc.fault",
    "SMC": "smc.run",
    "SMCResult": "smc.result",
    "SVI": "vi.svi",
    "SVIResult": "vi.result",
    "ScoreFunction": "vi.estimators",
    "StickingTheLanding": "vi.estimators",
    "VRIWAE": "vi.importance",
    "WarmupThenHMC": "warmup_then_hmc",
    "bayesian_lift_parameters": "lift",
    "calibrate": "calibration",
    "condition": "conditioning",
    "ess": "diagnose",
    "flat": "target",
    "infer_discrete": "discrete",
    "khat": "vi.khat",
    "load": "persist",
    "log_likelihood": "pointwise",
    "manifest": "persist",
    "mcse": "diagnose",
    "r_hat": "diagnose",
    "save": "persist",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


__all__ = sorted(_HOME)  # noqa: PLE0605  (each name is imported when it is asked for)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
