"""Saved files: round trips, crashes, and files that do not fit, were altered or are not ours."""

import json
import os
import pickle
import signal
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    MCMC,
    AutoLaplaceApproximation,
    AutoNormalGuide,
    MCMCResult,
    NUTSKernel,
    bayesian_lift_parameters,
    condition,
    files,
    load,
    manifest,
    save,
)
from quivers_nb.session.fits import fit_nuts
from tests.inference.vi.registry import GUIDES, prepared
from tests.support.models import HandModel
from tests.support.targets import eight_schools

SOURCE = """object R3 : Real 3
object R2 : Real 2
morphism f : R3 -> R2 [role=kernel, scale=0.3] ~ Normal
program rows : R3 -> R3
    sample h <- f
    sample s : 1 <- HalfNormal(1.0)
    let t = sum(h)
    observe y <- Normal(t, s)
    return y
export rows
"""
PLAIN = """object R3 : Real 3
program plain : R3 -> R3
    sample m : 1 <- Normal(0.0, 1.0)
    sample s : 1 <- HalfNormal(1.0)
    observe y <- Normal(m, s)
    return y
export plain
"""
X, OBS = torch.ones(5, 3), {"y": torch.linspace(0.1, 2.0, 5)}


def model(source: str = SOURCE):
    return loads(source).morphism


def weights(of) -> dict[str, torch.Tensor]:
    return {site.path: of.parameter(site.path).clone() for site in of.parameter_sites()}


def same(a, b) -> bool:
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a
    )


def result(of=None, **options):
    mcmc = MCMC(NUTSKernel(), 10, 8, num_chains=2, seed=3, tier="eager", **options)
    return mcmc.run(model() if of is None else of, X, OBS, keep_internal=True)


# --- round trips


def test_draws_come_back_bit_for_bit_with_all_that_was_known(tmp_path):
    one = model()
    run = result(one)
    assert save(tmp_path / "draws", run) == tmp_path / "draws"
    back = load(tmp_path / "draws", one)
    assert same(back.samples, run.samples)
    assert type(back.samples) is type(run.samples)
    assert same(back.stats, run.stats)
    assert torch.equal(back.stationary, run.stationary)
    assert torch.equal(back.start_log_densities, run.start_log_densities)
    empty = torch.zeros(0)
    plain = {"samples": {}, "stats": {}, "start_log_densities": empty, "stationary": empty}
    assert back.problem is None  # a file holds draws, not the data
    assert replace(back, **plain) == replace(run, **plain, problem=None)
    assert back.summary() == run.summary()
    assert same(load(tmp_path / "draws").samples, run.samples)  # without a model: unchecked


def test_views_and_extreme_numbers_come_back_bit_for_bit(tmp_path):
    run = result()
    odd = torch.tensor([[0.0, -0.0, float("inf"), float("nan"), 5e-324, 1e308]] * 3).T
    draws = {"m": odd.double()[1:, :2], "n": odd.double()[1:, 1:], "t": odd.double().T[::2]}
    save(tmp_path / "f", replace(run, samples=draws))
    back = load(tmp_path / "f").samples
    for name, values in draws.items():
        assert torch.equal(back[name].view(torch.int64), values.contiguous().view(torch.int64))


def test_weights_are_put_in_place_by_path(tmp_path):
    one, other = model(), model()
    before, place = weights(one), {k: p.data_ptr() for k, p in other.storage().items()}
    save(tmp_path / "w", one)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_()
    assert load(tmp_path / "w", other) is other
    assert same(weights(other), before)
    assert {k: p.data_ptr() for k, p in other.storage().items()} == place
    assert set(manifest(tmp_path / "w")["tensors"]) == set(before)


def test_stacked_weights_come_back_one_by_one(tmp_path):
    one, other = HandModel(), HandModel()
    with torch.no_grad():
        one.halves.copy_(torch.tensor([[3.0], [4.0]]))
    save(tmp_path / "w", one)
    with safe_open(tmp_path / "w", framework="pt") as file:
        assert set(file.keys()) == {"a[0].halves", "a[1].halves", "b.offset"}
    load(tmp_path / "w", other)
    assert torch.equal(other.halves, one.halves)


def test_guides_come_back(tmp_path):
    one = model()
    guide, other = (AutoNormalGuide(one, one.observed_names, rows=5) for _ in range(2))
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.normal_()
    save(tmp_path / "g", guide)
    assert load(tmp_path / "g", other) is other
    assert same(other.state_dict(), guide.state_dict())


