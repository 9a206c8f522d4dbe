"""Blocks in blocks are summed together, by variable elimination (7.8, acceptance 2 of chains).

Against enumeration of all joint assignments, the textbook recursion (Rabiner 1989), and counts of
operations and bytes: a chain of T nested blocks costs O(T K²) wherever its terms are written.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import flat, infer_discrete, native
from quivers_nb.inference.gradient import eager, traced
from quivers_nb.lower import factors
from tests.support.nestings import KINDS, generate_nesting
from tests.support.operations import Counter
from tests.support.oracles import Array, compiled, normal, tensor, tensors

SEEDS = range(200)


def error(seed: int) -> float:
    made = generate_nesting(seed)
    x = None if made.x is None else tensor(made.x)
    got = compiled(made.source).log_joint(x, tensors(made.values)).detach().numpy()
    assert got.shape == made.expected.shape
    return float(np.abs(got - made.expected).max())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_nest_is_the_sum_over_its_assignments(seed: int) -> None:
    assert error(seed) < 1e-8, generate_nesting(seed).source


def test_nests_of_every_kind_and_depth_are_among_them() -> None:
    made = [generate_nesting(seed) for seed in SEEDS]
    for depth in range(2, 7):
        assert sum(len(each.sizes) == depth for each in made) >= 20, depth
    assert len(KINDS) == 4


def test_a_site_summed_too_early_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant forgets one of the terms that touch a site, where there are several."""
    true = factors._without

    def forgetful(site: int, touching: Any, *rest: Any, **options: Any) -> Any:
        return true(site, touching[:-1] or touching, *rest, **options)

    monkeypatch.setattr(factors, "_without", forgetful)
    assert sum(error(seed) > 1e-8 for seed in range(40)) >= 30


# --- chains ---------------------------------------------------------------------------------------

PLACE = {"once": ("", ""), "plate": (" : A", ""), "grouped": (" : K", " [over=A]")}


def chain(length: int, size: int, *, place: str = "once", late: bool = False) -> str:
    """A hidden chain as nested blocks; ``late``: all observes in the innermost one."""
    plate, over = PLACE[place]
    seen, via = ("", "") if place == "once" else (" : A", " [via=same]" if over else "")
    lines = [f"object K : FinSet {size}", "object A : FinSet 3", "program p : 1 -> 1",
             "    sample mu : K <- Normal(0.0, 1.0)", "    let w0 = 1.0 * start"]  # fmt: skip
    observes = []
    for t in range(length):
        indent = "    " + " " * t
        lines.append(f"{indent}marginalize z{t}{plate} <- CategoricalProbs(w{t}){over}")
        mine = [f"let m{t} = mu[z{t}]", f"observe y{t}{seen} <- Normal(m{t}, 1.0){via}"]
        observes += mine
        lines += [] if late else [f"{indent} {line}" for line in mine]
        if t < length - 1:
            lines.append(f"{indent} let w{t + 1} = table[z{t}]")
    lines += [f"{indent} {line}" for line in observes] if late else []
    return "\n".join([*lines, "    return mu", "export p", ""])


def data(length: int, size: int, place: str = "once") -> dict[str, Any]:
    rng = np.random.default_rng(length)
    shape = () if place == "once" else (3,)
    y = {f"y{t}": rng.normal(size=shape) for t in range(length)}
    values = {"start": rng.dirichlet(np.ones(size)), "mu": 2 * rng.normal(size=size), **y,
              "table": rng.dirichlet(np.ones(size), size=size)}  # fmt: skip
    return {**values, "same": np.arange(3)} if place == "grouped" else values


def recursion(values: dict[str, Any], length: int) -> tuple[Array, Array]:
    """Log density (*n,) and smoothing probabilities (T, *n, K): forward times backward."""
    mu, moves = values["mu"], np.log(values["table"])
    seen = [normal(values[f"y{t}"][..., None], mu, 1.0) for t in range(length)]
    alpha, beta = [np.log(values["start"]) + seen[0]], [np.zeros_like(seen[0])]
    for t in range(1, length):
        alpha.append(logsumexp(alpha[-1][..., :, None] + moves, axis=-2) + seen[t])
        back = (seen[length - t] + beta[-1])[..., None, :] + moves
        beta.append(logsumexp(back, axis=-1))
    both = np.stack([a + b for a, b in zip(alpha, reversed(beta), strict=True)])
    return np.asarray(logsumexp(alpha[-1], axis=-1)), np.exp(log_softmax(both, -1))


each_form = pytest.mark.parametrize("late", [False, True], ids=["in its block", "innermost"])
each_place = pytest.mark.parametrize("place", PLACE)


@each_form
@each_place
def test_fifty_nested_blocks_are_the_textbook_recursion(place: str, late: bool) -> None:
    values = data(50, 3, place)
    model = compiled(chain(50, 3, place=place, late=late))
    got = model.log_joint(None, tensors(values)).item()
    prior = normal(values["mu"], 0, 1).sum()
    assert got == pytest.approx(prior + recursion(values, 50)[0].sum(), rel=1e-12)


@each_form
@each_place
def test_class_probabilities_are_forward_times_backward(place: str, late: bool) -> None:
    values = data(12, 3, place)
    model = compiled(chain(12, 3, place=place, late=late))
    draws = {"mu": tensor(values.pop("mu")[None])}
    found = infer_discrete(model, None, tensors(values), draws)
    values["mu"] = draws["mu"][0].numpy()
    for t, wanted in enumerate(recursion(values, 12)[1]):
        np.testing.assert_allclose(found[f"z{t}"][0, 0].numpy(), wanted, rtol=1e-9, atol=1e-12)


