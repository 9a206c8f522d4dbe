"""A shell in which the extension is loaded."""

from collections.abc import Iterator

import pytest

from tests.support.shells import Cells, shell


@pytest.fixture
def bare() -> Iterator[Cells]:
    with shell() as cells:
        yield cells


@pytest.fixture
def cells(bare: Cells) -> Cells:
    bare.run("%load_ext quivers_nb")
    return bare
