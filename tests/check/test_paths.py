"""Names are made once: occurrence paths, parameter paths, and how they are shared (R13)."""

from pathlib import Path

import pytest

from quivers_nb.check import check_source
from quivers_nb.check.paths import (
    child_segments,
    leaf_paths,
    module_parameter_paths,
    occurrences,
    parameter_paths,
    term_occurrences,
)
from quivers_nb.check.term import Generator, Program, Term

SEED = Path(__file__).parents[1] / "data" / "seed" / "seq2seq.qvr"
PRELUDE = """\
object X : FinSet 3
object R : Real 2
morphism e : X -> R [role=embed]
morphism f : R -> R [role=kernel] ~ Normal
morphism g : R -> R [role=kernel, replicate=2] ~ Normal
morphism cell : R * R -> R [role=kernel] ~ Normal
"""


def exported(text: str) -> Program:
    value = check_source(PRELUDE + text).exports[0].value
    assert isinstance(value, Program)
    return value


def named(text: str, name: str) -> Term:
    value = dict(check_source(PRELUDE + text).morphisms)[name]
    assert not isinstance(value, Program)
    return value


def paths(term: Term) -> list[str]:
    return [path for path, _ in leaf_paths(term)]


def test_the_seed_has_forty_owners_with_the_paths_of_the_rulings() -> None:
    program = check_source(SEED.read_text()).exports[0].value
    assert isinstance(program, Program)
    found = {o.path: o.parameter_path for o in occurrences(program)}
    assert len(found) == 40
    assert len(set(found.values())) == 40
    assert found["next_token/lm_head"] == "lm_head"
    assert found["h/backbone/cross"] == "backbone.cross"
    place = "h/backbone/@[0]/encoder/stack[0]/fan[2]/enc_head[2]"
    assert found[place] == "backbone.encoder.stack[0].enc_head[2]"
    assert found["h/backbone/@[1]/decoder/tgt_embed"] == "backbone.decoder.tgt_embed"
    kernels = [o for o in occurrences(program) if o.generator.morphism.role.value == "kernel"]
    assert len(kernels) == 38


def test_what_stands_twice_in_a_chain_is_numbered() -> None:
    assert paths(named("let h = f >> f >> g_0 >> f\n", "h")) == [
        "h/f", "h/f#2", "h/g[0]", "h/f#3",
    ]  # fmt: skip
    twice = named("let a = f >> g_1\nlet h = a >> a\n", "h")
    assert paths(twice) == ["h/a/f", "h/a/g[1]", "h/a#2/f", "h/a#2/g[1]"]


def test_a_second_stack_in_a_chain_is_numbered_and_has_parameters_of_its_own() -> None:
    term = named("let h = stack(f, 2) >> stack(f, 2)\n", "h")
    assert paths(term) == ["h/stack[0]/f", "h/stack[1]/f", "h/#2/stack[0]/f", "h/#2/stack[1]/f"]
    assert list(parameter_paths(term).values()) == [
        "h.stack[0].f", "h.stack[1].f", "h.stack[0].f#2", "h.stack[1].f#2",
    ]  # fmt: skip


def test_every_combinator_has_its_segment() -> None:
    text = "let pair = f @ e\nlet h = repeat(f, 2) >> scan(cell)\nlet k = fan(f, g_0)\n"
    assert paths(named(text, "pair")) == ["pair/@[0]/f", "pair/@[1]/e"]
    assert paths(named(text, "h")) == ["h/repeat[0]/f", "h/repeat[1]/f", "h/[t]/cell"]
    assert paths(named(text, "k")) == ["k/fan[0]/f", "k/fan[1]/g[0]"]


def test_a_let_name_directly_under_a_stack_gives_way_to_the_copy() -> None:
    text = "let block = f >> g_0\nlet h = stack(block, 2)\nlet k = stack(e >> block, 1)\n"
    assert paths(named(text, "h"))[:2] == ["h/stack[0]/f", "h/stack[0]/g[0]"]
    assert paths(named(text, "k")) == [
        "k/stack[0]/e",
        "k/stack[0]/block/f",
        "k/stack[0]/block/g[0]",
    ]


