"""Which latents of a program meet in a term of its density: all that structured guides need."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from quivers_nb.check import term as ir
from quivers_nb.check.term import Variable
from quivers_nb.check.variables import source_variables, variables
from quivers_nb.lower.frame import CompiledProgram

Scope = frozenset[str]  # names of latents
NOTHING: Scope = frozenset()


@dataclass(frozen=True, slots=True)
class _Sites:
    latents: Scope
    observed: Scope


def meetings(
    compiled: CompiledProgram, latents: Collection[str], observed: Scope
) -> dict[str, Scope]:
    """For each latent the others that stand in a term together with it.

    A term is that of a site or of an observation, or a score; a block of `marginalize` is one, and
    so is a program that is a step, with all sites inside. Lets are seen through.
    """
    found: dict[str, set[str]] = {name: set() for name in latents}
    for scope in _scopes(compiled, _Sites(frozenset(latents), observed), "", {}):
        for one, other in combinations(sorted(scope), 2):
            found[one].add(other)
            found[other].add(one)
    return {name: frozenset(others) for name, others in found.items()}


def _scopes(
    compiled: CompiledProgram, sites: _Sites, prefix: str, known: Mapping[str, Scope]
) -> Iterator[Scope]:
    """The latents of each term; ``known`` says which stand behind a name."""
    names = dict(known)
    for index, step in enumerate(compiled.steps):
        match step:
            case ir.LetStep():
                names[step.name] = _behind(variables(step.value), names)
            case ir.ScoreStep():
                names[step.name] = _behind(variables(step.value), names)
                yield names[step.name]
            case ir.SampleStep():
                read = _behind(source_variables(step.source), names)
                own = _own(compiled, index, step, sites, prefix)
                names.update(dict.fromkeys(step.names, _value(step, own, read, sites, prefix)))
                yield read | own
            case ir.ObserveStep():
                names[step.name] = NOTHING
                yield _behind(source_variables(step.source), names)
            case ir.MarginalizeStep():
                read = _behind(source_variables(step.source), names)
                body = compiled.blocks[index]
                inner = _scopes(body, sites, prefix, {**names, step.name: read})
                yield read.union(*inner)


def _behind(read: Collection[Variable], names: Mapping[str, Scope]) -> Scope:
    return NOTHING.union(*(names.get(variable.name, NOTHING) for variable in read))


def _own(
    compiled: CompiledProgram, index: int, step: ir.SampleStep, sites: _Sites, prefix: str
) -> Scope:
    """The latents that a step draws: its own site, or those of the program that it calls."""
    if index in compiled.subs:
        inside = f"{prefix}{step.names[0]}/"
        return frozenset(name for name in sites.latents if name.startswith(inside))
    return sites.latents & {prefix + "_".join(step.names)}


def _value(step: ir.SampleStep, own: Scope, read: Scope, sites: _Sites, prefix: str) -> Scope:
    """What stands behind the value of a step: its site; nothing if it is given; else all it reads.

    Sites that are summed or bind a deterministic value are of the last kind.
    """
    name = prefix + "_".join(step.names)
    if name in sites.observed or all(prefix + part in sites.observed for part in step.names):
        return NOTHING
    return own if own == {name} else own | read
