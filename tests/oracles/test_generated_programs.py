"""300 programs that are well typed by construction: all of section 7, together (acceptance 3).

Each compiles without a word, traces, has one density by `trace` and by `log_joint`, draws many at
once, and opens as a target with one finite gradient, the same for points at once and one by one.
"""

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings

from quivers_nb.dsl import loads
from quivers_nb.inference.target import Target
from tests.support.programs_strategy import DATA, ROWS, programs

EXAMPLES = 300
INDEX = torch.tensor([0, 2, 1])


def site_values(run: Any) -> dict[str, torch.Tensor]:
    return {
        name: site.value
        for sites in (run.sites, run.internal_sites)
        for name, site in sites.items()
        if not site.is_deterministic
    }


def checked(text: str, reads: bool, seed: int) -> None:
    model = loads(text).morphism.double()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, 2, generator=generator, dtype=torch.float64) if reads else None
    data = dict(DATA) | ({"idx": INDEX} if "via=idx" in text else {})
    run = model.trace(x, data, generator=generator)
    values = site_values(run)
    assert run.log_joint.shape == ((ROWS,) if reads else ())
    assert bool(run.log_joint.isfinite().all())
    torch.testing.assert_close(model.log_joint(x, data | values), run.log_joint)
    several = model.simulate(x, 2, None, data, generator=generator)
    assert all(several[name].shape[0] == 2 for name in run.stochastic_sites)
    observed = {name: values[name] for name in model.observed_names}
    target = Target(model.target(x, data | observed, dtype=torch.float64))
    q = 0.5 * torch.randn(3, target.dim, dtype=torch.float64, generator=generator)
    value = target.log_density(q.requires_grad_())
    torch.testing.assert_close(value, torch.stack([target.log_density(point) for point in q]))
    if target.dim and value.requires_grad:
        (slope,) = torch.autograd.grad(value.sum(), q)
        assert bool(slope.isfinite().all())
    assert bool(value.isfinite().all())


@given(programs())
@settings(max_examples=EXAMPLES)
def test_a_generated_program_holds_together(made: tuple[str, bool]) -> None:
    text, reads = made
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked(text, reads, len(text))


def test_a_density_that_forgets_a_term_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: shared terms are counted by the trace alone."""
    from quivers_nb.lower import model as module

    honest = module.terms_of

    def forgetful(run: Any) -> Any:
        row, shared = honest(run)
        return row, shared if run.recording else shared * 0.5

    monkeypatch.setattr(module, "terms_of", forgetful)
    with pytest.raises(AssertionError):
        test_a_generated_program_holds_together()
