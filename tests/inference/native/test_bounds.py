"""Compiled loops never read or write outside a table, wherever an index comes from."""

import random

import pytest
import torch
from torch import Tensor

from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.inference.graph import Ref, record, record_draws
from quivers_nb.inference.mcmc.fault import RunFailed
from quivers_nb.inference.native.bounds import Bounds
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.step import compile_step
from quivers_nb.inference.replay import replay
from quivers_nb.inference.simplify import simplify
from tests.support.targets import HandTarget

F64 = torch.float64
TABLE = torch.tensor([1.0, -2.0, 4.0, 0.5], dtype=F64)
WEIGHTS = torch.arange(1.0, 5.0, dtype=F64)
ONES = torch.ones(3, dtype=F64)
USES = {
    "index": lambda i, q: TABLE[i],
    "index_select": lambda i, q: TABLE.index_select(0, i),
    "gather": lambda i, q: TABLE.gather(0, i),
    "embedding": lambda i, q: torch.nn.functional.embedding(i, TABLE[:, None])[:, 0],
    "index_add": lambda i, q: torch.zeros(4, dtype=F64).index_add(0, i, q[:3]),
    "scatter_add": lambda i, q: torch.zeros(4, dtype=F64).scatter_add(0, i, q[:3]),
    "scatter": lambda i, q: torch.zeros(4, dtype=F64).scatter(0, i, 3.0),
    "index_put": lambda i, q: torch.zeros(4, dtype=F64).index_put((i,), q[:3], accumulate=True),
    "written": lambda i, q: torch.zeros(4, dtype=F64).index_put((i,), q[:3]),
}
OPEN = {
    "floor": lambda q: q.floor().long(),
    "clamped as a real number": lambda q: q.clamp(0, 3).long(),  # NaN stays, and is no place
    "clamped below": lambda q: q.long().clamp(min=0),
    "clamped too far": lambda q: q.long().clamp(0, 4),
    "below zero": lambda q: q.long().clamp(-5, 3),
    "one further": lambda q: q.long().clamp(0, 3) + 1,
    "may be either": lambda q: torch.where(q > 0, q.long(), 2),
    "among four others": lambda q: torch.bucketize(q, TABLE.sort().values),
    "chosen reals": lambda q: torch.where(q > 0, 2.5, q).long(),
    "reals rounded up": lambda q: torch.where(q < -5, 3.2 * ONES, 0.5).ceil().long(),
    "remainder by a number that moves": lambda q: q.long().remainder(1 + 4 * (q > 0).long()),
}
HELD = {
    "clamp": lambda q: q.floor().long().clamp(0, 3),
    "clamp by tensors": lambda q: q.long().clamp(torch.tensor(0), torch.tensor([3, 1, 2])),
    "two clamps": lambda q: q.long().clamp_min(1).clamp_max(3),
    "truth": lambda q: (q > 0).long(),
    "choice": lambda q: torch.where(q > 0, 3, 1) - (q > 1).long(),
    "remainder": lambda q: q.long().remainder(4),
    "product": lambda q: (q > 0).long() * 3,
    "lesser": lambda q: torch.minimum(torch.maximum(q.long(), torch.tensor(1)), torch.tensor(2)),
    "place of the greatest": lambda q: torch.stack([q, -q, 2.0 * q, q * q]).max(0).indices,
    "places in order": lambda q: torch.cat([q, q[:1]]).argsort(stable=True)[:3],
    "ranks": lambda q: q.argsort().argsort() + 1,
    "one place": lambda q: q.argmax() + q.argmin(0, keepdim=True).clamp(max=1).expand(3),
    "places so far": lambda q: q.cummax(0).indices,
    "places of middles": lambda q: (
        torch.stack([q, 0.1 - 1.3 * q, 2.0 * q + 3.0]).kthvalue(2, 0).indices
    ),
    "among three others": lambda q: torch.bucketize(q, WEIGHTS[:3]),
    "reals": lambda q: torch.where(q > 0, 2.7 * ONES, 0.2).ceil().long(),
    "part": lambda q: torch.stack([q.long().clamp(0, 1), q.long().clamp(2, 3)]).flatten()[1:4],
}
POINTS = [[0.5, 2.5, 1.0], [-7.0, 0.0, 9.5], [1e6, -1e6, 3.0]]


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("index", OPEN.values(), ids=OPEN)
def test_an_index_that_may_leave_its_axis_is_refused(index, use, compiled):
    q = torch.tensor([1.0, 2.0, 1.5], dtype=F64)
    with pytest.raises(Refusal, match="depends on the variables may lie outside an axis of 4"):
        compiled(lambda q: (use(index(q), q) * q[0]).sum(), q)


