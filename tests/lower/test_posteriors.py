"""Posterior programs at draws, and exported templates as functions to modules (7.9, 7.11, 11.2)."""

from typing import Any

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import CompileError, loads
from quivers_nb.inference import MCMC, NUTSKernel

MILK = """object Herd : FinSet 3
object Cow : FinSet 6
object R : Real 2
morphism f : Herd -> R [role=kernel, scale=0.1] ~ Normal
data herd_of : Cow -> Herd
program offsets(Level : FinSet, width : Real) : Level -> Level
    sample sd <- HalfNormal(width)
    sample eff : Level <- Normal(0.0, sd)
    return eff
program typed(S : Space, O : Object, n : Nat, k : Mor[Herd, S]) : Herd -> S
    sample w : FinSet n <- Normal(0.0, 1.0)
    sample z <- k
    sample v : O <- Normal(0.0, 1.0)
    return z
program milk : Cow -> Cow
    sample a <- Normal(0.0, 1.0)
    sample by_herd <- offsets(Herd, 2.0)
    let mu = by_herd[herd_of] + a
    observe liters : Cow <- Normal(mu, 1.0)
    return by_herd
program contrast(a, by_herd) : Cow -> Cow [effects=[Pure], over=milk]
    let best = max(by_herd) + a
    let per_cow = by_herd[herd_of] * scale
    return (best: best, cows: per_cow)
program first(by_herd) : Cow -> Cow [over=milk]
    let one = by_herd[0]
    return one
export offsets
export typed
export milk
"""
ROWS = """object R2 : Real 2
morphism f : R2 -> R2 [role=kernel, scale=0.1] ~ Normal
program rows(a) : R2 -> R2
    sample h <- f(a)
    sample s : 1 <- HalfNormal(1.0)
    let m = sum(h)
    observe y <- Normal(m, s)
    return h
program scaled(h, s) : R2 -> R2 [over=rows]
    let out = h / s
    return out
export rows
"""
OF = torch.arange(6) % 3


def test_a_posterior_program_maps_over_all_draws_at_once() -> None:
    module = loads(MILK)
    program = module.posteriors["contrast"]
    assert program.sites == ("a", "by_herd")
    a, herd = torch.randn(2, 5), torch.randn(2, 5, 3)
    found = program({"a": a, "by_herd": herd, "more": a}, {"herd_of": OF, "scale": 2.0})
    torch.testing.assert_close(found["best"], herd.amax(-1) + a)
    torch.testing.assert_close(found["cows"], 2.0 * herd[..., OF])
    one = program({"a": a[0, 0], "by_herd": herd[0, 0]}, {"herd_of": OF, "scale": 2.0})
    torch.testing.assert_close(one["cows"], found["cows"][0, 0])


def test_it_takes_the_result_of_a_run() -> None:
    module = loads(MILK)
    data = {"herd_of": OF, "liters": torch.randn(6)}
    result = MCMC(NUTSKernel(), 20, 10, num_chains=2, seed=1).run(module.morphism, None, data)
    found = module.posteriors["first"](result)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, result.samples["by_herd"][..., 0])


def test_sites_with_rows_need_the_input() -> None:
    scaled = loads(ROWS).posteriors["scaled"]
    x, h, s = torch.randn(4, 2), torch.randn(7, 4, 2), torch.rand(7, 1) + 0.5
    torch.testing.assert_close(scaled({"h": h, "s": s}, x=x), h / s[..., None])
    with pytest.raises(UserError, match="x is None"):
        scaled({"h": h, "s": s})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"a": torch.zeros(2)}, "reads the site `by_herd`, which has no value; given are a"),
        ({"a": torch.zeros(2), "by_head": torch.zeros(2, 3)}, "did you mean `by_head`"),
        ({"a": torch.zeros(2), "by_herd": torch.zeros(2, 4)}, r"must end in \(3,\)"),
        ({"a": torch.zeros(3), "by_herd": torch.zeros(2, 3)}, "different numbers of draws"),
    ],
)
def test_wrong_draws_are_named(values: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        loads(MILK).posteriors["contrast"](values, {"herd_of": OF, "scale": 1.0})


def test_an_exported_template_is_a_function_to_modules() -> None:
    module = loads(MILK)
    assert list(module.templates) == ["offsets", "typed"]
    made = module.offsets("Cow", width=1e-7)
    trace = made.morphism.trace(None, generator=torch.Generator().manual_seed(0))
    assert trace.sites["eff"].value.shape == (6,)
    assert float(trace.sites["sd"].value) < 1e-5
    assert module.offsets(Level=40, width=1.0).morphism.trace(None).output.shape == (40,)
    typed = module.typed("R", "Cow", 4, "f").morphism
    sites = typed.trace(torch.tensor([0, 2])).sites
    assert {name: tuple(site.value.shape) for name, site in sites.items()} == {
        "w": (4,), "z": (2, 2), "v": (6,),
    }  # fmt: skip
    assert list(module.exports) == ["milk"]


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ((1.0,), UserError, "takes Level, width, each once; got"),
        (("Herd", 1.0, 2), UserError, "each once"),
        ((-2, 1.0), UserError, "`Level` of `offsets` is -2, but the name of a finite object"),
        (("Herd", "wide"), UserError, "a number is wanted"),
        (("R", 1.0), CompileError, "`R` is not a finite set"),
        (("Hred", 1.0), CompileError, "`Hred` is not an object"),
    ],
)
def test_wrong_arguments_are_named(args: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        loads(MILK).offsets(*args)


def test_a_module_that_exports_a_template_alone_says_how_to_call_it() -> None:
    module = loads(MILK.replace("export milk\n", "").replace("export typed\n", ""))
    assert module.morphism is None
    with pytest.raises(AttributeError, match=r"`module.offsets\(Level, width\)` gives a module"):
        _ = module.domain
    with pytest.raises(AttributeError):
        _ = module.nothing