def test_a_fitted_laplace_approximation_comes_back_into_one_that_was_not_fitted(tmp_path):
    one = model(PLAIN)
    guide = AutoLaplaceApproximation(one, one.observed_names)
    guide.fit(X, OBS)
    save(tmp_path / "g", guide)
    other = load(tmp_path / "g", AutoLaplaceApproximation(one, one.observed_names))
    assert same(other.state_dict(), guide.state_dict())
    draws = [g.rsample(X, generator=torch.Generator().manual_seed(1)) for g in (guide, other)]
    assert same(*draws)


def test_draws_of_lifted_and_conditioned_models_belong_to_the_model_under_them(tmp_path):
    one = model()
    lifted, x, obs = bayesian_lift_parameters(one, X, OBS)
    run = MCMC(NUTSKernel(), 2, 2, num_chains=1, seed=0, tier="eager").run(lifted, x, obs)
    save(tmp_path / "f", run)
    for reader in (one, lifted, condition(one, OBS)):
        assert same(load(tmp_path / "f", reader).samples, run.samples)


def test_draws_of_a_density_written_by_hand_need_no_model(tmp_path):
    run = MCMC(NUTSKernel(), 5, 5, num_chains=1, seed=0, tier="eager").run_target(eight_schools())
    save(tmp_path / "f", run)
    assert manifest(tmp_path / "f")["model"] is None
    assert same(load(tmp_path / "f").samples, run.samples)
    with pytest.raises(UserError, match="saved from a model written by hand, here `rows`"):
        load(tmp_path / "f", model())


def test_the_manifest_says_where_a_file_comes_from(tmp_path):
    save(tmp_path / "f", result())
    found = manifest(tmp_path / "f")
    assert found["model"]["source"] == SOURCE
    assert found["facts"]["seed"] == 3
    assert found["kind"] == "draws"
    assert set(found["versions"]) == {"python", "torch", "safetensors", "quivers-nb"}
    assert found["tensors"]["samples/s"] == ["torch.float64", [2, 8, 1]]


# --- crashes


def crash(path, obj, at: str) -> int:
    """Save in a child that is killed when it calls ``os.<at>``; the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        setattr(os, at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        try:
            save(path, obj)
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_crash_while_saving_leaves_the_old_file(tmp_path, at):
    one, other = model(), model()
    save(tmp_path / "w", one)
    before = (tmp_path / "w").read_bytes()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    assert crash(tmp_path / "w", other, at) == signal.SIGKILL
    assert (tmp_path / "w").read_bytes() == before
    assert crash(tmp_path / "new", other, at) == signal.SIGKILL
    assert not (tmp_path / "new").exists()
    save(tmp_path / "w", other)
    assert same(weights(load(tmp_path / "w", one)), weights(other))


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    one = model()
    save(tmp_path / "w", one)
    before = (tmp_path / "w").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*is unchanged"):
        save(tmp_path / "w", one)
    assert (tmp_path / "w").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"nowhere/w' cannot be written: the folder .* not exist"):
        save(tmp_path / "nowhere" / "w", model())
    with pytest.raises(UserError, match="is a folder: give the name of a file in it"):
        save(tmp_path, model())


# --- what does not fit


def refuses(path, into, *facts: str, **options) -> None:
    """`load` raises an error with all the facts, and changes nothing."""
    before = {k: v.clone() for k, v in into.state_dict().items()} if into is not None else {}
    with pytest.raises(UserError) as caught:
        load(path, into, **options)
    for fact in facts:
        assert fact in str(caught.value)
    assert into is None or same(before, into.state_dict())


def test_a_changed_program_is_refused_with_the_line_unless_accepted(tmp_path):
    one, run = model(), result()
    changed = model(SOURCE.replace("HalfNormal(1.0)", "HalfNormal(2.0)"))
    line = "source text, line 6: saved `sample s : 1 <- HalfNormal(1.0)`, here `sample s : 1 <- "
    save(tmp_path / "w", one)
    save(tmp_path / "d", run)
    save(tmp_path / "g", AutoNormalGuide(one, one.observed_names))
    refuses(tmp_path / "w", changed, line, "other_source=True", 'manifest(path)["model"]["source"]')
    refuses(tmp_path / "d", changed, line)
    refuses(tmp_path / "g", AutoNormalGuide(changed, changed.observed_names), line)
    load(tmp_path / "w", changed, other_source=True)
    assert same(weights(changed), weights(one))
    assert same(load(tmp_path / "d", changed, other_source=True).samples, run.samples)


def test_sizes_and_the_name_of_the_program_are_part_of_the_model(tmp_path):
    sized = "object N : FinSet n\n" + SOURCE
    small, large = (loads(sized, sizes={"n": n}).morphism for n in (3, 4))
    save(tmp_path / "w", small)
    refuses(tmp_path / "w", large, "sizes: saved {'n': 3}, here {'n': 4}")
    renamed = model(SOURCE.replace("rows", "lines"))
    refuses(tmp_path / "w", renamed, "program: saved `rows`, here `lines`")


X2, OBS2 = torch.tensor([0, 1]), {"y": [0.3, 0.1]}


def table(rows, other=((0.5, 0.5), (0.5, 0.5))):
    source = """object X : FinSet 2
