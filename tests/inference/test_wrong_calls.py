"""Calls that are wrong: what is said names the value and a way out, and nothing runs before."""

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SVI,
    AutoNormalGuide,
    AutoNormalizingFlow,
    FitGuide,
    NUTSKernel,
    Predictive,
    StickingTheLanding,
    calibrate,
    condition,
    ess,
    infer_discrete,
    khat,
    load,
    log_likelihood,
    r_hat,
    save,
)
from quivers_nb.session.fits import fit_nuts, fit_svi
from quivers_nb.session.rules import RHatBelow

MODEL = """object Obs : FinSet 3
object G : FinSet 2
program line : Obs -> Obs
    sample a : G <- Normal(0.0, 2.0)
    sample s <- HalfNormal(1.0)
    let mu = sum(a)
    observe y : Obs <- Normal(mu, s)
    return mu
export line
"""
DATA = {"y": torch.tensor([1.0, 2.0, 3.0])}
DRAWS = {"a": torch.zeros(5, 2), "s": torch.ones(5)}


@pytest.fixture(scope="module")
def model():
    return loads(MODEL).morphism


def mcmc(model, data=None, **options):
    run = {k: options.pop(k) for k in ("keep", "missing", "guide") if k in options}
    kernel = options.pop("kernel", NUTSKernel())
    made = MCMC(kernel, 5, 5, num_chains=1, **{"seed": 0, **options})
    return made.run(model, None, DATA if data is None else data, **run)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kernel": NUTSKernel}, r"kernel=<class.* is wanted, such as NUTSKernel\(\)"),
        ({"kernel": "nuts"}, r"kernel='nuts': a kernel is wanted"),
        ({"executor": "dask"}, r"executor='dask': .*get_executor\(\)"),
        ({"dtype": torch.float16}, r"dtype=torch\.float16 is neither"),
        ({"dtype": "float32"}, r"dtype='float32' is neither"),
        (
            {"seed": -1},
            r"`seed` of `MCMC` is -1: a seed has 64 bits and no sign, so it must be at least 0",
        ),
        ({"init_values": {"s": 1.0}}, r'does not use them: say init_strategy="value"'),
        ({"init_strategy": "value"}, r"needs init_values="),
        ({"keep": "mu"}, r"keep='mu' is a text: give names, keep=\['mu'\]"),
        ({"missing": "y"}, r"missing='y' is a text: give names, missing=\['y'\]"),
        ({"missing": {"z"}}, r"missing=\{'z'\}: the program's observe sites are `y`"),
        ({"guide": "normal"}, r"guide='normal': a fitted guide is wanted"),
        ({"guide": AutoNormalGuide}, r"guide=<class.*: a fitted guide is wanted"),
    ],
)
def test_runs_of_chains(model, options, words):
    with pytest.raises(UserError, match=words):
        mcmc(model, **options)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"a": [0.0, 1.0, 2.0]}, r"of `a` has shape \(3,\), but shape \(2,\) is wanted"),
        ({"s": -1.0}, r"start value `s` = -1 is not inside the support"),
        ({"s": float("nan")}, r"start value `s` = nan is not inside the support"),
        ({"s": "x"}, r"start value of `s` is 'x': numbers are wanted"),
        ({"b": 1.0}, r"start values for \['b'\]: the latent sites are a, s"),
    ],
)
def test_start_values(model, values, words):
    with pytest.raises(UserError, match=words):
        mcmc(model, init_strategy="value", init_values=values)


