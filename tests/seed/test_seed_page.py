"""The three Python blocks of the seed page run unchanged after `compat.install()`."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.seed import MODULE, PATH_IN_BLOCKS, page_blocks

ROOT = Path(__file__).parents[2]
INSTALL = "import quivers_nb.compat; quivers_nb.compat.install()\n"

APPENDED = """
print("shape:", tuple(result.log_densities.shape))
print("start:", float(result.start_log_densities[0]))
print("densities:", result.log_densities[0].tolist())
print("weights moved:", float((result.samples[name][0, 1:] - result.samples[name][0, :-1])
                              .abs().amax(-1).min()))
weights = torch.cat([p.detach().double().reshape(-1) for p in model.parameters()])
drawn = torch.cat(list(result.samples.values()), -1)[0, -1]
# minus the N(0, 1) prior of the weights, up to its constant; starts have 0.01 of noise
start_square = weights @ weights + 1e-4 * weights.numel()
print("data start:", float(result.start_log_densities[0] + 0.5 * start_square))
print("data end:", float(result.log_densities[0, -1] + 0.5 * drawn @ drawn))
"""
FIRST_SITE = 'name = "theta__backbone_cross_weight0"\n'


@pytest.fixture
def run_block(tmp_path: Path):
    module = tmp_path / PATH_IN_BLOCKS
    module.parent.mkdir(parents=True)
    module.write_bytes(MODULE.read_bytes())

    def run(index: int, then: str = "") -> str:
        script = tmp_path / "block.py"
        script.write_text(INSTALL + page_blocks()[index] + then, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'magics'}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_page_has_three_blocks_that_start_and_end_as_they_should() -> None:
    blocks = page_blocks()
    assert len(blocks) == 3
    for block in blocks:
        assert block.startswith("import torch\n")
        assert block.splitlines()[-1].startswith("print(")
        ast.parse(block)


def test_the_module_is_the_one_on_the_page() -> None:
    lines = MODULE.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 32
    from tests.support.seed import PAGE

    page = PAGE.read_text(encoding="utf-8").splitlines()
    start = page.index(lines[0])
    assert page[start : start + len(lines)] == lines


def test_the_first_block_draws_data_of_the_shapes_it_prints(run_block) -> None:
    assert run_block(0) == "x: (16, 2) h: (16, 32) y: (16,)\n"


def test_the_second_block_lowers_the_loss(run_block) -> None:
    found = re.fullmatch(r"ELBO loss: (-?[\d.]+) -> (-?[\d.]+)\n", run_block(1))
    assert found
    before, after = map(float, found.groups())
    assert after < before - 5.0, "a tenth of the start's loss, at least"


def test_the_third_block_moves_without_divergences(run_block) -> None:
    """Without the weights' prior the density rises; with it, it must fall.

    Each of 272,096 standard normal weights starts near 0 and settles near +-1: the start lies a
    hundred thousand nats above the typical set, and a chain whose density did not leave the
    start's would be one that stands still.
    """
    printed = dict(line.split(": ", 1) for line in run_block(2, FIRST_SITE + APPENDED).splitlines())
    assert float(printed["acceptance"]) > 0.3
    assert int(printed["divergences"]) == 0
    assert printed["shape"] == "(1, 10)"
    densities = ast.literal_eval(printed["densities"])
    assert all(abs(d - float(printed["start"])) > 10 for d in densities)
    assert len(set(densities)) >= 8
    assert float(printed["weights moved"]) > 1e-3
    assert float(printed["data end"]) > float(printed["data start"])
