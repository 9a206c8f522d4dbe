"""What importing and using the kernels brings in: torch, and nothing slow besides."""

import subprocess
import sys

SLOW = ("torch._dynamo", "sympy", "torch.distributions.distribution", "scipy")

USE = """
import sys
import torch
before = set(sys.modules)
import quivers_nb.kernels as kernels
from quivers_nb.spaces.families import FAMILIES
params = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
normal = kernels.DENSITIES["Normal"]
y = normal.sample(params, (2, 3), torch.Generator().manual_seed(1))
normal.log_prob(y, *params).sum().backward()
kernels.DENSITIES["OrderedLogistic"].log_prob(
    torch.tensor([0, 1]), torch.zeros(2), torch.tensor([[0.0, 1.0], [2.0, 3.0]])
)
kernels.DENSITIES["Gamma"].sample((torch.ones(2), torch.ones(2)), (2,))
for support in {type(f.support): f.support for f in FAMILIES.values()}.values():
    try:
        kernels.bijector_for(support, {"low": y, "high": y + 1.0, "scale": y, "loc": y})
    except kernels.UserError:
        pass
tensors = kernels.initial_tensors(kernels.network_spec("mlp", 4, 6))
raw = kernels.apply_network("mlp", tensors, torch.zeros(5, 4))
kernels.split_blocks(FAMILIES["Normal"], raw, 3)
print(*sorted(set(sys.modules) - before))
"""


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_using_kernels_imports_no_compiler_and_no_algebra_system() -> None:
    new = modules_after(USE.replace("kernels.UserError", "Exception"))
    assert not new & set(SLOW)


def test_families_are_known_without_torch() -> None:
    code = "import sys, quivers_nb.spaces.families; print(*(m for m in sys.modules))"
    assert "torch" not in modules_after(code)
