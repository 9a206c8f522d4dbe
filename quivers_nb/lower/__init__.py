"""From typed term to torch: models, kernels and loaded modules."""

from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Kernel, Module, lower

__all__ = ["Kernel", "Model", "Module", "lower"]
