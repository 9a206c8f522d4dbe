"""Densities compiled earlier are used again for the same density, and for no other."""

import gc

import numpy as np
import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel, condition
from quivers_nb.inference.gradient import difference_at, eager
from quivers_nb.inference.identity import digest
from quivers_nb.inference.mcmc.begin import begin
from quivers_nb.inference.mcmc.starts import Start
from quivers_nb.inference.native import NativeTarget, prepare, prepared, reuse
from quivers_nb.inference.target import flat
from tests.inference.native.regression import PROGRAM, observations

DOUBLE = torch.float64
KERNEL = """object S : Real 2
object T : Real 1
morphism f : S -> T [role=kernel, scale=0.5] ~ Normal
program p : S -> T
    sample a <- Normal(0.0, 1.0)
    sample z <- f
    let m = z + a
    observe y <- Normal(m, 1.0)
    return y
export p
"""


@pytest.fixture(autouse=True)
def _this_process_alone(monkeypatch):
    monkeypatch.setattr(reuse, "find", lambda _key: None)


def _target(model, data, x=None, **options):
    return flat(model.target(x, data, **{"dtype": DOUBLE, **options}))


def _compiled(target):
    point = torch.linspace(-0.4, 0.5, target.dim, dtype=target.dtype)
    native = prepare(target, point)
    assert isinstance(native, NativeTarget), native
    return point


def _difference(native, target):
    generator = torch.Generator().manual_seed(3)
    q = torch.randn(2, target.dim, generator=generator, dtype=target.dtype)
    return difference_at(q, native.evaluate, eager(target))


def _engine(target):
    settings = {"num_warmup": 10, "tier": "native"}
    return begin(Start(target), 1, (0, 1), NUTSKernel(), *settings.values()).engine


def test_equal_data_in_new_arrays_find_the_function():
    model = loads(PROGRAM).morphism
    _compiled(_target(model, observations()))
    again = _target(model, {name: value.copy() for name, value in observations().items()})
    known = prepared(again)
    assert known is not None
    assert _difference(known, again) is None
    assert all(array.ctypes.data % 64 == 0 for array in known.function.data)
    assert prepared(_target(loads(PROGRAM).morphism, observations())) is None, "another program"


def _one_response(data):
    data["y"][7] += 1e-6


def _host_matrix(data):
    data["x"][3, 1] = -data["x"][3, 1]


def _rows_swapped(data):
    data["x"][[0, 1]] = data["x"][[1, 0]]


@pytest.mark.parametrize("change", [_one_response, _host_matrix, _rows_swapped])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_data_written_in_place_are_other_data(change, kind):
    model = loads(PROGRAM).morphism
    data = observations()
    given = {name: kind(value) for name, value in data.items()}  # shares memory with `data`
    _compiled(_target(model, given))
    change(data)
    changed = _target(model, given)
    assert prepared(changed) is None
    assert _difference(_engine(changed), changed) is None


def test_what_was_written_in_place_is_not_seen_by_the_kept_function():
    """The old numbers in a new tensor find the old function, whose data must still be the old."""
    model = loads(PROGRAM).morphism
    shared = {name: torch.as_tensor(value) for name, value in observations().items()}
    _compiled(_target(model, shared))
    shared["x"][2] += 1.0
    shared["y"][5] -= 2.0
    old = _target(model, observations())
    known = prepared(old)
    assert known is not None
    assert _difference(known, old) is None


def test_a_weight_written_in_place_is_another_density():
    model = loads(KERNEL).morphism
    x, data = torch.ones(6, 2), {"y": torch.linspace(-1.0, 1.0, 6)}
    _compiled(_target(model, data, x))
    assert prepared(_target(model, data, x)) is not None
    with torch.no_grad():
        next(iter(model.parameters())).mul_(1.0 + 1e-6)
    changed = _target(model, data, x)
    assert prepared(changed) is None
    assert _difference(_engine(changed), changed) is None


def test_a_weight_written_between_opening_and_running_is_seen():
    model = loads(KERNEL).morphism.double()
    x, data = torch.ones(6, 2, dtype=DOUBLE), {"y": torch.linspace(-1.0, 1.0, 6, dtype=DOUBLE)}
    target = _target(model, data, x)
    _compiled(target)
    with torch.no_grad():
        next(iter(model.parameters())).add_(0.25)
    assert prepared(target) is None
    assert _difference(_engine(target), target) is None


