"""Minibatch steps by replay: the same numbers as eager steps, and when they are not replayed."""

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, IWAE, SVI, AmortizedNormalGuide, AutoNormalGuide
from quivers_nb.inference.vi import streamed
from tests.inference.vi.conjugate import Conjugate

VAE = """object Image : Real 6
object Code : Real 2
morphism decode : Code -> Image [role=kernel, param_source=mlp(8)] ~ Normal
program vae : Image -> Image
    sample z : Code <- Normal(0.0, 1.0)
    observe y <- decode(z)
    return y
export vae
"""
CHOICE = """object R : Real 1
object Group : FinSet 3
program choice(g) : Group -> R
    sample level : Group <- Normal(0.0, 1.0)
    let m = level[g]
    observe y <- Normal(m, 1.0)
    return y
export choice
"""


def batches(count: int = 20, rows: int = 8, width: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return list(torch.randn(count, rows, width, generator=generator))


def steps(tier: str, data, objective=None, source: str = VAE, **options):
    """Losses of a step per batch, by a new model and guide."""
    torch.manual_seed(0)
    model = loads(source).morphism
    guide = AmortizedNormalGuide(model, {"y"}, in_features=6, hidden=(5,), **options)
    optim = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.01)
    rng = torch.Generator().manual_seed(1)
    svi = SVI(model, guide, optim, objective or ELBO(), 160, rng, tier=tier)
    return [svi.step(*d) for d in data], svi


@pytest.mark.parametrize("objective", [ELBO(), ELBO(3), IWAE(4), IWAE(4, per_row=True)])
def test_replayed_minibatches_give_the_losses_of_eager_steps(objective):
    data = [(b, {"y": b}) for b in batches()]  # one tensor in two places
    replayed, svi = steps("traced", data, objective)
    eager, other = steps("eager", data, objective)
    assert svi._streams.traced
    assert not other._streams.traced
    assert not svi.eager_reason
    assert replayed == pytest.approx(eager, rel=2e-4)
    assert len(set(replayed)) == len(replayed)


def test_the_two_places_of_one_tensor_stay_apart():
    same = [(b, {"y": b}) for b in batches(6)]
    apart = [(a, {"y": b}) for a, b in zip(batches(12)[:6], batches(12)[6:], strict=True)]
    replayed, svi = steps("auto", same + apart)
    assert svi._streams.traced
    assert replayed == pytest.approx(steps("eager", same + apart)[0], rel=2e-4)


def test_a_short_batch_is_made_eagerly_and_the_others_go_on():
    data = [(b, {"y": b}) for b in batches()]
    data[10] = (data[10][0][:3], {"y": data[10][0][:3]})
    replayed, svi = steps("auto", data)
    assert svi._streams.traced
    assert replayed == pytest.approx(steps("eager", data)[0], rel=2e-4)


def test_bad_data_of_a_later_batch_are_named_as_those_of_the_first():
    data = [(b, {"y": b}) for b in batches()]
    bad = data[12][0].clone()
    bad[2, 1] = float("nan")
    for place in (0, 12):
        with pytest.raises(UserError, match=r"`y` holds 1 NaN \(first at \[2, 1\]\)"):
            steps("auto", [*data[:place], (data[0][0], {"y": bad})])


def test_numpy_arrays_are_read_where_they_are():
    data = [(b, {"y": b.numpy()}) for b in batches()]
    replayed, svi = steps("auto", data)
    assert svi.step_tier == "traced"
    assert svi.run(data[0][0], data[0][1], 3).tier == "traced"
    assert steps("eager", data)[1].step_tier == "eager"
    assert replayed == pytest.approx(steps("eager", data)[0], rel=2e-4)


def test_indices_are_checked_in_every_batch():
    model = loads(CHOICE).morphism
    losses = {}
    for tier in ("auto", "eager"):
        guide = AutoNormalGuide(model, {"y"})
        optim = torch.optim.Adam(guide.parameters(), lr=0.01)
        svi = SVI(model, guide, optim, ELBO(), 64, torch.Generator().manual_seed(0), tier=tier)
        rng = torch.Generator().manual_seed(0)
        losses[tier] = []
        for _ in range(24):
            group = torch.randint(0, 3, (2,), generator=rng)
            losses[tier].append(svi.step(group, {"y": torch.randn(2, generator=rng)}))
        assert svi._streams.traced == (tier == "auto")
        with pytest.raises(UserError, match="holds 3, outside 0 … 2"):
            svi.step(torch.tensor([0, 3]), {"y": torch.zeros(2)})
    assert losses["auto"] == pytest.approx(losses["eager"], rel=1e-5)


def conjugate_steps(model, tier: str = "auto") -> tuple[list[float], SVI]:
    guide = AutoNormalGuide(model, {"y"})
    optim = torch.optim.Adam(guide.parameters(), lr=0.01)
    svi = SVI(model, guide, optim, ELBO(), 64, torch.Generator().manual_seed(0), tier=tier)
    rng = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(8):
        x, y = (torch.randn(*shape, dtype=torch.float64, generator=rng) for shape in ((4, 1), (4,)))
        losses.append(svi.step(x, {"y": y}))
    return losses, svi


def test_where_data_decide_the_course_of_a_step_it_is_made_eagerly():
    class Decides(Conjugate):
        def target(self, x, observations=None, **options):
            least = float(observations["y"].min())
            return super().target(x, {"y": observations["y"] - least}, **options)

    losses, svi = conjugate_steps(Decides(1, 0))
    assert svi.eager_reason == "numbers in the data decide how steps go, and change"
    assert losses == pytest.approx(conjugate_steps(Decides(1, 0), "eager")[0], rel=1e-9)


def test_a_model_that_remembers_its_first_batch_is_found_out(monkeypatch):
    """The mutant: data that opening does not show to the recorder."""

    class Remembers(Conjugate):
        def target(self, x, observations=None, **options):
            rows = torch.from_numpy(observations["y"].numpy().copy())  # a copy that nobody sees
            return super().target(x, {"y": rows}, **options)

    losses, svi = conjugate_steps(Remembers(1, 0))
    assert svi.eager_reason == "a replayed step differs from the eager one"
    assert losses == pytest.approx(conjugate_steps(Remembers(1, 0), "eager")[0], rel=1e-9)
    monkeypatch.setattr(streamed, "_looked_at", lambda step: False)
    assert conjugate_steps(Remembers(1, 0))[1]._streams.traced  # nobody would know


def test_a_weight_that_was_replaced_is_recorded_anew():
    torch.manual_seed(0)
    model = loads(VAE).morphism
    guide = AmortizedNormalGuide(model, {"y"}, in_features=6, hidden=(5,))
    optim = torch.optim.SGD(guide.parameters(), lr=0.0)
    svi = SVI(model, guide, optim, ELBO(50), 160, torch.Generator().manual_seed(0))
    for b in batches(6):
        before = svi.step(b, {"y": b})
    assert svi._streams.traced
    weight = guide.networks["moments_z"].layers[-1].bias
    weight.data = weight.data + 3.0
    after = svi.step(b, {"y": b})
    assert after > before + 1.0
