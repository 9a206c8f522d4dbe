"""The grammar has no conflicts, and the table that is shipped is the grammar's."""

import json
import subprocess
import sys

import pytest
from lark.exceptions import GrammarError

from quivers_nb.syntax.build import GRAMMAR, TABLE, analyse, digest, dumps, make_table
from quivers_nb.syntax.machine import table
from quivers_nb.syntax.rules import CONSTRUCTORS


def test_the_grammar_has_no_conflict() -> None:
    analyse(GRAMMAR.read_text("utf-8"))


def test_a_grammar_with_a_conflict_is_refused() -> None:
    ambiguous = GRAMMAR.read_text("utf-8").replace(
        "obj_name: NAME\n", "obj_name: NAME | NAME options\n"
    )
    with pytest.raises(GrammarError):
        analyse(ambiguous)


def test_the_table_is_that_of_the_grammar() -> None:
    grammar = GRAMMAR.read_text("utf-8")
    assert json.loads(TABLE.read_text("utf-8"))["digest"] == digest(grammar)
    assert TABLE.read_text("utf-8") == dumps(make_table(grammar))


def test_every_rule_has_a_constructor_and_every_constructor_a_rule() -> None:
    rules = json.loads(TABLE.read_text("utf-8"))["rules"]
    actions = {
        action
        for _, action, _, plan, collapse in rules
        if not action.startswith("_") and not (collapse and len(plan) == 1)
    }
    assert actions == set(CONSTRUCTORS)


def test_only_the_end_goes_nowhere() -> None:
    assert [state for state, row in enumerate(table().actions) if not row] == [table().end]


def test_parsing_needs_neither_lark_nor_torch() -> None:
    program = (
        "import sys; from quivers_nb.syntax.parser import parse; parse('object X : 3');"
        "print(sorted({'lark', 'torch', 'numpy', 'IPython'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"
