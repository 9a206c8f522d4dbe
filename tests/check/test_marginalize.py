"""The term of a marginalized site and of its block (section 7.8)."""

import json
from pathlib import Path

from quivers_nb.check import check_source
from quivers_nb.check.paths import occurrences
from quivers_nb.check.term import (
    Axis,
    FamilyCall,
    MarginalizeStep,
    ObserveStep,
    Program,
    Reduction,
    Variable,
)
from quivers_nb.check.verify import verify
from quivers_nb.spaces.effect import Effect
from quivers_nb.spaces.space import FinSet

MIXTURE = (
    Path(__file__).parents[1] / "data" / "posteriordb" / "low_dim_gauss_mix-low_dim_gauss_mix.json"
)
PRELUDE = """\
object K : FinSet 3
object G : FinSet 4
object H : FinSet 2
object R : Real 2
morphism k : K -> R [role=kernel] ~ Normal
"""


def program(text: str) -> Program:
    module = check_source(text)
    verify(module)
    value = module.exports[0].value
    assert isinstance(value, Program)
    return value


def block(*lines: str, head: str = "program p : G -> G") -> tuple[Program, MarginalizeStep]:
    steps = "".join(f"    {line}\n" for line in lines)
    found = program(f"{PRELUDE}{head}\n{steps}    return w\nexport p\n")
    return found, next(s for s in found.steps if isinstance(s, MarginalizeStep))


def test_the_reference_mixture_is_checked() -> None:
    found = program(json.loads(MIXTURE.read_text())["program"])
    step = next(s for s in found.steps if isinstance(s, MarginalizeStep))
    inner = step.body[0]
    assert isinstance(inner, ObserveStep)
    assert inner.via == (Variable("row"),)
    assert (step.over, step.classes) == ((Axis("Obs", FinSet(1000)),), FinSet(2))
    assert step.reduction is Reduction.LOGSUMEXP


def test_an_untyped_categorical_takes_probabilities() -> None:
    _, step = block(
        "let w = [0.2, 0.3, 0.5]",
        "let v = exp(logits)",
        "marginalize c : K <- Categorical(v) [over=G, reduction=mean]",
        "    observe y : G <- Normal(c, 1.0) [via=i]",
    )
    assert isinstance(step.source, FamilyCall)
    assert (step.source.family, step.source.untyped) == ("CategoricalProbs", True)
    assert step.reduction is Reduction.MEAN


def test_product_plates_take_an_index_for_each_factor() -> None:
    found, step = block(
        "sample w : G * H <- Dirichlet(1.0, 1.0, 1.0)",
        "marginalize c : K <- Categorical(w) [over=[G, H]]",
        "    observe y : G <- Normal(c, 1.0) [via=product(i, j)]",
        "    observe z : G <- Normal(c, 1.0) [via=[i, j]]",
    )
    assert step.over == (Axis("G", FinSet(4)), Axis("H", FinSet(2)))
    vias = [inner.via for inner in step.body if isinstance(inner, ObserveStep)]
    assert vias == [(Variable("i", host=True), Variable("j", host=True))] * 2
    assert found.host_names == ("i", "j")
    assert found.effects == {Effect.SAMPLE, Effect.SCORE, Effect.MARGINAL}


def test_a_block_in_a_block_points_to_the_outer_groups() -> None:
    _, step = block(
        "sample w <- Dirichlet(1.0, 1.0, 1.0)",
        "sample v : H <- Dirichlet(1.0, 1.0, 1.0)",
        "marginalize c : K <- Categorical(w) [over=G]",
        "    marginalize d : K <- Categorical(v) [over=H, via=outer]",
        "        observe y : G <- Normal(d, 1.0) [via=inner]",
    )
    inner = step.body[0]
    assert isinstance(inner, MarginalizeStep)
    assert inner.via == (Variable("outer", host=True),)


def test_an_ungrouped_site_is_one_per_row_or_one_per_element() -> None:
    found, step = block(
        "sample w <- Beta(1.0, 1.0)",
        "marginalize z : G <- Bernoulli(w)",
        "    let m = 2.0 * z",
        "    observe y : G <- Normal(m, 1.0)",
        "marginalize u <- ContinuousBernoulli(w)",
        "    observe _ <- Normal(u, 1.0)",
    )
    assert step.plate == (Axis("G", FinSet(4)),)
    known = {v.name: v for v in found.variables}
    assert known["m"].axes == (Axis("G", FinSet(4)),)
    assert known["u"].row_wise


def test_kernels_in_a_block_have_occurrence_paths() -> None:
    found, _ = block(
        "sample w <- Dirichlet(1.0, 1.0, 1.0)",
        "marginalize c : K <- Categorical(w) [over=G]",
        "    observe y : G <- k(c) [via=i]",
    )
    assert [(o.path, o.step) for o in occurrences(found)] == [("y/k", "y")]
