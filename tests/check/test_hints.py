"""Hints that need more than the place: what leads from one object to another, what is declared."""

import pytest

from quivers_nb.check import check_source
from quivers_nb.diagnostics.errors import CompileError

PRELUDE = """\
object N : FinSet n
object G : FinSet 4
object H : FinSet 5
data x : N -> Real 1
data g : N -> G
"""


def hints(*steps: str) -> list[str | None]:
    """The hint of each error of a program with these steps."""
    text = PRELUDE + "program p : N -> N\n" + "".join(f"    {step}\n" for step in steps)
    with pytest.raises(CompileError) as caught:
        check_source(text + "    return u\nexport p\n")
    return [each.hint for each in caught.value.diagnostics]


def test_values_over_two_objects_meet_at_the_data_that_lead_from_one_to_the_other() -> None:
    u, v = "sample u : G <- Normal(0.0, 1.0)", "sample v : H <- Normal(0.0, 1.0)"
    assert hints(u, "let m = u + x") == ["`g` leads from N to G: write `u[g]`"]
    assert hints(u, "let m = x + u") == ["`g` leads from N to G: write `u[g]`"]
    (without,) = hints(u, v, "let m = u + v")
    assert without is not None
    assert without.startswith("read one at data that lead to it, `v[i]` with `data i : H -> G`")


def test_what_is_not_declared_is_declared() -> None:
    assert hints("sample u : Zed <- Normal(0.0, 1.0)") == [
        "declare it above: `object Zed : FinSet n`, whose size data fix"
    ]
    assert hints("sample u : g <- Normal(0.0, 1.0)")[0] is not None
    assert hints("sample u : GG <- Normal(0.0, 1.0)") == ["did you mean `G`?"]


def test_an_unknown_parameter_is_one_error() -> None:
    plate = "several values are a plate: `sample v : A <- …`"
    assert hints("sample u <- Normal(0.0, 1.0, shape=4)") == [plate]
    assert hints("sample u <- Normal(0.0, sd=1.0)") == ["did you mean `scale`?"]


def test_plates_of_vectors_say_their_size_once() -> None:
    drop = "drop `iid_over`: the object behind the colon says how many there are"
    assert hints("sample u : G <- Dirichlet(1.0) [over=G, iid_over=G]") == [drop]
    (size,) = hints("sample u : G <- Horseshoe(1.0)")
    assert size is not None
    assert "`Horseshoe(…) [over=A]`" in size


def test_a_list_that_a_let_has_bound_stands_in_the_call() -> None:
    assert hints("sample u <- Normal(0.0, 1.0)", "let c = [0.0, u]",
                 "observe y : N <- OrderedLogistic(u, c)") == [
        "write the list where `c` stands, as in `[0.2, 0.8]`"
    ]  # fmt: skip