def test_variational_fits(model):
    guide = AutoNormalGuide(model, {"y"})
    adam = torch.optim.Adam(guide.parameters())
    other = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    for arguments, words in (
        ((model, None, adam, ELBO()), "guide=None: a guide is wanted"),
        ((model, "normal", adam, ELBO()), "guide='normal'"),
        ((model, guide, torch.optim.Adam, ELBO()), "optim=<class.*: an optimizer is wanted"),
        ((model, guide, adam, ELBO), "objective=<class.*: an objective is wanted"),
        ((guide, model, adam, ELBO()), "a model is wanted"),
        ((model, guide, other, ELBO()), "no parameter of this guide or model, so nothing would"),
    ):
        with pytest.raises(UserError, match=words):
            SVI(*arguments)
    with pytest.raises(UserError, match="`num_particles` of `ELBO` is '4'"):
        ELBO("4")
    with pytest.raises(UserError, match=r"`yy` is used by no site.*did you mean `y`"):
        AutoNormalGuide(model, {"yy"})
    with pytest.raises(UserError, match=r"observed_names='y' is a text: give names, .*=\['y'\]"):
        AutoNormalGuide(model, "y")
    with pytest.raises(UserError, match=r"observed_names=None has no names: give some, .*=\['y'\]"):
        AutoNormalGuide(model, None)
    with pytest.raises(UserError, match=r"^the observe site `y` has no value"):
        fit_svi(model, None, {}, steps=3, block=True)
    with pytest.raises(UserError, match="a fitted guide is wanted"):
        fit_nuts(model, None, DATA, guide=AutoNormalGuide)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"until": "converged"}, r"'converged' \(str\) is no stop rule: .*RHatBelow\(1\.01\)"),
        ({"until": RHatBelow}, r"is no stop rule"),
        ({"after": "svi"}, r"after='svi' \(str\): a run is wanted"),
    ],
)
def test_rules_and_runs_before_that_are_none_are_refused_before_anything_runs(
    model, options, words
):
    with pytest.raises(UserError, match=words):
        fit_nuts(model, None, DATA, seed=0, **options)
    with pytest.raises(UserError, match="no stop rule"):
        RHatBelow() | 3


@pytest.mark.parametrize(
    ("posterior", "words"),
    [
        ({**DRAWS, "b": torch.ones(5)}, r"`b` is used by no site"),
        ({**DRAWS, "s": 1.0}, r"posterior's `s` is one number: give \(n,\) draws"),
        ({**DRAWS, "s": {"draws": 1}}, r"posterior's `s` is a dict, which holds no draws"),
    ],
)
def test_draws_that_are_not_the_models(model, posterior, words):
    with pytest.raises(UserError, match=words):
        Predictive(model, posterior)(None)
    assert Predictive(model, DRAWS)(None)["y"].shape == (5, 3)


