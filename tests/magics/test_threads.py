"""One core is left to the notebook server, unless somebody chose the number of threads."""

from collections.abc import Iterator

import pytest
import torch

from quivers_magics.threads import fewer, leave_a_core
from tests.support.shells import Cells


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with two cores on which nobody has chosen anything."""
    before = torch.get_num_threads()
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("threads", "cores", "chosen", "after"),
    [(2, 2, False, 1), (8, 8, False, 7), (1, 1, False, 1), (4, 8, False, 4), (8, 8, True, 8)],
)
def test_one_core_is_left_if_torch_would_take_them_all(
    threads: int, cores: int, chosen: bool, after: int
) -> None:
    assert fewer(threads, cores=cores, chosen=chosen) == after


@pytest.mark.usefixtures("two_cores")
def test_loading_leaves_a_core_and_unloading_takes_that_back(bare: Cells) -> None:
    bare.run("%load_ext quivers_nb")
    assert torch.get_num_threads() == 1
    bare.run("%unload_ext quivers_nb")
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_cores")
def test_a_number_of_threads_that_the_user_chose_meanwhile_is_kept(bare: Cells) -> None:
    bare.run("%load_ext quivers_nb")
    torch.set_num_threads(3)
    bare.run("%unload_ext quivers_nb")
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("two_cores")
def test_a_number_of_threads_from_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    leave_a_core()
    assert torch.get_num_threads() == 2
