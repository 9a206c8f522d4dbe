"""Reports: numbers as ArviZ has them, and words where they are bad."""

import re
from dataclasses import replace

import numpy as np
import torch

from quivers_nb import fit_nuts, fit_svi
from quivers_nb.session.report import report
from tests.session.test_fits import DATA, SMALL, X
from tests.session.test_run import ended
from tests.support.models import HandModel


def words(result):
    return report(result)._repr_mimebundle_()["text/plain"]


def test_a_table_has_every_scalar_with_the_diagnostics_of_the_result():
    result = ended(fit_nuts(HandModel(True), X, DATA, **SMALL)).result
    text = words(result)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line[:2] in ("s ",)}
    assert re.search(r"^m\[0\] ", text, re.MULTILINE)
    assert re.search(r"^z\[7\] ", text, re.MULTILINE)
    mean, *_, ess, r_hat = map(float, rows["s"])
    assert abs(mean - float(result.samples["s"].mean())) <= 0.01 * abs(mean)
    assert abs(ess - float(result.ess["s"])) <= 0.5
    assert abs(r_hat - float(result.r_hat["s"])) <= 5e-4


def test_bad_draws_are_said_to_be_bad_and_what_to_do():
    result = ended(fit_nuts(HandModel(True), X, DATA, **SMALL)).result
    apart = result.samples["s"] + torch.tensor([[0.0], [50.0]])
    stats = {**result.stats, "diverged": torch.ones_like(result.stats["diverged"])}
    text = words(replace(result, samples={**result.samples, "s": apart}, stats=stats))
    assert "divergences: 80 of 80 transitions diverged" in text
    assert "Raise target_accept" in text
    assert "the chains disagree" in text
    assert report(result).sentence.startswith("2 chains of 40 draws, largest R-hat ")


def test_a_variational_fit_says_whether_it_has_settled():
    result = ended(fit_svi(HandModel(), X, DATA, steps=30)).result
    assert "not-settled: 30 steps are too few to tell" in words(result)
    assert "5 %" in words(result)
    assert "loc_m" not in words(result)
    assert "result.parameters()" in words(result)
    long = replace(result, losses=torch.arange(400.0), converged=False)
    assert "not-settled: the mean loss of the last 100 steps is not within" in words(long)
    flat = replace(result, losses=torch.ones(400), converged=True)
    assert words(flat).startswith("400 steps, loss 1: the loss has settled.")
    assert "not-settled" not in words(flat)


def test_long_tables_say_how_much_is_left_out():
    result = ended(fit_nuts(HandModel(True), X, DATA, **SMALL)).result
    text = report(result, 3)._repr_mimebundle_()["text/plain"]
    total = sum(int(np.prod(value.shape[2:])) for value in result.samples.values())
    assert f"and {total - 3} more" in text
