"""Tables among the user's variables, in cells: their cards, words, fits and predictions."""

import torch

from tests.support.shells import Cells

CELL = """%%qvr
object State : FinSet 2
object Word : FinSet 3
morphism confuse : Word -> Word [role=observed] ~ from_data("heard")
morphism says : State -> Word [role=latent, over=cod] ~ Dirichlet(1.0)
let hears = says >> confuse
program listen : State -> Word
    observe w <- hears
    return w
export listen
"""


def _listen(cells: Cells) -> str:
    cells.run("import numpy as np\nheard = np.array([[8, 1, 1], [0.5, 9, 0.5], [1, 2, 7]]) / 10")
    return cells.show(CELL)["text/plain"]


def test_a_card_lists_the_table_as_a_site_and_its_words_say_what_it_is(cells: Cells) -> None:
    text = _listen(cells)
    assert "says" in text
    assert "Dirichlet(1.0)" in text
    assert "(State=2, 3)" in text
    told = cells.show("%qvr_doc confuse")["text/plain"]
    assert "table of data, heard" in told
    assert "over=cod" in cells.show("%qvr_doc latent")["text/plain"]
    assert "from_data" in cells.show("%qvr_doc observed")["text/plain"]


def test_a_program_with_tables_is_fitted_and_predicts(cells: Cells) -> None:
    _listen(cells)
    cells.run(
        "from quivers_nb.inference import MCMC, NUTSKernel, Predictive\n"
        "import torch\n"
        "x = torch.arange(60) % 2\n"
        "fit = MCMC(NUTSKernel(), 100, 100, num_chains=2, seed=1).run(listen, x, {'w': x * 2})\n"
        "seen = Predictive(listen, fit)(torch.tensor([0, 1]))\n"
    )
    fit, seen = cells.names["fit"], cells.names["seen"]
    says = fit.samples["says"].mean((0, 1))  # type: ignore[attr-defined]
    assert float(says[0, 0]) > 0.7
    assert float(says[1, 2]) > 0.7
    assert seen["w"].shape == (200, 2)  # type: ignore[index]
    torch.testing.assert_close(says.sum(-1), torch.ones(2, dtype=says.dtype))


def test_a_table_that_is_not_there_is_named_and_nothing_is_bound(cells: Cells) -> None:
    error, text = cells.fail(CELL)
    assert type(error).__name__ == "CompileError"
    assert 'unknown data key "heard"' in text
    assert "in a notebook, bind a variable `heard`" in text
    cells.run("heard = [[1.0, 0.0], [0.0, 1.0]]")
    _, text = cells.fail(CELL)
    assert "the shape 2 -> 2 of the initializer does not fit 3 -> 3" in text
    cells.run("heard = [[1.0, 0.0, -1.0]] * 3")
    error, text = cells.fail(CELL)
    assert "data `heard` at [0, 2] is -1, which is negative" in text
    assert "listen" not in cells.names
