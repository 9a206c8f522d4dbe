"""Runs that recentre, while they are under way: what is looked at is where the chains are."""

import numpy as np

from quivers_nb import fit_nuts
from quivers_nb.dsl import loads
from quivers_nb.session.growing import Growing
from tests.support.targets import SCHOOLS_SIGMA, SCHOOLS_Y

LONG = 60.0
SCHOOLS = """object School : FinSet 8
data se : School -> Real 1
program schools : School -> School
    sample mu <- Normal(0.0, 5.0)
    sample tau <- HalfCauchy(5.0)
    sample theta : School <- Normal(mu, tau)
    observe y : School <- Normal(theta, se)
    return theta
export schools
"""
RATED = {"y": SCHOOLS_Y, "se": SCHOOLS_SIGMA}


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