def test_predictions_and_files(model, tmp_path):
    result = mcmc(model)
    with pytest.raises(UserError, match="`Predictive` has no option `num_draws`"):
        Predictive(model, result, num_draws=3)
    with pytest.raises(UserError, match="predictive is a Predictive: call it"):
        result.to_arviz(Predictive(model, result))
    for call in (lambda: save(result, tmp_path / "a"), lambda: load(3)):
        with pytest.raises(UserError, match="take it first"):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, r: fit_svi(m, None, DATA, optimizer="adam"), "optimizer='adam': an optim"),
        (lambda m, r: fit_svi(m, None, DATA, scheduler="cosine"), r"such as Cosine\(2000\)"),
        (
            lambda m, r: fit_svi(m, None, DATA, guide=lambda x: None),
            r"guide=<function .* cannot make the guide: it is called with the model and the "
            r"observed names, and too many positional arguments\. .*guide=AutoNormalGuide",
        ),
        (
            lambda m, r: fit_svi(m, None, DATA, guide=dict),
            r"guide=<class 'dict'> cannot make the guide: .* no signature found.*AutoNormalGuide",
        ),
        (
            lambda m, r: fit_svi(m, None, DATA, guide=lambda m, names: None),
            r"guide=<function .* returned None \(NoneType\), which is no guide: return one",
        ),
        (
            lambda m, r: calibrate(m, None, FitGuide(lambda m, names: None)),
            r"returned None \(NoneType\), which is no guide: return one",
        ),
        (
            lambda m, r: fit_svi(m, None, DATA, optimizer=lambda p: None, block=True),
            r"optimizer=<function .* returned None \(NoneType\), which is no optimizer: return one",
        ),
        (lambda m, r: fit_svi(m, None, DATA, objective=ELBO), "objective=<class.*such as ELBO"),
        (lambda m, r: fit_nuts(m, None, DATA, checkpoint=3), r"checkpoint=3 \(int\): the path"),
        (
            lambda m, r: fit_nuts(m, None, DATA, init_values={"s": 1.0}),
            r"""init='uniform' does not use them: say init="value"$""",
        ),
        (
            lambda m, r: fit_nuts(m, None, DATA, init="value", init_values=[1.0], block=True),
            r"init_values=\[1\.0\] \(list\): values by site are wanted",
        ),
        (lambda m, r: ELBO(estimator=StickingTheLanding), "estimator=<class.*such as Sticking"),
        (lambda m, r: Predictive(m, r, generator=3), "`generator` of `Predictive` is 3 .*a torch"),
        (lambda m, r: Predictive(m, r, sizes="n"), r"sizes='n': sizes by name are wanted"),
        (lambda m, r: calibrate(m, None, FitGuide(), data=3), "data are given by name"),
        (lambda m, r: MCMC(NUTSKernel(), 5, 5).run(m, None, DATA, watch=3), "`watch` of `run`"),
        (lambda m, r: MCMC(NUTSKernel(), 5, 5).run(m, None, DATA, wach=3), "no option `wach`"),
        (
            lambda m, r: mcmc(m, init_scales={"a": "x"}),
            r"init_scales of `a` is 'x': standard deviations are wanted",
        ),
        (lambda m, r: fitted(m, scheduler="cosine"), r"scheduler='cosine' \(str\): a function of"),
        (lambda m, r: fitted(m).run(None, DATA, progress=3), "`progress` of `run` is 3"),
        (lambda m, r: AutoNormalGuide(m, {"y"}, rows=0.5), "rows=0.5 must be a positive number"),
        (
            lambda m, r: AutoNormalizingFlow(m, {"y"}, hidden=3),
            "hidden=3: the widths of hidden layers are wanted",
        ),
        (lambda m, r: calibrate(m, None, NUTSKernel()), "fit=NUTSKernel.*such as MCMC"),
        (lambda m, r: calibrate(m, None, MCMC), "fit=<class.*such as MCMC"),
        (lambda m, r: calibrate(None, None, FitGuide()), "the model is None"),
        (lambda m, r: calibrate(m, None, FitGuide(), sites="a"), "sites='a' is a text"),
        (lambda m, r: condition(m, [1.0]), "data are given by name"),
        (lambda m, r: condition(None, {"a": 1.0}), "the model is None"),
        (lambda m, r: r_hat(r), r"not a MCMCResult: take result\.samples\[site\]"),
        (lambda m, r: ess(r.samples), "not a Samples: take result"),
        (lambda m, r: ess([1.0, 2.0]), r"draws have shape \(2,\): \(chains, draws, …\)"),
        (lambda m, r: khat(AutoNormalGuide(m, {"y"}), m, None, DATA), "a model is wanted"),
        (lambda m, r: khat(m, r, None, DATA), "guide=MCMCResult.*a fitted guide is wanted"),
        (lambda m, r: log_likelihood(None, None, DATA, r), "the model is None"),
        (lambda m, r: r.summary("a"), "`max_rows` of `summary` is 'a' .*a whole number"),
        (lambda m, r: r.samples["b"], "no draws of `b`; "),
        (lambda m, r: r.samples["ss"], "^there are no draws of `ss`; did you mean `s`"),
        (lambda m, r: fitted(m).run(None, DATA, "10"), "`num_steps` of `run` is '10'"),
    ],
)  # fmt: skip
def test_other_calls(model, call, words):
    with pytest.raises(UserError, match=words):
        call(model, mcmc(model))


def fitted(model, **options):
    guide = AutoNormalGuide(model, {"y"})
    return SVI(model, guide, torch.optim.Adam(guide.parameters()), ELBO(), **options)


COIN = """object Obs : FinSet 4
program coin : Obs -> Obs
    sample z <- Bernoulli(0.4)
    let p = 0.2 + 0.6 * z
    observe y : Obs <- Bernoulli(p)
    return z
export coin
"""


def test_a_model_whose_only_latent_is_finite_has_its_exact_posterior():
    model, data = loads(COIN).morphism, {"y": [1, 1, 0, 1]}
    for fit in (fit_nuts, fit_svi):
        with pytest.raises(UserError, match=r"infer_discrete\(model, x, data\)"):
            fit(model, None, data, block=True)
    weights = torch.tensor([0.6 * 0.2**3 * 0.8, 0.4 * 0.8**3 * 0.2], dtype=torch.float64)
    found = infer_discrete(model, None, data)
    torch.testing.assert_close(found.mean("z"), weights / weights.sum())


def test_a_model_with_other_latents_needs_draws_for_that(model):
    with pytest.raises(UserError, match="depend on draws of `a`, `s`: give a posterior"):
        infer_discrete(model, None, DATA)


def test_a_model_without_latents_says_what_is_known_of_it():
    known = loads(COIN.replace("    sample z <- Bernoulli(0.4)\n", "    let z = 1.0\n")).morphism
    with pytest.raises(UserError, match=r"every site .* has a value; model\.log_density\(x, data"):
        fit_nuts(known, None, {"y": [1, 1, 0, 1]}, block=True)
