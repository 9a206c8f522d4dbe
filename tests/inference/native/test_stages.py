"""Wide loops in stages: the same numbers as autograd, and few things at a time in every loop."""

import re
from functools import reduce
from itertools import count

import pytest
import torch
import torch.nn.functional as F

from quivers_nb.inference.native.expression import Algebra, Buffer
from quivers_nb.inference.native.fuse import Nest
from quivers_nb.inference.native.program import Kernel, Store
from quivers_nb.inference.native.stages import GREATEST_LOOP, LANES, stages

DOUBLE = torch.float64


def _random(*shape, seed=0, dtype=DOUBLE):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=DOUBLE).to(dtype)


def logistic(sites, rows, dtype):
    """Every coefficient is a site of its own, and every column an array of its own."""
    columns = list(_random(sites, rows, dtype=dtype).unbind())
    sign = torch.where(_random(rows, seed=1) > 0, 1.0, -1.0).to(dtype)

    def density(q):
        eta = sum(q[k] * column for k, column in enumerate(columns))
        return F.logsigmoid(sign * eta).sum() - 0.5 * (q * q).sum()

    return density, sites


def bends(sites, rows, dtype):
    """Terms that are no products, with calls of their own, and a scale that all rows share."""
    columns = list(_random(sites, rows, dtype=dtype).unbind())
    y = _random(rows, seed=1, dtype=dtype)

    def density(q):
        mean = sum(torch.tanh(q[k] * column) for k, column in enumerate(columns))
        r = (y - mean) * torch.exp(-q[sites])
        return (-0.5 * r * r - q[sites]).sum() - 0.5 * (q * q).sum()

    return density, sites + 1


def two_predictors(sites, rows, dtype):
    """Mean and scale share their columns: what is made for one is read by the other's loops."""
    columns = list(_random(sites, rows, dtype=dtype).unbind())
    y = _random(rows, seed=1, dtype=dtype)

    def density(q):
        mean = sum(q[k] * column for k, column in enumerate(columns))
        log_sd = 0.1 * sum(q[sites + k] * column for k, column in enumerate(columns))
        r = (y - mean) * torch.exp(-log_sd)
        return (-0.5 * r * r - log_sd).sum() - 0.5 * (q * q).sum()

    return density, 2 * sites


def grouped(sites, rows, dtype):
    """Columns beside effects of groups, which are read and added to by index."""
    columns = list(_random(sites, rows, dtype=dtype).unbind())
    y, group = _random(rows, seed=1, dtype=dtype), torch.arange(rows) * 7 % 5

    def density(q):
        mean = q[sites:][group] + sum(q[k] * column for k, column in enumerate(columns))
        r = y - mean
        return -0.5 * (r * r).sum() - 0.5 * (q * q).sum()

    return density, sites + 5


def greatest(sites, rows, dtype):
    """A sum over rows beside a maximum over them, which is kept in a loop's own variable too."""
    columns = list(_random(sites, rows, dtype=dtype).unbind())

    def density(q):
        eta = sum(q[k] * column for k, column in enumerate(columns))
        return torch.logsumexp(eta, 0) - (eta * eta).sum() / rows - 0.5 * (q * q).sum()

    return density, sites


MODELS = [logistic, bends, two_predictors, grouped, greatest]


@pytest.mark.parametrize("rows", [64, 256, 1000])
@pytest.mark.parametrize("model", MODELS)
def test_stages_give_the_numbers_of_autograd(model, rows, compiled, reference, error):
    density, dim = model(30, rows, DOUBLE)
    q = 0.3 * _random(dim, seed=2)
    native = compiled(density, q)
    for point in (q, -2.0 * q):
        pairs = zip(native.value_and_grad(point), reference(density, point), strict=True)
        assert all(error(ours, theirs) < 1e-12 for ours, theirs in pairs)


@pytest.mark.parametrize("model", MODELS)
def test_single_precision_too(model, compiled, reference, error):
    density, dim = model(30, 500, torch.float32)
    q = 0.1 * _random(dim, seed=2, dtype=torch.float32)
    pairs = zip(compiled(density, q).value_and_grad(q), reference(density, q), strict=True)
    assert all(error(ours, theirs) < 1e-4 for ours, theirs in pairs)


def test_a_row_that_is_not_a_number_stays_one(compiled, reference, error):
    density, dim = logistic(30, 300, DOUBLE)
    q = 0.3 * _random(dim, seed=2)
    native = compiled(density, q)
    q[7] = torch.nan
    pairs = zip(native.value_and_grad(q), reference(density, q), strict=True)
    assert all(error(ours, theirs) < 1e-12 for ours, theirs in pairs)