@pytest.mark.parametrize("index", HELD.values(), ids=HELD)
def test_an_index_that_is_known_to_stay_is_followed(index, compiled, reference):
    def density(q: Tensor) -> Tensor:
        written = torch.zeros(4, dtype=F64).index_put((index(q),), q[:1] * ONES)
        uses = [use(index(q), q) for name, use in USES.items() if name != "written"]
        return sum((k + 1) * (u * WEIGHTS[: len(u)]).sum() for k, u in enumerate([written, *uses]))

    native = compiled(density, torch.tensor(POINTS[0], dtype=F64))
    for point in POINTS:
        q = torch.tensor(point, dtype=F64)
        for ours, theirs in zip(native.value_and_grad(q), reference(density, q), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("tier", ["auto", "native", "traced", "eager"])
def test_every_tier_ends_a_run_with_what_torch_says(tier):
    """Compiled code went on, with the numbers behind the table."""

    def log_density(sites: dict[str, Tensor]) -> Tensor:
        z = sites["z"]
        return TABLE[z.floor().long()].sum(-1) - 0.005 * (z * z).sum(-1)

    kernel, at = NUTSKernel(), {"z": torch.tensor([0.5, 1.5, 2.5])}
    run = MCMC(
        kernel, 20, 20, num_chains=1, seed=0, tier=tier, init_strategy="value", init_values=at
    )
    with pytest.raises(RunFailed, match=r"IndexError: index -?\d+ is out of bounds"):
        run.run_target(HandTarget({"z": (3,)}, log_density))


def test_the_reason_for_another_tier_is_given():
    def log_density(sites: dict[str, Tensor]) -> Tensor:
        z = sites["z"]
        return TABLE[z.long().remainder(5)].sum(-1) - 5e3 * (z * z).sum(-1)

    kernel, at = NUTSKernel(), {"z": torch.full((3,), 0.01)}
    run = MCMC(kernel, 5, 5, num_chains=1, seed=0, init_strategy="value", init_values=at)
    result = run.run_target(HandTarget({"z": (3,)}, log_density))
    assert result.tier == "traced"
    assert "may lie outside an axis of 4" in result.tier_reason


def test_places_counted_from_the_end_are_followed_where_torch_follows_them(compiled, reference):
    def density(q: Tensor) -> Tensor:
        return (TABLE[q.long().clamp(-4, 3)] * q).sum()

    q = torch.tensor([-9.0, -1.5, 3.0], dtype=F64)
    value, _ = compiled(density, q).value_and_grad(q)
    assert value == reference(density, q)[0]


def _whole(rng: random.Random, q: Tensor, pool: list[Tensor]) -> Tensor:
    """A whole-number tensor made from others."""
    a, b = rng.choice(pool), rng.choice(pool)
    low = rng.randrange(-5, 5)
    return rng.choice([
        lambda: a + b, lambda: a - b, lambda: a * b, lambda: a.clamp(low, low + rng.randrange(4)),
        lambda: a.clamp(min=b), lambda: a.clamp(max=b), lambda: torch.where(q > 0, a, b),
        lambda: a.remainder(1 + abs(low)), lambda: torch.minimum(a, b), lambda: a.flip(0) + low,
        lambda: torch.maximum(a, b), lambda: torch.cat([a, b])[2:7], lambda: (a > b).long() - 2,
        lambda: torch.stack([a, b]).max(0).indices, lambda: torch.stack([a, b]).amin(0),
        lambda: a.clamp(torch.full((5,), low), b), lambda: low - a, lambda: a * low, a.relu, a.abs,
        lambda: a.masked_fill(q > 1, low), lambda: (a + low).relu() - 1,
        lambda: a.sort().values, a.argsort, lambda: a.cummin(0).values,
        lambda: b.cummax(0).indices - a, lambda: a.argmax() + b, lambda: a.topk(5).indices,
        lambda: torch.bucketize(a, b.sort().values), lambda: a.median(0).values - b.argmin(0) + a,
        lambda: torch.where(q > 1, low + 0.7, -1.6).long(),
        lambda: torch.full((5,), low - 0.3).masked_fill(q > 0, 2.5).ceil().long(),
    ])()  # fmt: skip


def test_numbers_of_random_programs_lie_between_their_bounds():
    """Of 60 programs of 20 operations at 10 points; bounds that are no bounds at all are rare."""
    ended = 0
    for seed in range(60):

        def program(q: Tensor, seed: int = seed) -> list[Tensor]:
            rng = random.Random(seed)
            pool = [q.long(), (q > 1).long(), q.long().clamp(-3, 4), q.long().remainder(3)]
            for _ in range(20):
                pool.append(_whole(rng, q, pool))
            return pool

        generator = torch.Generator().manual_seed(seed)
        points = 5.0 * torch.randn(10, 5, generator=generator, dtype=F64)
        graph = record(program, points[0])
        bounds = Bounds(graph)
        found = [bounds.of(ref) for ref in graph.outputs]
        ended += sum(high - low < 1e6 for low, high in found)
        for q in points:
            for number, (low, high) in zip(program(q), found, strict=True):
                assert low <= int(number.min())
                assert int(number.max()) <= high
    assert ended > 60 * 10


def _step(use):
    """A step on weights ``(3,)`` and labels ``(3,)``."""

    def step(weights: Tensor, labels: Tensor) -> list[Tensor]:
        value = (use(labels, weights) * weights[0]).sum()
        return [value, 2.0 * weights]

    return step


LABELS = {
    "as they are": lambda i: i,
    "shifted": lambda i: i - 1,
    "chosen": lambda i: torch.where(i == 99, 0, i),
}


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("name", USES)
def test_labels_of_new_data_are_looked_at_before_a_step(name, label):
    """The same exception as the replayed step; labels that are right stay right."""
    step, weights = _step(lambda i, q: USES[name](label(i), q)), torch.ones(3, dtype=F64)
    given = [weights, torch.tensor([1, 3, 2])]
    graph = simplify(record_draws(lambda: step(*given), given))
    run, other = compile_step(graph), replay(graph, torch.no_grad)
    for labels in ([1, 1, 3], [3, 2, 1], *([[99, 1, 2]] if label is LABELS["chosen"] else [])):
        new = torch.tensor(labels)
        assert float(run(weights, new)[0]) == pytest.approx(float(other(weights, new)[0]))
    wraps = "index_put" in name or name in ("index", "written")
    for labels in ([1, 2, 40], [1, 2, -40], [1, 2, 10**12], *([] if wraps else [[-1, 1, 1]])):
        new = torch.tensor(labels)
        with pytest.raises((IndexError, RuntimeError)) as theirs:
            other(weights, new)
        with pytest.raises(type(theirs.value)) as ours:
            run(weights, new)
        assert str(ours.value) == str(theirs.value)


def test_labels_given_as_real_numbers_are_looked_at_too():
    def step(weights: Tensor, x: Tensor) -> list[Tensor]:
        return [weights[x[:, 0].long()].sum() + x.sum(), 2.0 * weights]

    given = [torch.ones(3, dtype=F64), torch.tensor([[1.0, 80.0], [2.0, -90.0]], dtype=F64)]
    graph = simplify(record_draws(lambda: step(*given), given))
    run = compile_step(graph)
    assert float(run(*given)[0]) == 2.0 + 1.0 + 2.0 - 10.0
    for wrong in (3.0, -4.0, torch.nan):
        x = given[1].clone()
        x[1, 0] = wrong
        with pytest.raises(IndexError, match="out of bounds for dimension 0 with size 3"):
            run(given[0], x)


def test_a_step_whose_index_comes_from_its_weights_is_refused():
    def step(weights: Tensor, x: Tensor) -> list[Tensor]:
        return [x[weights.long()].sum(), 2.0 * weights]

    given = [torch.ones(3, dtype=F64), torch.ones(5, dtype=F64)]
    graph = simplify(record_draws(lambda: step(*given), given))
    with pytest.raises(Refusal, match="outside an axis of 5"):
        compile_step(graph)


def test_bounds_are_not_asked_of_real_numbers():
    graph = record(lambda q: [q.clamp(0.0, 3.0)], torch.ones(2))
    low, high = Bounds(graph).of(Ref(graph.outputs[0].index))
    assert (low, high) == (-torch.inf, torch.inf)
