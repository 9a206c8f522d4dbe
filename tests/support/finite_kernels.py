"""Finite kernels of every kind as text, with their matrices: for laws against matrices."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln

from quivers_nb.dsl import loads

KINDS = ("observed", "kernel", "latent")
Matrix = np.ndarray


@dataclass(frozen=True)
class Arrow:
    """A declared table ``dom -> cod`` of a kind; ``matrix`` has rows that sum to one."""

    name: str
    kind: str
    dom: str
    cod: str
    matrix: Matrix

    @property
    def text(self) -> str:
        how = {
            "observed": f'[role=observed] ~ from_data("{self.name}")',
            "kernel": "[role=kernel]",
            "latent": "[role=latent, over=cod] ~ Dirichlet(1.0)",
        }
        return f"morphism {self.name} : {self.dom} -> {self.cod} {how[self.kind]}\n"

    @property
    def log_prior(self) -> float:
        """Of a latent: rows are uniform on the simplex."""
        rows, columns = self.matrix.shape
        return float(rows * gammaln(columns)) if self.kind == "latent" else 0.0


def random_matrix(rng: np.random.Generator, rows: int, columns: int, kind: str) -> Matrix:
    """Rows of a distribution; a table of data has zeros in places."""
    matrix = rng.dirichlet(np.ones(columns), rows) * 0.98 + 0.02 / columns
    if kind == "observed":
        holes = rng.random(matrix.shape) < 0.3
        holes[np.arange(rows), rng.integers(columns, size=rows)] = False
        matrix = np.where(holes, 0.0, matrix)
    return matrix / matrix.sum(1, keepdims=True)


def matrices(objects: str, arrows: list[Arrow], types: str, exprs: list[str]) -> list[Matrix]:
    """Of each expression of type ``A -> B`` the matrix of its probabilities, by `log_joint`.

    A program observes a draw from it, at every element of the domain and of the codomain.
    """
    text = objects + "".join(arrow.text for arrow in arrows)
    for k, expr in enumerate(exprs):
        text += f"let e{k} = {expr}\nprogram p{k} : {types}\n"
        text += f"    observe y <- e{k}\n    return y\nexport p{k}\n"
    data = {arrow.name: arrow.matrix for arrow in arrows if arrow.kind == "observed"}
    module = loads(text, data)
    return [_matrix(model.double(), arrows) for model in module.exports.values()]


def _matrix(model: Any, arrows: list[Arrow]) -> Matrix:
    known = {arrow.name: arrow for arrow in arrows}
    for site in model.parameter_sites():
        matrix = known[site.path.split(".")[-2]].matrix
        model.parameter(site.path).copy_(torch.from_numpy(np.log(matrix)))
    drawn = {name for name in model.vocabulary.sites if name in known} & {
        arrow.name for arrow in arrows if arrow.kind == "latent"
    }
    values = {name: torch.from_numpy(known[name].matrix) for name in drawn}
    prior = sum(known[name].log_prior for name in drawn)
    rows, columns = _points(model.domain), _points(model.codomain)
    x = rows.repeat_interleave(len(columns), 0)
    y = columns.repeat(len(rows), *(1,) * (columns.ndim - 1))
    found = model.log_joint(x, {**values, "y": y}).detach() - prior
    return np.asarray(found.exp().reshape(len(rows), len(columns)))


def _points(obj: Any) -> torch.Tensor:
    """Every element: indices, or one column of them per factor."""
    sizes = [factor.size for factor in getattr(obj, "factors", (obj,))]
    points = torch.tensor(list(product(*map(range, sizes))))
    return points.squeeze(-1) if len(sizes) == 1 else points
