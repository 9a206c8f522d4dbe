"""Sessions: what a cell gives, what is reused, what an error leaves behind."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from types import MappingProxyType

import pytest

from quivers_nb.check.term import CheckedModule
from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.errors import CompileError
from quivers_nb.diagnostics.source import SourceText, Span
from quivers_nb.session.session import KEPT, Session


@dataclass
class FakeModule:
    checked: CheckedModule
    exports: Mapping[str, object]


@dataclass
class FakeCompiler:
    """Exports one object per word of the text; refuses the word ``bad``."""

    calls: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, source: str, *, name: str) -> FakeModule:
        self.calls.append((source, name))
        text = SourceText(source, name)
        if "bad" in source:
            raise CompileError((Diagnostic("Q0000", "no", Span(0, 3)),), text)
        checked = CheckedModule(text, (), (), (), (), (), ())
        return FakeModule(checked, MappingProxyType({word: object() for word in source.split()}))


def test_a_cell_gives_its_exports_and_the_module_under_the_name_asked_for() -> None:
    result = Session(FakeCompiler()).run_cell("a b", "mine", "cell [3]")
    assert dict(result.names) == {**result.module.exports, "mine": result.module}
    assert (result.label, result.unchanged, result.warnings) == ("cell [3]", False, ())
    assert result.seconds >= 0
    assert set(Session(FakeCompiler()).run_cell("a b").names) == {"a", "b"}


def test_messages_know_the_cell_by_its_label() -> None:
    compiler = FakeCompiler()
    Session(compiler).run_cell("a", cell_label="cell [7]")
    assert compiler.calls == [("a", "cell [7]")]


def test_results_are_frozen() -> None:
    result = Session(FakeCompiler()).run_cell("a")
    with pytest.raises(FrozenInstanceError):
        result.seconds = 0.0
    with pytest.raises(TypeError):
        result.names["b"] = 1


def test_an_unchanged_cell_gives_the_same_objects_and_is_not_compiled_again() -> None:
    compiler = FakeCompiler()
    session = Session(compiler)
    first = session.run_cell("a", None, "cell [1]")
    again = session.run_cell("a", "m", "cell [2]")
    third = session.run_cell("a")
    assert again.unchanged
    assert third.unchanged
    assert not first.unchanged
    assert again.module is first.module
    assert again.name == "m"
    assert len(compiler.calls) == 1


def test_one_changed_character_compiles_again() -> None:
    session = Session(FakeCompiler())
    first, second = session.run_cell("a"), session.run_cell("a ")
    assert not second.unchanged
    assert second.module is not first.module


def test_fresh_compiles_an_unchanged_cell_and_is_what_is_kept() -> None:
    session = Session(FakeCompiler())
    first = session.run_cell("a")
    fresh = session.run_cell("a", fresh=True)
    assert fresh.module is not first.module
    assert session.run_cell("a").module is fresh.module


def test_a_refused_cell_leaves_the_session_as_it_was() -> None:
    compiler = FakeCompiler()
    session = Session(compiler)
    result = session.run_cell("a")
    session.bind(result, {})
    bound = dict(session.bound)
    for _ in range(2):
        with pytest.raises(CompileError):
            session.run_cell("bad")
    assert dict(session.bound) == bound
    assert session.run_cell("a").unchanged
    assert len(compiler.calls) == 3  # a refused cell is not remembered


def test_only_the_latest_cells_are_kept_and_using_one_again_makes_it_late() -> None:
    session = Session(FakeCompiler())
    session.run_cell("first")
    for i in range(KEPT - 1):
        session.run_cell(f"x{i}")
    assert session.run_cell("first").unchanged  # now the latest
    session.run_cell("one_more")
    assert session.run_cell("first").unchanged
    assert not session.run_cell("x0").unchanged


def test_binding_remembers_only_what_was_bound() -> None:
    session = Session(FakeCompiler())
    result = session.run_cell("a b sum")
    binding = session.bind(result, {"b": 1})
    assert set(binding.names) == set(session.bound) == {"a"}
    assert [refusal.name for refusal in binding.refused] == ["b", "sum"]


def test_a_cell_may_replace_what_an_earlier_cell_bound_but_not_what_the_user_put_there() -> None:
    session = Session(FakeCompiler())
    space: dict[str, object] = {}
    space.update(session.bind(session.run_cell("a b"), space).names)
    space["b"] = "the user's"
    second = session.run_cell("b a")
    binding = session.bind(second, space)
    assert dict(binding.names) == {"a": second.module.exports["a"]}
    assert [refusal.name for refusal in binding.refused] == ["b"]