@each_form
def test_the_gradient_is_that_of_the_recursion_on_every_tier(late: bool) -> None:
    values = data(20, 3)
    model = compiled(chain(20, 3, late=late))
    given = {k: v for k, v in tensors(values).items() if k != "mu"}
    target = flat(model.target(None, given, dtype=torch.float64))
    q = tensor(values["mu"])
    slopes = []
    for k in range(3):
        ends = []
        for shift in (1e-6, -1e-6):
            moved = {**values, "mu": values["mu"] + shift * (np.arange(3) == k)}
            ends.append(recursion(moved, 20)[0].sum() + normal(moved["mu"], 0, 1).sum())
        slopes.append((ends[0] - ends[1]) / 2e-6)
    value = recursion(values, 20)[0].sum() + normal(values["mu"], 0, 1).sum()
    made = native.prepare(target, q)
    assert not isinstance(made, native.Unavailable), made
    for evaluate in (eager(target), traced(target, q[None]).evaluate, made.evaluate):
        found, slope = evaluate(q[None])
        assert found.item() == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(slope[0].numpy(), slopes, rtol=1e-6)


def cost(length: int, size: int, *, late: bool) -> tuple[int, int]:
    """Operations of a value and gradient, and the numbers in its largest tensor."""
    values = tensors(data(length, size))
    model = compiled(chain(length, size, late=late))
    mu = values["mu"].requires_grad_(True)
    with Counter() as counter:
        model.log_joint(None, values).backward()
    assert mu.grad is not None
    return counter.count, counter.largest


@each_form
def test_a_chain_costs_the_same_at_every_step_and_k_squared_numbers(late: bool) -> None:
    counts = [cost(length, 3, late=late)[0] for length in (10, 11, 12, 40)]
    steps = [after - before for before, after in pairwise(counts)]
    assert steps == [steps[0], steps[0], 28 * steps[0]]
    assert steps[0] < 100
    for size in (3, 8, 20):
        assert cost(12, size, late=late)[1] == size**2
    assert cost(12, 20, late=late)[0] == cost(12, 3, late=late)[0]


def star(leaves: int, size: int) -> str:
    """Leaves outside, and inside them the site that they all meet: no order of the text is good."""
    lines = [f"object K : FinSet {size}", "program p : 1 -> 1"]
    lines += [f"    {' ' * k}marginalize z{k} <- CategoricalProbs(w)" for k in range(leaves)]
    indent = "    " + " " * leaves
    lines.append(f"{indent}marginalize c <- CategoricalProbs(w)")
    for k in range(leaves):
        lines += [f"{indent} let m{k} = 1.0 * z{k} + 2.0 * c",
                  f"{indent} observe y{k} <- Normal(m{k}, 1.0)"]  # fmt: skip
    first = lines.index("program p : 1 -> 1") + 1
    lines.insert(first, "    let w = 1.0 * start")
    return "\n".join([*lines, "    return w", "export p", ""])


def test_a_star_is_summed_from_its_leaves() -> None:
    leaves, size = 30, 4
    rng = np.random.default_rng(1)
    p, y = rng.dirichlet(np.ones(size)), rng.normal(size=leaves)
    z = np.arange(size)
    each = normal(y[:, None, None], z[:, None] + 2 * z, 1.0) + np.log(p)[:, None]
    wanted = logsumexp(np.log(p) + logsumexp(each, axis=1).sum(0))
    values = tensors({"start": p, **{f"y{k}": value for k, value in enumerate(y)}})
    model = compiled(star(leaves, size))
    with Counter() as counter:
        got = model.log_joint(None, values).item()
    assert got == pytest.approx(wanted, rel=1e-12)
    assert counter.largest == size**2


def test_what_cannot_be_is_minus_infinity_and_leaves_no_nan() -> None:
    """A first class under which no second class can have given y; then none at all."""
    source = """\
object K : FinSet 2
program p : 1 -> 1
    sample s <- HalfNormal(1.0)
    let w = 1.0 * start
    marginalize a <- CategoricalProbs(w)
        let v = table[a]
        marginalize b <- CategoricalProbs(v)
            let low = 3.0 * a
            let high = low + 1.0 + b + s
            observe y <- Uniform(low, high)
    return s
export p
"""
    model = compiled(source)
    base = tensors({"start": [0.4, 0.6], "table": [[0.5, 0.5], [0.3, 0.7]]})
    for y, possible in ((2.5, True), (0.5, True), (30.0, False)):
        s = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        got = model.log_joint(None, {**base, "s": s, "y": torch.tensor(y, dtype=torch.float64)})
        (slope,) = torch.autograd.grad(got, s)
        assert bool(got.isfinite()) is possible
        assert possible or got.item() == -np.inf
        assert bool(slope.isfinite()), y


def test_terms_that_join_too_many_sites_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(factors, "ROOM", 8)
    with pytest.raises(UserError, match=r"summing `z0`, `z1` together needs a table of 9 numbers"):
        compiled(chain(2, 3)).log_joint(None, tensors(data(2, 3)))


def test_blocks_nested_deeper_than_torch_has_axes_are_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"`z56` stands in 56 blocks.*scan\(cell\)"):
        compiled(chain(57, 2)).log_joint(None, tensors(data(57, 2)))


def test_responses_of_a_deep_chain_are_drawn_in_one_pass_per_block() -> None:
    values = {k: v for k, v in tensors(data(25, 3)).items() if not k.startswith("y")}
    model = compiled(chain(25, 3))
    trace = model.trace(None, values, generator=torch.Generator().manual_seed(0))
    drawn = {f"y{t}": trace.sites[f"y{t}"].value for t in range(25)}
    torch.testing.assert_close(model.log_joint(None, {**values, **drawn}), trace.log_joint)
