"""The index of the cache: a density that an earlier process compiled is found, or made again."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.inference.gradient import difference_at, eager
from quivers_nb.inference.native import index, prepare, prepared, reuse
from quivers_nb.inference.native.build import cache_folder
from quivers_nb.inference.target import flat
from tests.inference.native.regression import PROGRAM, observations


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty one; with it the compiler is looked for anew, and nothing is known."""
    monkeypatch.setenv("QUIVERS_NB_CACHE", str(tmp_path))


def _target(source=PROGRAM, seed=0, dtype=torch.float64):
    """That of a new program: what this process keeps for others does not know it."""
    return flat(loads(source).morphism.target(None, observations(seed), dtype=dtype))


def _prepare(target):
    return prepare(target, torch.linspace(-0.4, 0.5, target.dim, dtype=target.dtype))


def _right(native, target):
    q = torch.randn(2, target.dim, generator=torch.Generator().manual_seed(3), dtype=target.dtype)
    return difference_at(q, native.evaluate, eager(target)) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_equal_program_with_equal_data_is_found(dtype):
    made = _prepare(_target(dtype=dtype)).function
    target = _target(dtype=dtype)
    found = prepared(target)
    assert found is not None
    assert _right(found, target)
    for name in index._FIELDS:
        assert getattr(found.function, name) == getattr(made, name)
    for one, other in zip(found.function.data, made.data, strict=True):
        assert one.dtype == other.dtype
        assert one.ctypes.data % 64 == 0
        assert np.array_equal(one, other)


def test_other_data_text_or_code_are_not(monkeypatch):
    _prepare(_target())
    assert prepared(_target(seed=1)) is None
    assert prepared(_target(PROGRAM.replace("2.5", "2.25"))) is None
    assert prepared(_target(dtype=torch.float32)) is None
    monkeypatch.setattr(index, "_code", lambda: "another version")
    assert prepared(_target()) is None


def test_every_file_that_compiles_counts():
    index._code.cache_clear()
    wanted = {"inference/native/emit.py", "inference/native/scalar.h", "lower/steps.py",
              "kernels/families/normal.py", "syntax/table.json", "check/module.py"}  # fmt: skip
    assert all(repr(str(index._PACKAGE / name)) in index._code() for name in wanted)


def _entries():
    return list((cache_folder()).glob("*.npz"))


def _cut(path):
    path.write_bytes(path.read_bytes()[:200])


def _emptied(path):
    path.write_bytes(b"")


def _without_object(path):
    for each in path.parent.glob("*.so"):
        each.unlink()


def _another_file(path):
    np.savez(path, a=np.zeros(3))


@pytest.mark.parametrize("harm", [_cut, _emptied, _without_object, _another_file])
def test_a_damaged_entry_is_made_again(harm):
    _prepare(_target())
    (entry,) = _entries()
    harm(entry)
    target = _target()
    assert prepared(target) is None
    assert _right(_prepare(target), target)
    assert prepared(_target()) is not None


def test_an_entry_with_wrong_data_is_held_back_by_the_check_at_the_starts():
    """The mutant: an index that answers with the density of other data."""
    _prepare(_target(seed=1))
    (entry,) = _entries()
    wrong = entry.read_bytes()
    entry.unlink()
    _prepare(_target())
    (entry,) = _entries()
    entry.write_bytes(wrong)
    target = _target()
    found = prepared(target)
    assert found is not None
    assert not _right(found, target)
    result = MCMC(NUTSKernel(), 50, 50, num_chains=2, seed=1).run(
        loads(PROGRAM).morphism, None, observations()
    )
    entry.unlink()
    right = MCMC(NUTSKernel(), 50, 50, num_chains=2, seed=1).run(
        loads(PROGRAM).morphism, None, observations()
    )
    assert result.tier == right.tier == "native"
    assert torch.equal(result.samples["alpha"], right.samples["alpha"])


def test_large_data_are_not_entered(monkeypatch):
    monkeypatch.setattr(index, "GREATEST_ENTRY", 100)
    _prepare(_target())
    assert not _entries()


def test_a_cache_that_cannot_be_written_to_does_no_harm(monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index.np, "savez", full)
    native = _prepare(_target())
    assert _right(native, _target())
    assert not _entries()


RUN = """import sys, numpy as np
from unittest.mock import patch
from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.inference import native
rng = np.random.default_rng(0)
data = {"x": rng.normal(size=(12, 3)), "y": rng.normal(size=12)}
mcmc = MCMC(NUTSKernel(), 100, 100, num_chains=2, seed=4)
with patch.object(native, "record_value_and_grad", wraps=native.record_value_and_grad) as record:
    result = mcmc.run(loads(sys.argv[1]).morphism, None, data)
print(record.call_count, result.tier, result.samples["alpha"].sum().item())
"""


def test_a_new_process_records_nothing_and_draws_the_same():
    command = [sys.executable, "-c", RUN, PROGRAM]
    runs = [
        subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
        for _ in range(2)
    ]
    assert [run[0] for run in runs] == ["1", "0"]
    assert runs[0][1:] == runs[1][1:]
    assert runs[0][1] == "native"


def test_functions_of_the_index_are_kept_like_others(monkeypatch):
    _prepare(_target())
    target = _target()
    assert prepared(target) is not None
    monkeypatch.setattr(reuse, "find", lambda _key: None)
    assert prepared(target) is not None
    assert prepared(replace(target, row_weight=2.0)) is None