def test_the_input_is_part_of_the_density():
    model = loads(KERNEL).morphism
    x, data = torch.ones(6, 2), {"y": torch.linspace(-1.0, 1.0, 6)}
    _compiled(_target(model, data, x))
    for other in (x + 1.0, torch.ones(6, 2).index_fill(0, torch.tensor(2), 3.0)):
        assert prepared(_target(model, data, other)) is None


def test_dtype_shape_weight_of_rows_and_latents_are_part_of_the_density():
    model = loads(PROGRAM).morphism
    target = _target(model, observations())
    _compiled(target)
    assert prepared(_target(model, observations(), dtype=torch.float32)) is None
    assert prepared(flat(target.source, row_weight=2.0)) is None
    assert prepared(_target(model, observations(), latents="declared")) is None
    beta = {**observations(), "beta": np.array([0.1, 0.2, 0.3])}
    assert prepared(_target(model, beta)) is None, "fewer coordinates"
    conditioned = condition(model, {"beta": beta["beta"]})
    _compiled(_target(conditioned, observations()))
    known = prepared(_target(model, beta))
    assert known is not None
    assert _difference(known, _target(model, beta)) is None


def test_another_default_dtype_or_compiler_is_looked_at_anew():
    model = loads(PROGRAM).morphism
    target = _target(model, observations())
    _compiled(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", "gcc -m64")
        assert prepared(target) is None
    assert prepared(target) is not None
    torch.set_default_dtype(DOUBLE)
    try:
        assert prepared(target) is None
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_function_that_is_wrong_at_the_starts_is_not_used(monkeypatch):
    """The mutant: an identity that forgets the data. The check at the starts must hold it back."""
    monkeypatch.setattr(reuse, "digest", lambda facts: b"all the same")
    model = loads(PROGRAM).morphism
    _compiled(_target(model, observations()))
    other = _target(model, observations(1))
    known = prepared(other)
    assert known is not None
    assert _difference(known, other) is not None
    assert _difference(_engine(other), other) is None


def test_a_second_run_draws_what_the_first_drew():
    model = loads(PROGRAM).morphism
    mcmc = MCMC(NUTSKernel(), 40, 20, num_chains=2, seed=5)
    first, second = mcmc.run(model, None, observations()), mcmc.run(model, None, observations())
    assert first.tier == second.tier == "native"
    assert torch.equal(first.start_log_densities, second.start_log_densities)
    for name, draws in first.samples.items():
        assert torch.equal(draws, second.samples[name])


def test_functions_live_as_long_as_their_program_and_only_the_last_few():
    model = loads(PROGRAM).morphism
    for seed in range(reuse.MOST + 1):
        _compiled(_target(model, observations(seed)))
    assert prepared(_target(model, observations(0))) is None
    assert prepared(_target(model, observations(1))) is not None
    programs = len(reuse._KEPT)
    del model
    gc.collect()
    assert len(reuse._KEPT) < programs


def test_large_data_are_not_kept(monkeypatch):
    monkeypatch.setattr(reuse, "GREATEST", 100)
    model = loads(PROGRAM).morphism
    target = _target(model, observations())
    _compiled(target)
    assert prepared(target) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (0.0, -0.0), (1, True), ("1", 1), ((1, (2,)), (1, 2)), (["ab", "c"], ["a", "bc"]),
        (torch.zeros(2), torch.zeros(2, dtype=DOUBLE)), (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), np.zeros(2, np.float32)), (np.arange(3), np.arange(3)[::-1]),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}), (frozenset({1, 2}), frozenset({1, 3})),
    ],
)  # fmt: skip
def test_unequal_values_have_unequal_digests(one, other):
    assert digest(one) != digest(other)
    assert digest(one) == digest(one) is not None


def test_what_has_no_readable_value_has_no_digest():
    assert digest(lambda: 0) is None
    assert digest({"a": [object()]}) is None
    assert digest(frozenset({test_large_data_are_not_kept})) is None
    assert digest(np.array(["a"])) is None
    assert digest(torch.zeros(2).to_sparse()) is None
    assert digest(torch.zeros(1).expand(2**28)) is None, "too large to read"
    assert digest(torch.arange(6.0).reshape(2, 3).T) == digest(torch.arange(6.0).view(2, 3).T + 0.0)