LOOP = re.compile(r"for \(int64_t i0 = \w+; i0 < \w+; i0\+\+\) \{\n(.*?)\n\}", re.DOTALL)


def _lanes(source):
    """Per loop over rows: what it reads and what it adds up, counted in the text."""
    bodies = LOOP.findall(source[source.index("STAGE stage0") :])
    made = [set(re.findall(r"const \w+ (\w+) =", body)) for body in bodies]
    sums = [set(re.findall(r"^(\w+) \+=", body, re.MULTILINE)) for body in bodies]
    read = [set(re.findall(r"\b(\w+)\[i0", body)) for body in bodies]
    outside = [
        set(re.findall(r"\bt\d+\b", body)) - own - total
        for body, own, total in zip(bodies, made, sums, strict=True)
    ]
    parts = zip(sums, read, outside, strict=True)
    return [len(total) + len(arrays) + len(numbers) for total, arrays, numbers in parts]


@pytest.mark.parametrize("sites", [20, 80, 200])
def test_no_loop_holds_more_than_the_registers_do(sites, compiled):
    density, dim = logistic(sites, 300, DOUBLE)
    source = compiled(density, 0.3 * _random(dim, seed=2)).source
    counts = _lanes(source)
    assert max(counts) <= LANES + 1  # and the array that the stage fills
    assert len(counts) < 12  # functions: as many for two hundred sites as for twenty
    assert source.count("\nstage") >= 2 * sites / 12  # calls


def test_a_narrow_loop_is_left_whole(compiled):
    density, dim = logistic(GREATEST_LOOP // 4, 300, DOUBLE)
    assert "STAGE stage" not in compiled(density, 0.3 * _random(dim, seed=2)).source


def test_a_short_loop_is_left_whole(compiled):
    density, dim = logistic(30, 60, DOUBLE)
    assert "STAGE stage" not in compiled(density, 0.3 * _random(dim, seed=2)).source


def test_what_passes_between_stages_has_memory_for_one_block(compiled):
    few, many = (
        compiled(density, 0.3 * _random(dim, seed=2))
        for density, dim in (logistic(30, rows, DOUBLE) for rows in (300, 3000))
    )
    assert few.scratch == many.scratch


def test_the_compiler_is_given_no_more_loops(compiled):
    """Twice the sites are more calls, not more loops to compile."""
    sources = [
        compiled(density, 0.3 * _random(dim, seed=2)).source
        for density, dim in (logistic(sites, 300, DOUBLE) for sites in (40, 80))
    ]
    assert sources[0].count("INDEPENDENT") == sources[1].count("INDEPENDENT")


def _sum_of_columns(algebra, row, columns):
    return reduce(algebra.add, (algebra.load(c, row) for c in columns))


def _buffer(name, role="data"):
    return Buffer(name, 1000, "real", role)


def test_what_is_set_twice_ends_with_the_later_value():
    """The earlier one is a sum that takes two stages; the later one has room in the first."""
    algebra, extent = Algebra(), (1000,)
    row = algebra.variable(0)
    columns, made = [_buffer(f"c{k}") for k in range(30)], _buffer("b", "scratch")
    wide, narrow = _sum_of_columns(algebra, row, columns), algebra.load(columns[0], row)
    nest = Nest(extent, in_order=False)
    for value in (wide, narrow):
        nest.append(Kernel(extent, Store(made, row, value)))
    parts = stages(nest, (f"s{k}" for k in count()))
    stores = [kernel.store for part in parts for kernel in part.kernels if kernel.writes is made]
    assert len(parts) > 1
    assert [store.value.op for store in stores] == ["add", "load"]


def test_what_is_read_is_set_anew_in_no_earlier_stage():
    algebra, extent = Algebra(), (1000,)
    row = algebra.variable(0)
    columns, made = [_buffer(f"c{k}") for k in range(60)], _buffer("b", "scratch")
    reader = algebra.add(_sum_of_columns(algebra, row, columns[:30]), algebra.load(made, row))
    nest = Nest(extent, in_order=False)
    for buffer, value in ((_buffer("r", "scratch"), reader), (made, algebra.load(columns[0], row))):
        nest.append(Kernel(extent, Store(buffer, row, value)))
    parts = stages(nest, (f"s{k}" for k in count()))
    (reads,) = (
        place for place, part in enumerate(parts) for kernel in part.kernels if made in kernel.reads
    )
    (sets,) = (
        place
        for place, part in enumerate(parts)
        for kernel in part.kernels
        if kernel.writes is made
    )
    assert sets >= reads > 0