morphism w : X -> X [role=observed] ~ from_data("w")
morphism v : X -> X [role=observed] ~ from_data("v")
program p(i) : X -> X
    sample m : 1 <- Normal(0.0, 1.0)
    sample a <- v(i)
    sample b <- w(a)
    let t = m + b
    observe y <- Normal(t, 1.0)
    return m
export p
"""
    return loads(source, {"w": rows, "v": other}).morphism


def test_the_contents_of_tables_are_part_of_the_model(tmp_path):
    rows = [[0.9, 0.1], [0.2, 0.8]]
    run = MCMC(NUTSKernel(), 10, 8, seed=3, tier="eager").run(table(rows), X2, OBS2)
    save(tmp_path / "d", run)
    assert (
        load(tmp_path / "d", table(torch.tensor(rows, dtype=torch.float64))).origin
        == table(rows).origin
    )
    changed = table([[0.9, 0.1], [0.2, 0.8000001]])
    refuses(tmp_path / "d", changed, "contents of the table `w`: saved sha256", "other_source=True")
    with pytest.raises(UserError) as refused:
        load(tmp_path / "d", changed)
    assert "`v`" not in str(refused.value)
    refuses(tmp_path / "d", table(rows, [[0.4, 0.6], [0.5, 0.5]]), "contents of the table `v`")
    assert same(load(tmp_path / "d", changed, other_source=True).samples, run.samples)


def test_a_file_that_notes_no_tables_is_read_and_says_which_it_misses(tmp_path):
    rows = [[0.9, 0.1], [0.2, 0.8]]
    run = MCMC(NUTSKernel(), 5, 4, seed=3, tier="eager").run(table(rows), X2, OBS2)
    save(tmp_path / "d", replace(run, origin=replace(run.origin, tables=())))
    refuses(tmp_path / "d", table(rows), "the table `v`: saved none is noted, here sha256", "`w`")


def test_every_misfit_is_named(tmp_path):
    one = model()
    save(tmp_path / "w", one)
    other = model(SOURCE.replace("Real 3", "Real 4").replace("morphism f", "morphism g")
                  .replace("<- f", "<- g")).double()  # fmt: skip
    refuses(
        tmp_path / "w", other, "`f.weight0`: in the file, not in the model",
        "`g.bias0`: in the model, not in the file",
    )  # fmt: skip
    wider = model(SOURCE.replace("Real 3", "Real 4")).double()
    refuses(
        tmp_path / "w", wider, "`f.weight0`: saved shape (64, 3), here (64, 4)",
        "`f.bias1`: saved torch.float32, here torch.float64", "model.to(dtype)",
        "source text, line 1",
    )  # fmt: skip
    refuses(tmp_path / "w", wider, "`f.weight0`: saved shape", other_source=True)


def test_a_file_is_not_put_into_something_else(tmp_path):
    one = model()
    guide = AutoNormalGuide(one, one.observed_names)
    save(tmp_path / "w", one)
    save(tmp_path / "g", guide)
    refuses(tmp_path / "w", guide, "the weights of a model, which cannot be put into a AutoNormal")
    refuses(tmp_path / "g", one, "holds a guide")
    refuses(tmp_path / "g", None, "load(path, guide)")
    laplace = AutoLaplaceApproximation(one, one.observed_names)
    refuses(tmp_path / "g", laplace, "guide: saved AutoNormalGuide, here AutoLaplaceApproximation")
    with pytest.raises(UserError, match="a dict cannot be saved"):
        save(tmp_path / "x", {})
    with pytest.raises(UserError, match=r"a Module cannot be saved .*its \.morphism"):
        save(tmp_path / "x", loads(SOURCE))
    run = fit_nuts(model(PLAIN), X, OBS, chains=1, warmup=5, draws=5, seed=0, block=True)
    with pytest.raises(UserError, match=r"a Run cannot be saved .*take run\.result.* run\.guide"):
        save(tmp_path / "x", run)


# --- files that are not ours, or no longer


def rewrite(path, **changes) -> None:
    """The same tensors with another manifest."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        noted = json.loads(file.metadata()["manifest"]) | changes
    save_file(tensors, path, {"manifest": json.dumps(noted)})


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, keep):
    one = model()
    save(tmp_path / "w", one)
    whole = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(whole[: int(keep * len(whole))])
    refuses(tmp_path / "w", one, "is damaged or not a file of this package")


