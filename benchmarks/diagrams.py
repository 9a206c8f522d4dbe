"""How long pictures take: port graph to geometry to SVG.

    python -m benchmarks.diagrams [--repeats 3]

Prints one JSON line per case. Sizes are in boxes; everything is open, nothing is elided. `growth`
is the processor time per box against that of the smallest picture of its kind: 1 is linear. Times
are medians: `_s` by the clock, `_cpu_s` of this process, whatever else the machine does.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from quivers_nb.check import check_source
from quivers_nb.diagrams import diagram
from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.graph import Diagram, GroupKind, WireType, boxes
from quivers_nb.diagrams.layout import layout
from quivers_nb.diagrams.outline import outline
from quivers_nb.diagrams.pieces import Block, Piece, Wires, beside, box, chain, copies
from quivers_nb.diagrams.svg import svg

MODULE = Path(__file__).parents[1] / "tests" / "data" / "seed" / "seq2seq.qvr"
A, B = WireType("A", "ℝ16", 2), WireType("B", "ℝ32", 3)
TARGETS_S = {1000: 1.0, 5000: 6.0}
ACCEPTANCE_S = 0.05


def towers(count: int) -> Piece:
    """Two towers of layers, each a fan of four heads and four boxes, in frames."""
    layers = max(1, count // 16)
    return chain(beside(_tower(layers), _tower(layers)), box("cross", [A, A], [B]))


def _tower(layers: int) -> Piece:
    heads = beside(*(box(f"head[{i}]", [A], [A]) for i in range(4)))
    gather = box("proj", [A] * 4, [A])
    fan = Block("fan", GroupKind.FAN, "fan", chain(copies((A,), 4), heads))
    body = chain(fan, gather, *(box(f"ff{i}", [A], [A]) for i in range(3)))
    return chain(*(Block("layer", GroupKind.LAYER, f"layer {i}", body) for i in range(layers)))


def mesh(count: int, wide: int = 8) -> Piece:
    """A wall of boxes with two inputs and two outputs, every other row shifted by one wire."""
    row = wide // 2
    rows = []
    for i in range(2 * count // (2 * row - 1)):
        bricks = [box(f"b{i}", [A, A], [A, A]) for _ in range(row - i % 2)]
        edge = [Wires((A,))] * (i % 2)
        rows.append(beside(*edge, *bricks, *edge))
    return chain(*rows)


def program(sites: int) -> Diagram:
    """A program of this many sites, every third of them in a plate and under the one before it."""
    lines = ["object G : FinSet 10", "program p : G -> G", "    sample s0 <- Normal(0.0, 1.0)"]
    for i in range(1, sites):
        plate, parent = (" : G", i - 1) if i % 3 == 0 else ("", 0)
        lines.append(f"    sample s{i}{plate} <- Normal(s{parent}, 1.0)")
    lines += ["    return s0", "export p"]
    return diagram(check_source("\n".join(lines) + "\n")).diagram


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The median seconds of a call by the clock and of the processor, after one uncounted call."""
    work()
    times = []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - start, time.process_time() - used))
    clock, processor = zip(*times, strict=True)
    return statistics.median(clock), statistics.median(processor)


def report(**facts: object) -> None:
    """One line."""
    print(json.dumps(facts, ensure_ascii=False), flush=True)


def grown(name: str, make: Callable[[int], Piece], sizes: tuple[int, ...], repeats: int) -> None:
    """Pictures of growing size."""
    first = 0.0
    for size in sizes:
        start = time.perf_counter()
        built = assemble(make(size), name)
        assembled = time.perf_counter() - start
        count = sum(1 for _ in boxes(built))
        taken, used = timed(lambda built=built: svg(layout(built), "outline"), repeats)  # type: ignore[misc]
        first = first or used / count
        report(
            case=name,
            boxes=count,
            assemble_s=round(assembled, 4),
            layout_and_svg_s=round(taken, 4),
            layout_and_svg_cpu_s=round(used, 4),
            target_s=TARGETS_S.get(size),
            growth=round(used / count / first, 2),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    report(load_average=os.getloadavg()[0], repeats=repeats)
    module = check_source(MODULE.read_text(encoding="utf-8"))
    for name in ("seq2seq", "backbone"):
        taken, used = timed(lambda name=name: diagram(module, name).svg, repeats)  # type: ignore[misc]
        opened, _ = timed(lambda name=name: diagram(module, name).unfold().svg, repeats)  # type: ignore[misc]
        report(
            case=f"acceptance {name}",
            build_layout_and_svg_s=round(taken, 4),
            build_layout_and_svg_cpu_s=round(used, 4),
            all_open_s=round(opened, 4),
            target_s=ACCEPTANCE_S,
        )
    grown("two towers", towers, (100, 1000, 5000), repeats)
    grown("mesh", mesh, (100, 1000, 5000), repeats)
    plates = program(60)
    taken, used = timed(lambda: svg(layout(plates), outline(plates)), repeats)
    report(
        case="program of 60 sites",
        layout_and_svg_s=round(taken, 4),
        layout_and_svg_cpu_s=round(used, 4),
    )


if __name__ == "__main__":
    main()
