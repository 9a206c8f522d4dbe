"""The seed page: its module, and its three Python blocks."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data" / "seed"
MODULE = FOLDER / "seq2seq.qvr"
PAGE = FOLDER / "seq2seq.txt"
PATH_IN_BLOCKS = Path("docs/examples/source/seq2seq.qvr")


def page_blocks() -> list[str]:
    """The page's Python blocks: each begins at ``import torch`` and ends at its last ``print``."""
    blocks: list[list[str]] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line == "import torch":
            blocks.append([])
        if blocks:
            blocks[-1].append(line)
    return ["\n".join(block[: last_print(block) + 1]) + "\n" for block in blocks]


def last_print(lines: list[str]) -> int:
    return max(i for i, line in enumerate(lines) if line.startswith("print("))
