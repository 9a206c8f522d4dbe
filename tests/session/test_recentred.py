"""Runs that recentre, while they are under way: what is looked at is where the chains are."""

import numpy as np

from quivers_nb import fit_nuts
from quivers_nb.dsl import loads
from quivers_nb.inference.mcmc.pilot import LENGTH
from quivers_nb.session.growing import Growing
from quivers_nb.session.text_progress import sentence
from tests.support.targets import RATED, SCHOOLS

LONG = 60.0


def test_live_looks_show_the_sites_of_the_draws():
    run = fit_nuts(
        loads(SCHOOLS).morphism, None, RATED, recenter=True, draws=50, warmup=50, chains=2, seed=0
    )
    assert run.wait(LONG)
    samples = run.result.samples
    assert float(run.result.centering["theta"].min()) < 1.0  # other coordinates were chosen
    look = Growing(run.job).look()
    for name in look.names:
        site, _, place = name.partition("[")
        drawn = samples[site][..., int(place[:-1])] if place else samples[site]
        np.testing.assert_allclose(look.of(name), drawn.numpy(), rtol=1e-12)
    for site, values in run.job.partial().items():
        np.testing.assert_allclose(values.numpy(), samples[site].numpy(), rtol=1e-12)
    assert run.job.target is run.job.log.target  # what a predictive look reads too


def test_a_pilot_is_told_of_while_it_goes_on_and_not_after():
    model = loads(SCHOOLS).morphism
    options = {"draws": 20, "warmup": 20, "chains": 2, "seed": 0, "tier": "traced"}
    run = fit_nuts(model, None, RATED, recenter=True, **options)
    seen = []
    run.subscribe(lambda message: seen.append((message.header()["pilot"], message.progress)))
    assert run.wait(LONG)
    assert run.flush()
    pilots = [pilot for pilot, _ in seen if pilot is not None]
    assert pilots == sorted(pilots)
    assert len(set(pilots)) > 1
    assert {total for _, total in pilots} == {LENGTH}
    during = next(progress for pilot, progress in seen if pilot is not None)
    assert during.iteration == 0  # none of its transitions is one of the run
    assert sentence(during).startswith(f"warming pilot {pilots[0][0]}/{LENGTH}, ")
    assert run.progress.pilot is None
    assert sentence(run.progress).startswith("done 40/40, ")
    plain = fit_nuts(model, None, RATED, **options)
    assert plain.wait(LONG)
    assert plain.progress.pilot is None
