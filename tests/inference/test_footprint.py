"""What inference costs besides time: modules and memory, in fresh interpreters."""

import json
import subprocess
import sys

import pytest

COMPILER = ("torch._dynamo", "torch._inductor", "sympy", "functorch")
MEGABYTES = 500

RUN = """
import quivers_nb.lower
from benchmarks.peers.inference.data import DATA
from benchmarks.peers.inference.models import PROGRAMS, host_data
from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel
model = loads(PROGRAMS["{name}"]).morphism
result = MCMC(NUTSKernel(), {warmup}, {draws}, seed=0).run(model, None, host_data(DATA["{name}"]()))
assert result.tier == "native", result.tier_reason
"""
REPORT = """
import json, resource, sys
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([sorted(sys.modules), peak]))
"""


def after(program: str) -> tuple[set[str], float]:
    """Modules, and the peak of the resident set in megabytes, after ``program``."""
    done = subprocess.run(
        [sys.executable, "-c", program + REPORT],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules, peak = json.loads(done.stdout.splitlines()[-1])
    return {name for name in modules if name.startswith(COMPILER)}, peak


def test_the_names_of_inference_import_no_compiler_of_torch():
    """All of them; the package itself imports none of its modules until a name is used."""
    plain, _ = after("import torch")
    used, _ = after("from quivers_nb.inference import *")
    assert used - plain == set()
    look = "import sys, quivers_nb.inference as i; own = i.__name__ + '.'\n"
    after(look + "assert not [name for name in sys.modules if name.startswith(own)]")


@pytest.mark.parametrize("name", ["eight", "radon"])
def test_compiling_drawing_and_nuts_import_no_compiler_of_torch(name):
    plain, _ = after("import torch")
    used, _ = after(RUN.format(name=name, warmup=20, draws=20))
    assert used - plain == set()


FIT = """
import quivers_nb.lower, torch
from benchmarks.peers.inference.data import DATA
from benchmarks.peers.inference.models import PROGRAMS, host_data
from quivers_nb import fit_svi
from quivers_nb.dsl import loads
model = loads(PROGRAMS["eight"]).morphism
run = fit_svi(model, None, host_data(DATA["eight"]()), steps={steps}, seed=0, block=True{options})
assert run.result.tier == "{tier}", run.result.tier_reason
"""


@pytest.mark.parametrize(("steps", "tier"), [(20, "traced"), (1500, "native")])
def test_a_variational_fit_imports_no_compiler_of_torch(steps, tier):
    """Its optimiser is made and stepped past the methods of torch that do."""
    plain, _ = after("import torch")
    used, _ = after(FIT.format(steps=steps, tier=tier, options=""))
    assert used - plain == set()


def test_nor_does_a_fit_that_is_kept_in_a_file_and_goes_on(tmp_path):
    plain, _ = after("import torch")
    for steps in (600, 900):
        options = f", checkpoint={str(tmp_path / 'run.qvr')!r}, checkpoint_every=0.001"
        used, _ = after(FIT.format(steps=steps, tier="traced", options=options))
        assert used - plain == set()


def test_a_fit_by_an_optimiser_that_was_made_as_usual_is_seen_to_import_it():
    """The mutant of the test above."""
    options = ", optimizer=torch.optim.Adam"
    used, _ = after(FIT.format(steps=20, tier="traced", options=options))
    assert "torch._dynamo" in used


def test_a_run_imports_no_library_besides_numpy_and_torch():
    """No notebook, no plots, no tables, no parser: what a run from a script waits for is ours."""
    look = """
import json, sys
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    found = []
    for program in ("import torch, numpy.random", RUN.format(name="eight", warmup=5, draws=5)):
        done = subprocess.run(
            [sys.executable, "-c", program + look],
            capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
        found.append(set(json.loads(done.stdout.splitlines()[-1])))
    plain, used = found
    libraries = used - plain - sys.stdlib_module_names
    ours = {"benchmarks", "quivers_nb"}
    assert {name for name in libraries if not name.startswith("_sysconfigdata")} == ours


@pytest.mark.slow
def test_a_run_of_the_varying_slopes_model_stays_within_its_memory():
    """4 chains of 1000 + 1000 draws of 176 coordinates, interpreter and torch included."""
    _, peak = after(RUN.format(name="radon", warmup=1000, draws=1000))
    assert peak < MEGABYTES


@pytest.mark.slow
def test_a_run_that_keeps_a_hundred_times_more_is_seen():
    """The mutant of the test above: a tensor of draws that nobody asked for."""
    waste = "import torch; kept = torch.zeros(4, 100_000, 176, dtype=torch.float64)\n"
    _, peak = after(waste + RUN.format(name="radon", warmup=20, draws=20))
    assert peak > MEGABYTES