def test_two_uses_of_a_name_share_parameters_and_two_copies_do_not() -> None:
    shared = named("let a = stack(f, 2)\nlet h = a >> a >> f\n", "h")
    owners = [generator.owner for _, generator in leaf_paths(shared)]
    assert owners[0] == owners[2]
    assert owners[1] == owners[3]
    assert len(set(owners)) == 3
    nested = named("let h = stack(stack(f, 2), 2)\n", "h")
    assert len({generator.owner for _, generator in leaf_paths(nested)}) == 4


def test_repetition_shares_and_replication_does_not() -> None:
    assert len(parameter_paths(named("let h = repeat(f, 5)\n", "h"))) == 1
    fan = named("let h = fan(g)\n", "h")
    assert list(parameter_paths(fan).values()) == ["h.g[0]", "h.g[1]"]


def test_a_learned_initial_state_has_an_owner_and_a_path() -> None:
    term = named("let h = scan(cell, init=learned)\n", "h")
    assert list(parameter_paths(term).values()) == ["h.init", "h.cell"]
    assert list(parameter_paths(named("let h = scan(cell)\n", "h")).values()) == ["h.cell"]


def test_the_path_of_an_owner_is_that_of_its_first_place() -> None:
    program = exported(
        "let a = e >> f\n"
        "program p : X -> R\n"
        "    sample u <- a\n"
        "    sample v <- f(u)\n"
        "    return v\n"
        "export p\n"
    )
    assert [(o.path, o.parameter_path) for o in occurrences(program)] == [
        ("u/a/e", "a.e"), ("u/a/f", "a.f"), ("v/f", "a.f"),
    ]  # fmt: skip


def test_sites_of_a_program_that_is_a_step_stand_under_the_step() -> None:
    program = exported(
        "program sub(a) : R -> R\n"
        "    sample n <- f(a)\n"
        "    return n\n"
        "let inside = e >> sub\n"
        "program p : X -> R\n"
        "    sample z <- e\n"
        "    sample u <- sub(z)\n"
        "    sample v <- inside\n"
        "    observe _ <- f(u)\n"
        "    observe _ <- f(v)\n"
        "    return v\n"
        "export p\n"
    )
    assert [(o.path, o.step, o.parameter_path) for o in occurrences(program)] == [
        ("z/e", "z", "e"),
        ("u/n/f", "u", "f"),
        ("v/inside/e", "v", "e"),
        ("v/inside/sub/n/f", "v", "f"),
        ("_/f", "_", "f"),
        ("_#2/f", "_#2", "f"),
    ]


def test_all_exports_of_a_module_share_one_table_of_paths() -> None:
    module = check_source(PRELUDE + "let a = e >> f\nexport a\nexport f\nexport g_0\n")
    assert sorted(module_parameter_paths(module).values()) == ["a.e", "a.f", "g[0]"]


def test_an_expression_is_named_by_its_export() -> None:
    module = check_source(PRELUDE + "let a = e >> f\nexport a\nexport e >> f\n")
    first, second = module.exports
    assert [o.path for o in term_occurrences(first.value, first.key)] == ["a/e", "a/f"]  # type: ignore[arg-type]
    assert [o.path for o in term_occurrences(second.value, second.key)] == [  # type: ignore[arg-type]
        "e >> f/e", "e >> f/f",
    ]  # fmt: skip


@pytest.mark.parametrize("expression", ["f >> f", "f @ e", "fan(g)", "stack(f, 3)", "repeat(f, 3)"])
def test_segments_lead_to_the_parts_in_order(expression: str) -> None:
    term = named(f"let h = {expression}\n", "h")
    (segment, body), *_ = child_segments(term)
    assert segment == ""
    leaves = [(s, part) for s, part in child_segments(body)]
    assert len({s for s, _ in leaves}) == len(leaves)
    assert all(isinstance(part, Generator) for _, part in leaves)
