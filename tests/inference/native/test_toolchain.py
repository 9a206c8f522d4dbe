"""How many compilers a first run starts and how many a later one, and what their flags are."""

import subprocess
import sys
from dataclasses import replace

import pytest

from quivers_nb.inference.native import build, toolchain
from quivers_nb.inference.native.program import Refusal

RUN = """
import torch
from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.model import Terms

class Normal:
    layout = Layout((Coordinate("z", 0, ({size},), ({size},)),))
    batch_shape = ()
    dtype = torch.float64

    def terms(self, q, **_):
        return Terms(None, -0.5 * (q * q).sum(-1))

    def constrain(self, q, **_):
        return {{"z": q}}

result = MCMC(NUTSKernel(), 20, 20, num_chains=2, seed=0).run_target(Normal())
assert result.tier == "native", result.tier_reason
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """``calls(program)``: the arguments of every compiler that a new process starts."""
    log, command = tmp_path / "log", tmp_path / "counting-cc"
    command.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec cc "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("CC", str(command))
    monkeypatch.setenv("QUIVERS_NB_CACHE", str(tmp_path / "cache"))

    def counted(program: str) -> list[str]:
        log.write_text("")
        subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
        return log.read_text().splitlines()

    return counted


def test_a_first_run_starts_four_compilers_a_new_model_two_and_a_later_run_one(calls):
    """Its version, then the check, the sampler and the density; what is cached is not built."""
    first = calls(RUN.format(size=3))
    assert len(first) == 4
    assert sum(line.endswith("--version") for line in first) == 1
    assert sum("source.c" in line for line in first) == 3
    assert len(calls(RUN.format(size=4))) == 2
    (again,) = calls(RUN.format(size=3))
    assert again.endswith("--version")


def test_the_sampler_is_built_at_the_second_level_and_densities_at_the_third(calls):
    lines = [line.split() for line in calls(RUN.format(size=3))]
    levels = sorted(word for words in lines for word in words if word.startswith("-O"))
    known = toolchain.compiler()
    assert levels == (["-O2", "-O3", "-O3"] if known.brisk() != known else ["-O3"] * 3)


@pytest.mark.parametrize(("flags", "libraries"), build.FLAG_SETS)
def test_the_second_level_changes_the_level_alone_and_where_gcc_gives_vectors(flags, libraries):
    compiler = build.Compiler(("cc",), "a version", flags, libraries)
    brisk = compiler.brisk().flags
    gcc = "-DVECTOR_MATH" in flags
    assert [f for f in brisk if not f.startswith(("-O", "-fvect"))] == [
        f for f in flags if f != "-O3"
    ]
    assert ("-O3" in brisk) is not gcc
    assert ("-fvect-cost-model=dynamic" in brisk) is gcc


ONE = "int one(void) { return 1; }"


def _as_it_is(compiler):
    return compiler


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Compilers that made, or tried to make, an object in an empty cache, with what they made."""
    monkeypatch.setenv("QUIVERS_NB_CACHE", str(tmp_path))
    toolchain.compiler()
    seen = []

    def load(source, compiler, symbols):
        seen.append((compiler, None))
        seen[-1] = (compiler, build.load(source, compiler, symbols))
        return seen[-1][1]

    monkeypatch.setattr(toolchain, "load", load)
    return seen


@pytest.mark.parametrize("flag", ["-fno-such-flag", "-O2"], ids=["fails", "is another one"])
def test_what_a_wrong_guess_made_is_not_used(flag, loaded, monkeypatch):
    known = toolchain.compiler()
    guess = replace(known, flags=(*known.flags, flag))
    monkeypatch.setattr(toolchain, "likeliest", lambda: guess)
    library, found = toolchain.built(ONE, _as_it_is, ("one",))
    assert [compiler for compiler, _ in loaded] == [guess, known]
    assert (loaded[0][1] is None) is (flag != "-O2")
    assert found == known
    assert library is loaded[1][1]
    assert library.one() == 1


def test_an_object_is_not_given_away_where_its_compiler_fails_the_check(loaded, monkeypatch):
    def refused():
        raise Refusal("it computes wrong results")

    monkeypatch.setattr(toolchain, "compiler", refused)
    with pytest.raises(Refusal, match="wrong results"):
        toolchain.built(ONE, _as_it_is, ("one",))
    assert loaded[0][1] is not None


def test_a_source_without_an_object_is_compiled_once(loaded):
    with pytest.raises(Refusal, match="failed"):
        toolchain.built("no C", _as_it_is, ("one",))
    assert len(loaded) == 1
