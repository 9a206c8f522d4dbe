"""Printing and parsing are inverse to each other, for every tree and for texts people wrote."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quivers_nb.syntax import tree
from quivers_nb.syntax.parser import parse
from quivers_nb.syntax.printer import print_module
from tests.support.trees import DECLARATIONS, modules
from tests.syntax.samples import SAMPLES


def module_of(declaration: tree.Declaration) -> tree.Module:
    return tree.Module(declarations=(declaration,))


@pytest.mark.parametrize("kind", DECLARATIONS)
@given(data=st.data())
@settings(max_examples=15)
def test_parsing_the_printed_declaration_gives_it_back(kind: str, data: st.DataObject) -> None:
    module = module_of(data.draw(DECLARATIONS[kind]))
    assert parse(print_module(module)) == module


@given(modules)
@settings(max_examples=25)
def test_parsing_the_printed_module_gives_it_back(module: tree.Module) -> None:
    printed = print_module(module)
    assert parse(printed) == module
    assert print_module(parse(printed)) == printed


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES.keys())
def test_samples_survive_printing_and_printing_is_stable(text: str) -> None:
    module = parse(text)
    printed = print_module(module)
    assert parse(printed) == module
    assert print_module(parse(printed)) == printed


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES.keys())
def test_line_ends_and_a_missing_last_one_change_nothing(text: str) -> None:
    module = parse(text)
    assert parse(text.replace("\n", "\r\n")) == module
    assert parse(text.rstrip("\n")).declarations == module.declarations
    assert parse("\ufeff" + text) == module


def test_the_acceptance_program_is_canonical_but_for_one_pair_of_parentheses() -> None:
    text = SAMPLES["acceptance"]
    canonical = text.replace("(encoder @ decoder) >> cross", "encoder @ decoder >> cross")
    assert print_module(parse(text)) == canonical
