"""What the checker says of a value before a run is what the run finds (R1, R2, R11)."""

from typing import Any

import pytest

from quivers_nb.check import check_source
from quivers_nb.check.term import Program, VariableInfo
from quivers_nb.spaces.space import ProductSet, is_finite
from tests.oracles.programs import CASES
from tests.support.oracles import Case, compiled, tensor, tensors


def program_of(case: Case) -> Program:
    value = check_source(case.source, sizes=case.sizes).exports[0].value
    assert isinstance(value, Program)
    return value


def batch_of(case: Case, program: Program) -> tuple[int, ...]:
    """The batch shape of a run, as sites report it (R1)."""
    if case.x is None:
        return ()
    shape = tuple(tensor(case.x).shape)
    index = is_finite(program.dom) and not isinstance(program.dom, ProductSet)
    return shape if index else shape[:-1]


def predicted(info: VariableInfo, batch: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a value; None where it depends on data."""
    if info.axes is None:
        return None
    sizes = [axis.obj.size for axis in info.axes]
    if not all(isinstance(size, int) for size in sizes):
        return None
    own = (*(int(str(size)) for size in sizes), *info.event)
    return (*batch, *own) if info.row_wise else own


def found(case: Case, program: Program) -> dict[str, Any]:
    model = compiled(case.source, **({"sizes": case.sizes} if case.sizes else {}))
    x = None if case.x is None else tensor(case.x)
    sites = model.trace(x, tensors(case.values)).sites
    return {name: site.value for name, site in sites.items() if hasattr(site.value, "shape")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_has_the_shapes_that_were_predicted(case: Case) -> None:
    program = program_of(case)
    batch = batch_of(case, program)
    values = found(case, program)
    for info in program.variables:
        shape = predicted(info, batch)
        if info.name in values and shape is not None:
            got = tuple(values[info.name].shape)
            reported = not program.reads_input and batch == (1,)  # one row: un-indexed sites only
            assert got == shape or (reported and (1, *got) == shape), info


def test_most_values_are_predicted() -> None:
    infos = [info for case in CASES for info in program_of(case).variables]
    assert sum(info.axes is not None for info in infos) > 0.6 * len(infos)
