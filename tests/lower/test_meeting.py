"""Which latents meet: through lets, observations, scores, blocks and programs that are steps."""

import pytest

from quivers_nb.dsl import loads

CASES = {
    "a tree": (
        """object School : FinSet 4
program p : School -> School
    sample mu <- Normal(0.0, 5.0)
    sample tau <- HalfCauchy(5.0)
    sample theta : School <- Normal(mu, tau)
    observe y : School <- Normal(theta, 1.0)
    return theta
export p
""",
        {"mu": {"tau", "theta"}, "tau": {"mu", "theta"}, "theta": {"mu", "tau"}},
    ),
    "sites that an observation reads through lets": (
        """object Case : FinSet 4
program p : Case -> Case
    sample a <- Normal(0.0, 1.0)
    sample b <- Normal(0.0, 1.0)
    sample alone <- Normal(0.0, 1.0)
    let line = a + b * x
    let twice = 2.0 * line
    observe y : Case <- Normal(twice, 1.0)
    return a
export p
""",
        {"a": {"b"}, "b": {"a"}, "alone": set()},
    ),
    "a score, and a value that is seen": (
        """object Case : FinSet 4
program p : Case -> Case
    sample a <- Normal(0.0, 1.0)
    sample b <- Normal(0.0, 1.0)
    observe seen <- Normal(a, 1.0)
    sample c <- Normal(seen, 1.0)
    score pull = 0.0 - a * b
    return a
export p
""",
        {"a": {"b"}, "b": {"a"}, "c": set()},
    ),
    "a block": (
        """object Case : FinSet 4
object K : FinSet 2
program p : Case -> Case
    sample w : 1 <- Dirichlet(1.0) [over=K]
    sample m : K <- Normal(0.0, 1.0)
    marginalize z : Case <- Categorical(w)
        let at = m[z]
        observe y : Case <- Normal(at, 1.0)
    return w
export p
""",
        {"w": {"m"}, "m": {"w"}},
    ),
    "a program as a step": (
        """object R1 : Real 1
program inner : R1 -> R1
    sample u <- Normal(0.0, 1.0)
    sample v <- Normal(u, 1.0)
    return v
program p : R1 -> R1
    sample a <- Normal(0.0, 1.0)
    sample b <- inner(a)
    observe y <- Normal(b, 1.0)
    return b
export p
""",
        {
            "a": {"b/u", "b/v"},
            "b/u": {"a", "b/v"},
            "b/v": {"a", "b/u"},
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_latents_meet_where_a_term_reads_them(case):
    source, wanted = CASES[case]
    model = loads(source).morphism
    latents = model.declared_latents(model.observed_names)
    found = {latent.name: set(latent.meets) for latent in latents}
    assert found == wanted


def test_a_site_that_is_given_stands_behind_nothing():
    model = loads(CASES["a tree"][0]).morphism
    found = {d.name: set(d.meets) for d in model.declared_latents({"y", "theta"})}
    assert found == {"mu": {"tau"}, "tau": {"mu"}}
    found = {d.name: set(d.meets) for d in model.declared_latents({"y", "mu"})}
    assert found == {"tau": {"theta"}, "theta": {"tau"}}


def test_plates_have_the_names_of_their_objects():
    source = CASES["a tree"][0]
    latents = loads(source).morphism.declared_latents({"y"})
    assert [latent.plate for latent in latents] == [(), (), ("School",)]
    assert not any(latent.rows_expected for latent in latents)
