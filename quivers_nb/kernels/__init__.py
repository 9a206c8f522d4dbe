"""Numeric kernels: densities, bijectors, transforms and parameter networks. torch starts here."""

from quivers_nb.kernels.bijector import Bijector
from quivers_nb.kernels.bijectors import bijector_for
from quivers_nb.kernels.families import DENSITIES, kernel_density
from quivers_nb.kernels.family import Density, Params
from quivers_nb.kernels.network import (
    TensorSpec,
    apply_network,
    initial_tensors,
    network_spec,
    start_at_scale,
)
from quivers_nb.kernels.transforms import (
    EPS,
    TRANSFORMS,
    Cut,
    kernel_parameters,
    raw_cut,
    raw_width,
    scale_start,
    split_blocks,
)

__all__ = [
    "DENSITIES",
    "EPS",
    "TRANSFORMS",
    "Bijector",
    "Cut",
    "Density",
    "Params",
    "TensorSpec",
    "apply_network",
    "bijector_for",
    "initial_tensors",
    "kernel_density",
    "kernel_parameters",
    "network_spec",
    "raw_cut",
    "raw_width",
    "scale_start",
    "split_blocks",
    "start_at_scale",
]
