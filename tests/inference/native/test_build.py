"""Compilers that are missing, hostile or slow; caches that are shared, broken or closed."""

import os
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.model import Terms
from quivers_nb.inference.native import NativeTarget, Unavailable, build, function, prepare
from quivers_nb.inference.native import emit as emit_module
from quivers_nb.inference.native.emit import emit, header
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.toolchain import compiler
from quivers_nb.inference.target import Target

POINT = torch.zeros(3, dtype=torch.float64)


class Normal:
    """Three independent standard normals."""

    layout = Layout((Coordinate("z", 0, (3,), (3,)),))
    batch_shape = ()
    dtype = torch.float64

    def terms(self, q, **_):
        return Terms(None, -0.5 * (q * q).sum(-1))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("QUIVERS_NB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


def _prepared():
    return prepare(Target(Normal()), POINT)


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def _reason(found) -> str:
    assert isinstance(found, Unavailable)
    assert "\n" not in found.reason
    return found.reason


def test_the_cache_is_closed_to_others_and_holds_only_objects(cache):
    assert isinstance(_prepared(), NativeTarget)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert sorted(path.suffix for path in cache.iterdir()) == [".so", ".so"]  # driver, density


def test_a_second_build_comes_from_the_cache(cache, monkeypatch):
    assert isinstance(_prepared(), NativeTarget)
    monkeypatch.setattr(build, "_compiled", lambda *_: pytest.fail("compiled again"))
    assert isinstance(_prepared(), NativeTarget)


def test_without_a_compiler_the_reason_names_what_was_looked_for(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "find_spec", lambda _: None)
    assert "no C compiler" in _reason(_prepared())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error: license expired' >&2; exit 1", "license expired"),
        ("head -c 300 /dev/urandom; exit 1", "failed"),
        ("exit 0", "made nothing"),
        ('for a; do last=$a; [ "$p" = -o ] && echo junk > "$a"; p=$a; done', "cannot be loaded"),
        ("kill -9 $$", "failed: no output"),
    ],
)
def test_a_hostile_compiler_is_a_reason_not_a_crash(cache, tmp_path, monkeypatch, script, reason):
    monkeypatch.setenv("CC", _script(tmp_path / "evil-cc", script))
    assert reason in _reason(_prepared())
    assert not list(cache.glob("*.so"))
    assert not list(cache.glob("build-*"))


def test_a_compiler_that_hangs_is_given_up(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "VERSION_SECONDS", 0.2)
    monkeypatch.setenv("CC", _script(tmp_path / "slow-cc", "exec sleep 60"))
    assert "did not finish" in _reason(_prepared())


def test_a_compiler_that_computes_wrong_results_is_not_used(cache, tmp_path, monkeypatch):
    wrong = _script(tmp_path / "wrong-cc", 'exec cc "$@" -ffast-math')  # loses NaN
    monkeypatch.setenv("CC", wrong)
    assert "computes wrong results" in _reason(_prepared())
    assert sys.float_info.min / 2 > 0.0  # loading it has not cost the process its small numbers


def test_cc_may_carry_options_and_is_the_only_one_tried(cache, monkeypatch):
    monkeypatch.setenv("CC", "cc -DSOMETHING=1")
    assert isinstance(_prepared(), NativeTarget)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no-such-compiler" in _reason(_prepared())


def test_a_cache_open_to_others_is_refused(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert "chmod 700" in _reason(_prepared())


def test_a_cache_that_cannot_be_made_is_a_reason(cache):
    cache.parent.write_text("a file where the folder should be")
    assert "cannot be used" in _reason(_prepared())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_cache_is_a_reason(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o500)
    assert "cannot be written" in _reason(_prepared())


def test_a_cache_on_a_full_disk_is_a_reason(cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build.tempfile, "TemporaryDirectory", full)
    assert "No space left" in _reason(_prepared())


def test_an_object_that_was_cut_short_is_built_again(cache):
    assert isinstance(_prepared(), NativeTarget)
    sizes = {}
    for path in cache.glob("*.so"):
        sizes[path] = path.stat().st_size
        path.unlink()  # the old file stays mapped; a new one takes its name
        path.write_bytes(b"\x7fELF")
    code = (
        "import torch; from tests_normal import Normal, Target, prepare;"
        "print(type(prepare(Target(Normal()), torch.zeros(3, dtype=torch.float64))).__name__)"
    )
    assert _in_new_processes(code, 1) == ["NativeTarget"]
    assert all(path.stat().st_size == size for path, size in sizes.items())


def test_two_processes_that_build_at_once_agree(cache):
    code = (
        "import torch; from tests_normal import Normal, Target, prepare;"
        "n = prepare(Target(Normal()), torch.zeros(3, dtype=torch.float64));"
        "print(float(n.evaluate(torch.ones(3, dtype=torch.float64))[0]))"
    )
    assert _in_new_processes(code, 2) == ["-1.5", "-1.5"]
    assert len(list(cache.iterdir())) == 2


def _in_new_processes(code: str, count: int) -> list[str]:
    """What ``code`` prints in fresh interpreters, started together."""
    load = (
        "import sys, importlib.util as u;"
        f"s = u.spec_from_file_location('tests_normal', {__file__!r});"
        "m = u.module_from_spec(s); sys.modules['tests_normal'] = m; s.loader.exec_module(m);"
    )
    root = str(Path(build.__file__).parents[3])
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", load + code], stdout=subprocess.PIPE, cwd=root, text=True
        )
        for _ in range(count)
    ]
    return [job.communicate(timeout=120)[0].strip() for job in jobs]


