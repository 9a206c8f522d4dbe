"""Modules: exports by name, kernels as torch modules, what a module without export says (11.2)."""

import warnings

import pytest
import torch

from quivers_nb.diagnostics.errors import LanguageWarning, UserError
from quivers_nb.dsl import load, loads

TEXT = """object X : FinSet 3
object R : Real 2
morphism f : X -> R [role=kernel] ~ Normal
morphism g : R -> X [role=kernel] ~ Categorical
let h = f >> g
program p : X -> R
    sample z <- f
    return z
export h
export p
export f >> g
"""


def test_every_export_is_there_and_the_first_is_the_morphism() -> None:
    module = loads(TEXT)
    assert list(module.exports) == ["h", "p", "f >> g"]
    assert module.morphism is module.exports["h"]
    assert str(module.domain) == str(module.morphism.domain) == "FinSet 3"
    shared = {id(p) for p in module.exports["h"].parameters()}
    assert shared == {id(p) for p in module.exports["f >> g"].parameters()}
    assert {id(p) for p in module.exports["p"].parameters()} < shared


def test_a_kernel_draws_and_scores() -> None:
    kernel = loads(TEXT).morphism.double()
    x = torch.tensor([0, 1, 2, 2])
    draws = kernel.rsample(x, (5,), generator=torch.Generator().manual_seed(0))
    assert draws.shape == (5, 4)
    assert draws.dtype == torch.int64
    first = kernel.log_prob(x, draws[0])
    torch.testing.assert_close(first, kernel.log_prob(x, draws[0]))
    total = torch.stack([kernel.log_prob(x, torch.full((4,), k)) for k in range(3)])
    torch.testing.assert_close(total.exp().sum(0), torch.ones(4, dtype=torch.float64))


def test_inner_draws_of_a_kernel_tighten_its_bound() -> None:
    torch.manual_seed(0)
    kernel = loads(TEXT).morphism.double()
    x = torch.arange(3).repeat(200)
    y = torch.zeros(600, dtype=torch.int64)
    assert kernel.log_prob(x, y, num_inner=50).mean() > kernel.log_prob(x, y).mean()


def test_a_program_has_no_density_of_its_own_and_says_which_to_use() -> None:
    module = loads(TEXT.replace("export h\n", ""))
    with pytest.raises(UserError, match="use log_joint"):
        module.log_prob(torch.tensor([0]), torch.zeros(1, 2))


def test_a_module_without_export_is_legal() -> None:
    module = loads("object X : FinSet 3\n")
    assert module.morphism is None
    assert dict(module.exports) == {}
    with pytest.raises(AttributeError, match="add a line `export NAME`"):
        _ = module.domain


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"no file 'nowhere\.qvr'"):
        load("nowhere.qvr")


ONE_PER_ROW = """object X : Real 1
program p(x) : X -> X
    sample spread <- HalfNormal(1.0)
    observe y <- Normal(x, spread)
    return y
export p
"""


def test_what_checking_warns_of_is_a_warning_of_python_at_the_line_of_the_caller(tmp_path) -> None:
    file = tmp_path / "p.qvr"
    file.write_text(ONE_PER_ROW)
    for make in (lambda: loads(ONE_PER_ROW), lambda: load(file)):
        with pytest.warns(LanguageWarning, match=r"line 3, column 12(?s:.*)spread") as said:
            module = make()
        assert len(said) == len(module.checked.warnings) == 1
        assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loads(ONE_PER_ROW.replace("sample spread", "sample spread : 1"))
