"""Tables that a program draws: latent morphisms with priors are its sites (4.2).

A table is one for all its uses, in programs inside the program as well. So the outermost program
draws it, once, before its first step; the parts of a term know only whose table they read.
"""

from dataclasses import replace

from quivers_nb.check.paths import calls, leaf_paths, parameter_paths
from quivers_nb.check.term import Generator, Program, SampleStep, Term
from quivers_nb.spaces.effect import Effect


def drawn_in(value: Program | Term) -> dict[str, Generator]:
    """The latent morphisms with priors in use, by the names of their sites, in program order.

    A table has the name of its morphism; a copy made by `stack` has its parameter path.
    """
    terms = [term for _, term in calls(value)] if isinstance(value, Program) else [value]
    paths = parameter_paths(value)
    found: dict[str, Generator] = {}
    for term in terms:
        for _, leaf in leaf_paths(term):
            if leaf.morphism.prior is not None:
                plain = leaf.owner[0] == leaf.morphism.name
                name = "_".join(map(str, leaf.owner)) if plain else paths[leaf.owner]
                found.setdefault(name.replace(".", "/"), leaf)
    return found


def with_tables(program: Program) -> Program:
    """The program as it runs by itself: the tables are drawn first."""
    if any(isinstance(step, SampleStep) and step.table is not None for step in program.steps):
        return program
    found = drawn_in(program)
    if not found:
        return program
    steps: list[SampleStep] = []
    variables, host = list(program.variables), dict.fromkeys(program.host_names)
    known = {variable.name for variable in variables}
    for name, leaf in found.items():
        prior = leaf.morphism.prior
        assert prior is not None
        span = leaf.morphism.span
        steps.append(
            SampleStep((name,), prior.source, prior.plate, row_wise=False, table=leaf, span=span)
        )
        variables.append(replace(prior.value, name=name))
        variables.extend(each for each in prior.read if each.name not in known)
        host.update(dict.fromkeys(prior.host_names))
    return replace(
        program, steps=(*steps, *program.steps), variables=tuple(variables),
        host_names=tuple(host), effects=program.effects | {Effect.SAMPLE},
    )  # fmt: skip
