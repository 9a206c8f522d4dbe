"""Grammar to parse table: ``python -m quivers_nb.syntax.build`` writes ``table.json``.

lark reads the grammar and computes the LALR(1) tables; here they become plain JSON, so that
parsing needs neither lark nor a pickle. A test builds the table again and compares.

The table has four keys. ``digest``: hash of the grammar it was made from. ``rules``: one
``[origin, action, size, plan, collapse]`` each, where ``plan`` lists the children to keep as
``position`` (one child), ``[position]`` (a list to splice in) or ``null`` (an absent option).
``rows``: the distinct rows of the action table, terminal to ``n >= 0`` (go to state n) or
``-1 - r`` (reduce by rule r). ``states``: per state ``[row, gotos]``, the start being state 0.
``end`` is the state in which the whole module has been read.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lark import Lark
from lark.grammar import Rule, Symbol, Terminal
from lark.lexer import Lexer, LexerState, PatternStr, Token
from lark.parsers.lalr_analysis import IntParseTable, LALR_Analyzer, Shift

HERE = Path(__file__).parent
GRAMMAR = HERE / "grammar.lark"
TABLE = HERE / "table.json"

Plan = list[int | list[int] | None]


class _NoLexer(Lexer):
    """Tokens come from `quivers_nb.syntax.layout`; lark only needs to know that it makes none."""

    def __init__(self, _conf: object) -> None: ...

    def lex(self, _state: LexerState, _parser_state: Any) -> Iterator[Token]:
        return iter(())


def analyse(grammar: str) -> tuple[IntParseTable, dict[str, str]]:
    """The LALR table of ``grammar`` and the spelling of each terminal.

    Raises `lark.exceptions.GrammarError` on any conflict: lark by itself settles
    shift/reduce conflicts silently.
    """
    lark = Lark(grammar, parser="lalr", lexer=_NoLexer, start="module", maybe_placeholders=True)
    analyzer = LALR_Analyzer(lark.parser.parser_conf, strict=True)
    analyzer.compute_lalr()  # type: ignore[no-untyped-call]  # lark leaves it untyped
    spelling = {
        t.name: t.pattern.value for t in lark.terminals if isinstance(t.pattern, PatternStr)
    }
    table = analyzer.parse_table
    assert isinstance(table, IntParseTable)
    return table, spelling


def plan_of(rule: Rule) -> Plan:
    """Which children a rule hands to its constructor, with a None for each absent option."""
    gaps = "".join(str(int(b)) for b in rule.options.empty_indices) or "0" * len(rule.expansion)
    before = [len(ones) for ones in gaps.split("0")]
    plan: Plan = []
    for position, symbol in enumerate(rule.expansion):
        plan += [None] * before[position]
        if not (isinstance(symbol, Terminal) and symbol.filter_out):
            plan.append([position] if _is_spliced(symbol) else position)
    return plan + [None] * before[len(rule.expansion)]


def _is_spliced(symbol: Symbol) -> bool:
    return not symbol.is_term and symbol.name.startswith("_")


def make_table(grammar: str) -> dict[str, Any]:
    """The JSON content of ``table.json`` for a grammar text."""
    table, spelling = analyse(grammar)
    order = _breadth_first(table)
    number = {state: n for n, state in enumerate(order)}
    rules: dict[Rule, int] = {}
    rows: dict[str, int] = {}
    states = []
    for state in order:
        row: dict[str, int] = {}
        gotos: dict[str, int] = {}
        for symbol, (action, argument) in sorted(table.states[state].items()):
            if action is not Shift:
                row[spelling.get(symbol, symbol)] = -1 - rules.setdefault(argument, len(rules))
            elif _is_terminal(symbol):
                row[spelling.get(symbol, symbol)] = number[argument]
            else:
                gotos[symbol] = number[argument]
        states.append([rows.setdefault(json.dumps(row), len(rows)), gotos])
    return {
        "digest": digest(grammar),
        "end": number[table.end_states["module"]],
        "rules": [_rule_entry(rule) for rule in rules],
        "rows": [json.loads(row) for row in rows],
        "states": states,
    }


def _breadth_first(table: IntParseTable) -> list[int]:
    """States from the start, in an order that does not depend on hashing as lark's does."""
    order = [table.start_states["module"]]
    seen = set(order)
    for state in order:
        for _, (action, argument) in sorted(table.states[state].items()):
            if action is Shift and argument not in seen:
                seen.add(argument)
                order.append(argument)
    return order


def _is_terminal(symbol: str) -> bool:
    return symbol.isupper() or symbol.startswith("$")


def _rule_entry(rule: Rule) -> list[Any]:
    origin = rule.origin.name
    collapse = bool(rule.options.expand1 and rule.alias is None)
    return [origin, rule.alias or origin, len(rule.expansion), plan_of(rule), collapse]


def digest(grammar: str) -> str:
    """What ties a table to its grammar."""
    return hashlib.sha256(grammar.encode()).hexdigest()[:16]


def dumps(table: dict[str, Any]) -> str:
    """One rule, row or state per line, so that a diff shows what changed."""
    parts = []
    for key, value in table.items():
        if isinstance(value, list):
            lines = ",\n".join(json.dumps(v, separators=(",", ":")) for v in value)
            parts.append(f'"{key}":[\n{lines}\n]')
        else:
            parts.append(f'"{key}":{json.dumps(value)}')
    return "{" + ",\n".join(parts) + "}\n"


def main() -> None:
    """Write the table next to the grammar."""
    TABLE.write_text(dumps(make_table(GRAMMAR.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
