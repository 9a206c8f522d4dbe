"""One value and gradient of two programs, beside the same densities in hand-written torch.

    python -m benchmarks.programs [--repeats 9] [--threads 1]

Prints one JSON line per program and tier. `README.md` in this folder says how to read them.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.programs_torch import Lda, TwoParameterLogistic
from benchmarks.seed import machine
from quivers_nb.dsl import loads
from quivers_nb.inference import flat, native
from quivers_nb.inference.gradient import eager, traced

LDA = """object Doc : FinSet n_docs
object Topic : FinSet n_topics
object Word : FinSet n_words
object Token : FinSet n_tokens
data doc_of : Token -> Doc
program lda : Token -> Token
    sample theta : Doc <- Dirichlet(0.5) [over=Topic]
    sample phi : Topic <- Dirichlet(0.1) [over=Word]
    let p = theta[doc_of]
    marginalize z : Token <- Categorical(p)
        observe w : Token <- Categorical(phi[z])
    return phi
export lda
"""
IRT = """object Person : FinSet n_persons
object Item : FinSet n_items
program irt : Person -> Person
    sample theta : Person <- Normal(0.0, 1.0)
    sample a : Item <- LogNormal(0.0, 0.5)
    sample b : Item <- Normal(0.0, 1.0)
    let eta = factor i : Person, j : Item in a[j] * (theta[i] - b[j])
    observe y : Person * Item <- BernoulliLogit(eta)
    return theta
export irt
"""
TARGET_RATIO = 1.3
Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Pair:
    """A program with its data, and the same density by hand."""

    name: str
    source: str
    sizes: dict[str, int]
    data: dict[str, Tensor]
    peer: Callable[[Tensor], Tensor]

    def target(self) -> Any:
        """The program's density over a flat vector, in float64."""
        model = loads(self.source, sizes=self.sizes).morphism
        return flat(model.target(None, self.data, dtype=torch.float64))


def lda(docs: int = 2000, words: int = 100, topics: int = 20, vocabulary: int = 1000) -> Pair:
    """``docs`` documents of ``words`` words each."""
    generator = torch.Generator().manual_seed(0)
    count = docs * words
    word = torch.randint(0, vocabulary, (count,), generator=generator)
    doc = torch.arange(docs).repeat_interleave(words)
    sizes = {"n_docs": docs, "n_topics": topics, "n_words": vocabulary, "n_tokens": count}
    peer = Lda(doc, word, (docs, topics, vocabulary))
    return Pair("lda", LDA, sizes, {"doc_of": doc, "w": word}, peer)


def irt(persons: int = 500, items: int = 30) -> Pair:
    """Answers of ``persons`` to ``items``, all observed."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (persons, items), generator=generator)
    sizes = {"n_persons": persons, "n_items": items}
    return Pair("irt 2pl", IRT, sizes, {"y": y}, TwoParameterLogistic(y.double()))


def by_hand(density: Callable[[Tensor], Tensor]) -> Evaluate:
    """Value and gradient of the peer by autograd: (1, dim) -> (1,), (1, dim)."""

    def evaluate(q: Tensor) -> tuple[Tensor, Tensor]:
        leaf = q[0].detach().requires_grad_(True)
        value = density(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach()[None], gradient[None]

    return evaluate


def tiers(target: Any, q: Tensor) -> Iterator[tuple[str, Evaluate]]:
    """Every tier that evaluates the program here; the last is what NUTS would use."""
    yield "eager", eager(target)
    recorded = traced(target, q)
    if recorded.tier == "traced":
        yield "traced", recorded.evaluate
    compiled = native.prepare(target, q[0])
    if not isinstance(compiled, native.Unavailable):
        yield "native", compiled.evaluate


def start(target: Any) -> Tensor:  # -> (1, dim)
    generator = torch.Generator().manual_seed(1)
    return 0.1 * torch.randn(1, target.layout.dim, dtype=torch.float64, generator=generator)


def measure(pair: Pair, repeats: int) -> Iterator[dict[str, Any]]:
    """Each tier in turn with the peer, order alternating, after two evaluations to warm up."""
    target = pair.target()
    q, peer = start(target), by_hand(pair.peer)
    for tier, ours in tiers(target, q):
        seconds: dict[str, list[float]] = {"ours": [], "peer": []}
        for repeat in range(-2, repeats):
            sides = [("ours", ours), ("peer", peer)]
            for side, evaluate in sides if repeat % 2 == 0 else reversed(sides):
                begin = time.perf_counter()
                evaluate(q)
                if repeat >= 0:
                    seconds[side].append(time.perf_counter() - begin)
        ratio = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
        yield {
            "measurement": f"{pair.name}, {tier}",
            "coordinates": target.layout.dim,
            "median_s": round(statistics.median(seconds["ours"]), 6),
            "peer_median_s": round(statistics.median(seconds["peer"]), 6),
            "ratio": round(ratio, 3),
            "target_ratio": TARGET_RATIO,
            "within_target_ratio": ratio <= TARGET_RATIO,
            "repeats": repeats,
        }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=9)
    options.add_argument("--threads", type=int, default=0, help="0 leaves torch's own number")
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    print(json.dumps(machine()))
    for pair in (lda(), irt()):
        for line in measure(pair, given.repeats):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