def test_an_altered_byte_is_seen(tmp_path):
    one = model()
    save(tmp_path / "w", one)
    data = bytearray((tmp_path / "w").read_bytes())
    data[-3] ^= 1
    (tmp_path / "w").write_bytes(bytes(data))
    refuses(tmp_path / "w", one, "its tensors are not those that were saved")


def test_an_altered_source_text_is_seen(tmp_path):
    one = model()
    save(tmp_path / "w", one)
    noted = manifest(tmp_path / "w")["model"]
    rewrite(tmp_path / "w", model=noted | {"source": noted["source"] + "\n"})
    refuses(tmp_path / "w", one, "the hash of the source text is not the one noted beside it")


def test_files_of_others_are_refused(tmp_path):
    one = model()
    save_file({"f.weight0": torch.zeros(64, 3)}, tmp_path / "plain")
    refuses(tmp_path / "plain", one, "written by something else")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"f.weight0": [0.0]}))
    refuses(tmp_path / "pickle", one, "is damaged or not a file of this package")
    torch.save(one.state_dict(), tmp_path / "torch")
    refuses(tmp_path / "torch", one, "is damaged or not a file of this package")
    refuses(tmp_path / "none", one, "no file")
    refuses(tmp_path, one, "is a folder, not a file")
    run = tmp_path / "run"
    fit_nuts(model(PLAIN), X, OBS, chains=1, warmup=5, draws=5, checkpoint=run, block=True)
    refuses(run, None, "is the checkpoint of a run: give it to the fit again")


@pytest.mark.parametrize("number", [0, 2])
def test_files_of_another_format_say_who_can_read_them(tmp_path, number):
    one = model()
    save(tmp_path / "w", one)
    rewrite(tmp_path / "w", format=number, versions={"quivers-nb": "9.9"})
    refuses(tmp_path / "w", one, f"has format {number}", "(9.9)")


@pytest.mark.parametrize("missing", ["format", "model", "facts", "sha256"])
def test_a_manifest_with_a_gap_is_refused(tmp_path, missing):
    one = model()
    save(tmp_path / "w", one)
    with safe_open(tmp_path / "w", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        noted = json.loads(file.metadata()["manifest"])
    del noted[missing]
    save_file(tensors, tmp_path / "w", {"manifest": json.dumps(noted)})
    refuses(tmp_path / "w", one, "its manifest")


# --- every guide


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_comes_back_and_can_be_sent(tmp_path, name):
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    of = HandModel(with_scale=True).double()
    obs = {"y": torch.sin(3 * x[:, 0])}
    guide = prepared(name, of, x, obs)
    other = GUIDES[name].make(of, {"y"}, 5)
    save(tmp_path / "g", guide)
    load(tmp_path / "g", other)
    assert same(other.state_dict(), guide.state_dict())
    sent = pickle.loads(pickle.dumps(guide))
    draws = [
        g.at(x, obs).rsample(x, generator=torch.Generator().manual_seed(1))
        for g in (guide, other, sent)
    ]
    assert same(draws[0], draws[1])
    assert same(draws[0], draws[2])


def test_a_result_saves_itself_and_is_loaded_by_its_class(tmp_path):
    fitted = model(PLAIN)
    mcmc = MCMC(NUTSKernel(), 5, 4, num_chains=2, seed=3, tier="eager")
    result = mcmc.run(fitted, None, {"y": 0.5})
    back = MCMCResult.load(result.save(tmp_path / "draws"), fitted)
    assert all(torch.equal(back.samples[k], result.samples[k]) for k in result.samples)
    with pytest.raises(UserError, match="does not fit; nothing was changed"):
        MCMCResult.load(tmp_path / "draws", model())
    save(tmp_path / "weights", model())
    with pytest.raises(UserError, match="holds the weights of a model, not draws"):
        MCMCResult.load(tmp_path / "weights")