def test_new_data_of_the_same_shape_is_the_same_binary(cache, compiled):
    def density(data):
        return lambda q: -0.5 * ((q - data) ** 2).sum() * 1.7

    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(2))
    first, second = compiled(density(one), POINT), compiled(density(two), POINT)
    assert first.source == second.source
    assert float(second.value_and_grad(two)[0]) == 0.0
    assert float(first.value_and_grad(two)[0]) < 0.0


def test_objects_of_another_processor_or_compiler_are_not_reused(cache, monkeypatch):
    compiler = build.Compiler(("cc",), "version 1", ("-O3",), ())
    here = build.object_name("int x;", compiler)
    assert here != build.object_name("int y;", compiler)
    assert here != build.object_name("int x;", build.Compiler(("cc",), "version 2", ("-O3",), ()))
    monkeypatch.setattr(build, "processor", lambda: "another")
    assert here != build.object_name("int x;", compiler)


def test_a_cache_that_has_grown_large_is_halved(cache, monkeypatch):
    monkeypatch.setattr(build, "GREATEST_CACHE", 4)
    cache.mkdir(parents=True, mode=0o700)
    for k in range(6):
        (cache / f"{k}.so").write_text("old")
        os.utime(cache / f"{k}.so", (k, k))
    (cache / "build-killed").mkdir()
    os.utime(cache / "build-killed", (0, 0))
    assert isinstance(_prepared(), NativeTarget)
    assert not (cache / "build-killed").exists()
    left = {path.name for path in cache.glob("?.so")}
    assert "0.so" not in left
    assert "5.so" in left


@pytest.mark.parametrize("number", range(len(build.FLAG_SETS)))
def test_every_set_of_flags_that_works_here_computes_the_same(
    cache, monkeypatch, number, compiled, reference, error
):
    monkeypatch.setattr(build, "FLAG_SETS", build.FLAG_SETS[number : number + 1])
    ends = torch.tensor([-800.0, -745.0, -0.29, 0.0, 1e-300, 0.41, 5.0, 709.0], dtype=torch.float64)

    def density(q):
        x = q * ends
        sums = x.exp() * 1e-300 + torch.log1p(x.clamp_min(-0.999)) + x.clamp_min(1e-310).log()
        return sums.sum() + torch.nn.functional.softplus(x).sum()

    q = torch.tensor([1.0, 0.99, 1.01, 1.0, 1.0, 1.02, -0.1, 0.9], dtype=torch.float64)
    try:
        native = compiled(density, q)
    except Refusal as refusal:
        pytest.skip(f"these flags do not serve here: {refusal}")
    values = zip(native.value_and_grad(q), reference(density, q), strict=True)
    assert all(error(ours, theirs) < 1e-14 for ours, theirs in values)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ziglang") is None, reason="the ziglang wheel is not installed")
def test_the_ziglang_wheel_serves_where_there_is_no_other_compiler(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    found = _prepared()
    assert isinstance(found, NativeTarget), found
    assert compiler().command[1:3] == ("-m", "ziglang")


def test_what_would_take_too_long_or_too_much_is_refused(cache, monkeypatch):
    monkeypatch.setattr(function, "GREATEST_GRAPH", 1)
    assert "too long to compile" in _reason(_prepared())
    monkeypatch.undo()
    monkeypatch.setenv("QUIVERS_NB_CACHE", str(cache.parent))
    monkeypatch.setattr(function, "GREATEST_SCRATCH", 1)
    assert "of scratch" in _reason(_prepared())


def test_the_length_of_a_source_is_that_of_its_function(monkeypatch, compiled):
    lengths = []

    def watched(*given, **options):
        source = emit(*given, **options)
        lengths.append((source.length, len(source.text)))
        return source

    def density(q):
        return -(q * q).sum()

    monkeypatch.setattr(function, "emit", watched)
    compiled(density, POINT)
    monkeypatch.setattr(emit_module, "header", lambda name: header(name) + "/* one line more */\n")
    compiled(density, POINT)
    (before, short), (after, long) = lengths
    assert before == after > 0
    assert short < long


@pytest.mark.parametrize("work", [0, 2**40], ids=["vectors", "plain"])
def test_long_sources_are_compiled_in_haste_and_compute_the_same(
    cache, monkeypatch, compiled, reference, error, work
):
    flags = []

    def watched(source, compiler, symbols):
        flags.append(compiler.flags)
        return build.load(source, compiler, symbols)

    def density(q):
        return -(q.exp() + torch.log1p(q * q)).cumsum(0).square().sum()

    q = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    monkeypatch.setattr(function, "load", watched)
    compiled(density, q)
    monkeypatch.setattr(function, "LONG_SOURCE", 0)
    monkeypatch.setattr(function, "LONG_WORK", work)
    native = compiled(density, q)
    brisk, hasty = flags
    assert "-O3" in brisk
    assert "-O1" in hasty
    assert "-O3" not in hasty
    assert ("-ftree-vectorize" in hasty) is (work == 0)
    values = zip(native.value_and_grad(q), reference(density, q), strict=True)
    assert all(error(ours, theirs) < 1e-14 for ours, theirs in values)
