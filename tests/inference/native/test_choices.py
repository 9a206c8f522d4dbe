"""A choice whose branch is read from memory, over matrices of every small width.

gcc 12.2 makes a masked read of it, and of such reads in groups of 3, 5, 6 or 7 it mixes up the
lanes: neighbours take each other's numbers.
"""

import pytest
import torch

SHAPES = [(rows, width) for rows in (4, 6, 9, 12, 16) for width in range(2, 9)]


def chosen(rows, width):
    """Slopes that are kept for several sums, and then taken or not, by place."""

    def density(q):
        row, column = q[1 : 1 + width], torch.relu(q[1 + width :].reshape(rows, 1))
        kept = torch.where(row > column, row, column.sin())
        least = torch.minimum(kept, q[0])
        return 2.5 * least.sin().mean() + 3.5 * kept.sin().mean()

    return density, 1 + width + rows


def _worst(compiled, reference, error, dtype):
    worst = 0.0
    for rows, width in SHAPES:
        density, size = chosen(rows, width)
        generator = torch.Generator().manual_seed(rows * width)
        q = torch.randn(3, size, generator=generator, dtype=torch.float64).to(dtype)
        native = compiled(density, q[0])
        for point in q[1:]:
            pairs = zip(native.value_and_grad(point), reference(density, point), strict=True)
            worst = max(worst, *(error(*pair) for pair in pairs))
    return worst


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_choices_from_memory_are_those_of_autograd(compiled, reference, error, dtype, bound):
    assert _worst(compiled, reference, error, dtype) < bound


def test_what_a_choice_reads_is_read_before_it(compiled):
    """The text that keeps the compiler from a masked read."""
    density, size = chosen(4, 3)
    text = compiled(density, torch.linspace(-1.0, 1.0, size, dtype=torch.float64)).source
    body = text[text.index("double density(") :]
    choices = [line for line in body.splitlines() if " ? " in line]
    assert len(choices) > 3
    assert not [line for line in choices if "[" in line.split(" ? ", 1)[1]]
