"""Weights across cells: whose they are decides, not the path by which they are reached."""

from collections.abc import Mapping

import torch
from torch.nn import Parameter

from quivers_nb.session.session import Session

BASE = """object B : Real 2
morphism f : B -> B [role=kernel, replicate=2] ~ Normal
morphism g : B -> B [role=kernel] ~ Normal
"""


def _named(session: Session, text: str, export: str) -> Mapping[str, Parameter]:
    return dict(session.run_cell(text).module.exports[export].named_parameters())


def test_a_let_of_a_later_cell_uses_the_tensors_of_an_earlier_one() -> None:
    session = Session()
    alone = _named(session, BASE + "export g\n", "g")
    entered = _named(session, "let h = f_0 >> g\nexport h\n", "h")
    assert entered["h/g/weight0"] is alone["g/weight0"]
    assert "g/weight0" not in entered


def test_copies_keep_their_weights_whatever_their_number() -> None:
    session = Session()
    first = _named(session, BASE + "let k = stack(g, 2)\nexport k\n", "k")
    both = _named(session, "let z = stack(g, 2)\nexport z >> k\n", "z >> k")
    for copy in range(2):
        name = f"k/stack[{copy}]/g/weight0"
        assert both[name] is first[name]
        assert both["z" + name[1:]] is not first[name]
    edited = _named(session, BASE + "let y = stack(f_1, 2)\nlet k = stack(g, 2)\nexport k\n", "k")
    assert {name: id(p) for name, p in edited.items()} == {n: id(p) for n, p in first.items()}


def test_a_copy_is_not_taken_for_the_morphism_that_it_copies() -> None:
    session = Session()
    alone = _named(session, BASE + "export g\n", "g")
    copies = _named(session, "export stack(g, 2)\n", "stack(g, 2)")
    assert not {id(p) for p in alone.values()} & {id(p) for p in copies.values()}


def test_values_are_copied_where_tensors_are_stacked_in_another_way() -> None:
    session = Session()
    alone = _named(session, BASE + "export f_1\n", "f_1")
    with torch.no_grad():
        for parameter in alone.values():
            parameter.fill_(0.125)
    result = session.run_cell("export fan(f)\n")
    fan = dict(result.module.exports["fan(f)"].named_parameters())
    assert torch.equal(fan["f/weight0"][1], alone["f[1]/weight0"])
    assert not torch.equal(fan["f/weight0"][0], alone["f[1]/weight0"])
    assert "f.weight0" in result.kept
    assert result.reset == ()


def test_another_precision_keeps_the_values() -> None:
    session = Session()
    module = session.run_cell(BASE + "export g\n").module
    module.double()
    result = session.run_cell("export g >> g\n")
    new = dict(result.module.exports["g >> g"].named_parameters())["g/weight0"]
    old = dict(module.exports["g"].named_parameters())["g/weight0"]
    assert (old.dtype, new.dtype) == (torch.float64, torch.float32)
    assert torch.equal(new, old.float())
    assert result.reset == ()


def test_all_exports_of_a_cell_share_what_they_take_over() -> None:
    session = Session()
    old = _named(session, BASE + "export g\n", "g")
    module = session.run_cell("export g >> g\nexport g >> f_0\n").module
    for export in module.exports.values():
        assert dict(export.named_parameters())["g/weight0"] is old["g/weight0"]


def test_a_reset_of_one_is_a_reset_of_all_that_use_it() -> None:
    session = Session()
    session.run_cell("object H : Real 2\n" + BASE + "morphism k : B -> H [role=kernel] ~ Normal\n")
    session.run_cell("export k\n")
    session.run_cell("let h = g >> k\nexport h\n")
    result = session.run_cell("object H : Real 3\n")
    assert any(path.startswith("k.") for path in result.reset)
    one, other = (dict(r.module.named_parameters()) for r in session.results[-2:])
    shared = {id(p) for p in one.values()} & {id(p) for p in other.values()}
    assert len(shared) == len([n for n in one if n.rpartition("/")[0].endswith("k")])
