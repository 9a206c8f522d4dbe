"""Comments, docs, pragmas and blank lines stay with the statement that they belong to."""

from typing import Any

import pytest

from quivers_nb.diagnostics.errors import ParseError
from quivers_nb.syntax import tree
from quivers_nb.syntax.parser import parse
from quivers_nb.syntax.printer import print_module


def only(text: str) -> Any:
    (declaration,) = parse(text).declarations
    return declaration


def entry(key: str) -> tree.Options:
    return tree.Options((tree.OptionEntry(tree.Name(key), None),))


def test_lines_before_a_declaration_lead_it_and_one_behind_trails_it() -> None:
    found = only("\n# a\n\n#{ b\nc }#\nobject X : 3  # d\n")
    assert found.leading == ("", "# a", "", "#{ b\nc }#")
    assert found.trailing == "# d"


def test_comments_between_tokens_lead_the_statement() -> None:
    found = only("object #{ a }# X : {p, # b\n  #! c\n  q} #{ d }# # e\n")
    assert found.leading == ("#{ a }#", "# b", "#{ d }#")
    assert found.docs == ("c",)
    assert found.trailing == "# e"


@pytest.mark.parametrize(
    ("line", "doc"),
    [("#! text", "text"), ("#!text", "text"), ("#!  two words \t", "two words"), ("#!", "")],
)
def test_doc_comments_are_stripped(line: str, doc: str) -> None:
    assert only(f"{line}\nobject X : 3\n").docs == (doc,)


def test_the_longest_opener_decides_what_a_comment_is() -> None:
    module = parse("#![a]\n## plain\n#[b]\n#! doc\n# [c]\nobject X : 3\n")
    pragma, found = module.declarations
    assert isinstance(pragma, tree.PragmaLine)
    assert pragma.options == entry("a")
    assert found.pragmas == (entry("b"),)
    assert found.docs == ("doc",)
    assert found.leading == ("## plain", "# [c]")


def test_a_block_comment_ends_at_the_first_closer_and_does_not_nest() -> None:
    assert only("#{ #{ }# object X : 3\n").leading == ("#{ #{ }#",)


def test_a_hash_in_a_string_starts_no_comment() -> None:
    assert only('let f = from_data("# [x]")\n').trailing is None


def test_outer_pragmas_join_the_next_declaration_with_their_comments() -> None:
    found = only("# a\n#[p]  # b\n#[q=1]\n# c\nobject X : 3\n")
    assert [pragma.entries[0].key.text for pragma in found.pragmas] == ["p", "q"]
    assert found.leading == ("# a", "# b", "# c")


def test_trailing_pragmas_belong_to_rules_and_lexicon_entries() -> None:
    found = only(
        "deduction D : X -> Y\n    rule r : X |- Y #[a]  # b\n"
        '    lexicon\n        "w" : X = f #[c]\n'
    )
    rule, lexicon = found.entries
    assert (rule.pragmas, rule.trailing) == ((entry("a"),), "# b")
    assert lexicon.entries[0].pragmas == (entry("c"),)


def test_docs_describe_no_pragma() -> None:
    with pytest.raises(ParseError) as caught:
        parse("#! doc\n#![a]\nobject X : 3\n")
    assert caught.value.diagnostics[0].code == "Q0125"


def test_the_lines_of_a_block_have_their_own() -> None:
    text = (
        "program p : X -> X  # head\n"
        "    # first\n"
        "    marginalize z <- F  # inner head\n"
        "\n"
        "        let a = b  # leaf\n"
        "    # last\n"
        "    return a  # end\n"
    )
    program = only(text)
    (step,) = program.steps
    assert program.trailing == "# head"
    assert (step.leading, step.trailing) == (("# first",), "# inner head")
    assert (step.body[0].leading, step.body[0].trailing) == (("",), "# leaf")
    assert (program.returns.leading, program.returns.trailing) == (("# last",), "# end")
    assert print_module(parse(text)) == text


def test_comments_of_the_body_of_a_loss_move_above_it() -> None:
    found = only("# a\nloss L  # b\n    # c\n    x + y  # d\n")
    assert found.leading == ("# a", "# c", "# d")
    assert found.trailing == "# b"


def test_what_follows_the_last_declaration_stays_at_the_end() -> None:
    text = "object X : 3\n\n# end\n#! nobody's doc\n\n"
    module = parse(text)
    assert module.trailing == ("", "# end", "#! nobody's doc", "")
    assert print_module(module) == text


def test_blank_lines_are_kept_as_they_are() -> None:
    text = "object X : 3\n\n\n\nobject Y : 4\n"
    assert print_module(parse(text)) == text


def test_printing_uses_four_blanks_and_as_few_parentheses_as_can_be() -> None:
    text = (
        "program p : ((X)) -> (X * Y)\n"
        "  let   a=( b*(c) )+( -( d ) )\n"
        "  let e = (a - b) - (c - (d / e))\n"
        "  return ( a )\n"
        "let h = ((f >> g) >> (h >> (f @ g)))\n"
    )
    assert print_module(parse(text)) == (
        "program p : X -> X * Y\n"
        "    let a = b * c + -d\n"
        "    let e = a - b - (c - d / e)\n"
        "    return (a)\n"
        "let h = f >> g >> (h >> f @ g)\n"
    )
