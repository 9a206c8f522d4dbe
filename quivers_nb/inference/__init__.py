"""Inference: guides and objectives, Hamiltonian samplers, diagnostics, prediction.

Everything works on densities over flat vectors; nothing here knows the language. Names are
imported when they are first touched.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "AutoNormalGuide": "vi.guides.normal",
    "ELBO": "vi.elbo",
    "HMCKernel": "mcmc.hmc",
    "MCMC": "mcmc.run",
    "MCMCResult": "mcmc.result",
    "NUTSKernel": "mcmc.nuts",
    "Predictive": "predictive",
    "SVI": "vi.svi",
    "bayesian_lift_parameters": "lift",
    "condition": "conditioning",
    "ess": "diagnose",
    "flat": "target",
    "mcse": "diagnose",
    "r_hat": "diagnose",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
