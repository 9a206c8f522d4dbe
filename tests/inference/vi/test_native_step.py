"""Steps in compiled code: the losses of eager ones, with less memory and fewer operations."""

import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, IWAE, SVI, AmortizedNormalGuide
from quivers_nb.inference.vi import native_step
from tests.inference.vi.test_streamed import VAE, batches
from tests.support.operations import Counter


def fit(tier: str, objective=None, optim=torch.optim.Adam, scheduler=None, hidden: int = 5) -> SVI:
    torch.manual_seed(0)
    model = loads(VAE.replace("mlp(8)", f"mlp({hidden})")).morphism
    guide = AmortizedNormalGuide(model, {"y"}, in_features=6, hidden=(hidden,))
    weights = optim([*model.parameters(), *guide.parameters()], lr=0.01)
    rng = torch.Generator().manual_seed(1)
    return SVI(model, guide, weights, objective or ELBO(), 160, rng, scheduler, tier)


def losses(svi: SVI, data) -> list[float]:
    return [svi.step(b, {"y": b}) for b in data]


@pytest.mark.parametrize("objective", [ELBO(), ELBO(3), IWAE(4), IWAE(4, per_row=True)], ids=repr)
def test_compiled_steps_give_the_losses_of_eager_ones_and_draw_the_same_numbers(objective):
    fast, slow = fit("native", objective), fit("eager", objective)
    assert losses(fast, batches()) == pytest.approx(losses(slow, batches()), rel=2e-4)
    assert fast._streams.native, fast.replay_reason
    assert torch.equal(fast.generator.get_state(), slow.generator.get_state())


@pytest.mark.parametrize("optim", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_compiled_steps_serve_every_optimiser_and_schedule(optim):
    found = [
        losses(fit(tier, None, optim, lambda k: 0.9**k), batches()) for tier in ("native", "eager")
    ]
    assert found[0] == pytest.approx(found[1], rel=2e-4)


def test_a_seed_repeats_compiled_steps():
    assert losses(fit("native"), batches()) == losses(fit("native"), batches())


def test_a_long_fit_is_compiled_and_a_short_one_is_not(monkeypatch):
    monkeypatch.setattr("quivers_nb.inference.vi.svi.COMPILE_AT", 12)
    svi = fit("auto")
    losses(svi, batches(11))
    assert svi._streams.traced
    assert not svi._streams.native
    losses(svi, batches(3))
    assert svi._streams.native


def test_steps_on_one_data_set_are_compiled_too():
    (x,) = batches(1)
    results = {
        tier: fit(tier, None, torch.optim.AdamW).run(x, {"y": x}, 30)
        for tier in ("native", "eager")
    }
    assert results["native"].tier == "native"
    assert "each step alone: AdamW has no compiled steps" in results["native"].tier_reason
    wanted = results["eager"].losses.tolist()
    assert results["native"].losses.tolist() == pytest.approx(wanted, rel=2e-4)


def test_a_step_that_differs_is_refused(monkeypatch):
    """The mutant: one gradient a tenth too large."""
    real = native_step.compile_step

    def wrong(graph):
        run = real(graph)

        def spoiled(*inputs):
            loss, first, *others = run(*inputs)
            return (loss, first * 1.1, *others)

        return spoiled

    monkeypatch.setattr(native_step, "compile_step", wrong)
    svi, slow = fit("native"), fit("eager")
    assert losses(svi, batches()) == pytest.approx(losses(slow, batches()), rel=2e-4)
    assert svi._streams.traced
    assert not svi._streams.native
    assert svi.replay_reason == "the compiled step differs from the replayed one"


def test_without_a_compiler_steps_are_replayed(monkeypatch, tmp_path):
    monkeypatch.setenv("QUIVERS_NB_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", str(tmp_path / "nothing"))
    svi = fit("native")
    losses(svi, batches(8))
    assert svi._streams.traced
    assert "cannot be run" in svi.replay_reason


def operations(tier: str, particles: int, rows: int) -> int:
    """Operations of torch in a step that is replayed or compiled, the optimiser's left out."""
    svi = fit(tier, ELBO(particles))
    data = batches(6, rows)
    losses(svi, data)
    svi.optim.step = lambda: None
    with Counter() as counter:
        svi.step(data[0], {"y": data[0]})
    return counter.count


def test_a_compiled_step_is_few_operations_whatever_the_sizes():
    replayed = operations("traced", 1, 8)
    few = {operations("native", particles, rows) for particles, rows in ((1, 8), (4, 8), (4, 64))}
    (count,) = few
    assert count < replayed / 3


def test_gradients_of_compiled_steps_stay_in_one_place():
    svi, data = fit("native"), batches(14)
    losses(svi, data[:12])
    parameters = [p for group in svi.optim.param_groups for p in group["params"]]
    places = [p.grad.data_ptr() for p in parameters]
    storages = {p.grad.untyped_storage().data_ptr() for p in parameters}
    losses(svi, data[12:])
    assert len(storages) == 1
    assert [p.grad.data_ptr() for p in parameters] == places
