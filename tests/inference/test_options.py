"""Options that do not exist: what is said, and that real ones still pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SMC,
    SVI,
    AutoNormalGuide,
    AutoNormalizingFlow,
    HMCKernel,
    NUTSKernel,
)
from quivers_nb.inference.options import UnknownOption, WrongOption, whole_numbers
from quivers_nb.session.fits import fit_nuts, fit_svi
from tests.inference.vi.conjugate import Conjugate

MODEL = Conjugate(1, 0)
MEAN = loads("""object N : FinSet 5
program mean : N -> N
    sample mu <- Normal(0.0, 1.0)
    observe y : N <- Normal(mu, 1.0)
    return mu
export mean
""").morphism
DATA = {"y": [0.3, -0.1, 0.8, 0.2, 0.5]}


@pytest.mark.parametrize(
    ("call", "option", "meant"),
    [
        (lambda **o: fit_nuts(MODEL, **o), "num_samples", "draws"),
        (lambda **o: fit_nuts(MODEL, **o), "tune", "warmup"),
        (lambda **o: fit_svi(MODEL, **o), "num_steps", "steps"),
        (lambda **o: fit_svi(MODEL, **o), "sheduler", "scheduler"),
        (lambda **o: MCMC(NUTSKernel(), 5, 5, **o), "chains", "num_chains"),
        (lambda **o: MCMC(NUTSKernel(), **o), "draws", "num_samples"),
        (NUTSKernel, "adapt_delta", "target_accept"),
        (HMCKernel, "steps", "num_steps"),
        (HMCKernel, "nm_steps", "num_steps"),
        (lambda **o: SVI(MODEL, None, None, None, **o), "total_row", "total_rows"),
    ],
)
def test_the_option_the_one_that_was_meant_and_all_others_are_named(call, option, meant):
    with pytest.raises(UnknownOption, match=f"has no option `{option}`") as caught:
        call(**{option: 10})
    said = str(caught.value)
    assert f"`{meant}` is what it has for that" in said
    assert "It takes " in said
    assert "self" not in said
    assert "Q0801" in said
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, TypeError)


def test_what_is_near_to_nothing_has_no_proposal():
    with pytest.raises(UnknownOption, match=r"has no option `zzzzzz`\. It takes step_size, "):
        NUTSKernel(zzzzzz=1)


def test_options_that_exist_pass_by_place_and_by_name():
    assert NUTSKernel(0.2, mass_matrix="dense") == replace(NUTSKernel(0.2), mass_matrix="dense")
    mcmc = MCMC(NUTSKernel(), 5, num_samples=6)
    assert (mcmc.num_warmup, mcmc.num_samples) == (5, 6)
    guide = AutoNormalGuide(MODEL, {"y"})
    optim = torch.optim.Adam(guide.parameters())
    assert SVI(MODEL, guide, optim, objective=ELBO(2)).objective == ELBO(2)
    with pytest.raises(TypeError, match="missing"):
        MCMC(NUTSKernel())


@pytest.mark.parametrize(
    ("call", "option", "value", "wanted"),
    [
        (
            lambda **o: fit_nuts(MODEL, **o),
            "draws",
            "many",
            "a whole number is wanted, such as 1000",
        ),
        (lambda **o: fit_nuts(MODEL, **o), "warmup", 5.5, "a whole number is wanted"),
        (lambda **o: fit_nuts(MODEL, **o), "chains", True, "a whole number is wanted, such as 4"),
        (lambda **o: fit_nuts(MODEL, **o), "draws", None, "a whole number is wanted"),
        (lambda **o: fit_nuts(MODEL, **o), "seed", "x", "a whole number or None is wanted"),
        (lambda **o: fit_nuts(MODEL, **o), "target_accept", "0.9", "a number is wanted, such as"),
        (lambda **o: fit_nuts(MODEL, **o), "tier", 2, "a text is wanted, such as 'auto'"),
        (lambda **o: fit_svi(MODEL, **o), "lr", torch.ones(2), "a number is wanted, such as 0.01"),
        (lambda **o: fit_svi(MODEL, **o), "block", "yes", "True or False is wanted"),
        (lambda **o: MCMC(NUTSKernel(), 5, **o), "num_samples", "5", "a whole number is wanted"),
        (NUTSKernel, "max_tree_depth", [10], "a whole number is wanted"),
    ],
)
def test_an_option_of_another_type_is_refused_with_what_is_wanted(call, option, value, wanted):
    with pytest.raises(WrongOption, match=rf"`{option}` of `\w+` is ") as caught:
        call(**{option: value})
    said = str(caught.value)
    assert wanted in said
    assert "Q0802" in said
    assert isinstance(caught.value, UserError)


def test_numbers_of_numpy_and_tensors_of_one_number_are_numbers():
    kernel = NUTSKernel(np.float32(0.25), max_tree_depth=np.int64(4))
    assert kernel.step_size == 0.25
    assert MCMC(kernel, torch.tensor(5), np.int32(6), num_chains=1)
    with pytest.raises(WrongOption, match="num_warmup"):
        MCMC(kernel, torch.tensor(5.5), 6)


@pytest.mark.parametrize("truth", [True, np.True_, np.array(True), torch.tensor(True)])
def test_a_truth_value_is_no_number(truth):
    with pytest.raises(WrongOption, match="`seed` of `MCMC` is "):
        MCMC(NUTSKernel(), 5, 6, seed=truth)
    with pytest.raises(WrongOption, match="`step_size` of `NUTSKernel` is "):
        NUTSKernel(truth)
    assert whole_numbers([truth]) is None


def test_whole_numbers_are_those_of_sequences_and_of_arrays_of_one_axis():
    for given in (
        [8, 3],
        (np.int64(8), 3),
        np.array([8, 3]),
        torch.tensor([8, 3]),
        range(8, 2, -5),
    ):
        found = whole_numbers(given)
        assert found == (8, 3)
        assert {type(each) for each in found} == {int}
    assert whole_numbers(()) == ()
    others = (8, np.int64(8), np.array(8), np.array([[8]]), [8.0], "8", "", b"8", {8: 3}, None)
    assert [each for each in others if whole_numbers(each) is not None] == []


def test_rows_and_widths_of_numpy_are_rows_and_widths():
    for rows in (5, np.int64(5), (np.int64(5),), np.array([5])):
        assert AutoNormalGuide(MODEL, {"y"}, rows=rows).rows == (5,)
    for rows in (True, (True,), np.array([True]), 0, (), (5, 0)):
        with pytest.raises(UserError, match="must be a positive number of rows"):
            AutoNormalGuide(MODEL, {"y"}, rows=rows)
    usual = shapes_of((8, 8))
    assert (8, 8) in usual
    for hidden in ((np.int64(8), 8), np.array([8, 8])):
        assert shapes_of(hidden) == usual
    for hidden in ((True,), np.array([True]), (8, 0), np.array(8)):
        with pytest.raises(UserError, match="the widths of hidden layers are wanted"):
            shapes_of(hidden)


def shapes_of(hidden):
    guide = AutoNormalizingFlow(Conjugate(2, 1), {"y"}, hidden=hidden)
    return [tuple(each.shape) for each in guide.parameters()]


def test_the_largest_seed_runs_and_goes_on_from_its_checkpoint(tmp_path):
    seed = 2**64 - 1
    for fit, sizes in (
        (fit_nuts, {"warmup": 10, "draws": 5, "chains": 1}),
        (fit_svi, {"steps": 3}),
    ):
        file = tmp_path / fit.__name__
        one, again = (
            fit(MEAN, None, DATA, **sizes, seed=seed, checkpoint=file, block=True).result
            for _ in range(2)
        )
        drawn = (r.samples if fit is fit_nuts else r.params for r in (one, again))
        a, b = drawn
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    sampler = SMC(num_particles=16, num_runs=1, seed=seed)
    assert sampler.run(MEAN, None, DATA).seed == seed


def test_arguments_that_do_not_fit_are_named_by_the_call_itself():
    with pytest.raises(TypeError, match="multiple values for argument 'step_size'"):
        NUTSKernel(0.1, step_size=0.2)
