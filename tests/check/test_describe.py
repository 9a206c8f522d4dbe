"""Terms in words: signatures, one line per site, outlines."""

from pathlib import Path

from quivers_nb.check import check_source
from quivers_nb.check.describe import LINES, outline, signature, signatures, site_lines
from quivers_nb.check.term import CheckedModule, Program

SEED = Path(__file__).parents[1] / "data" / "seed" / "seq2seq.qvr"


def program(module: CheckedModule) -> Program:
    value = module.exports[0].value
    assert isinstance(value, Program)
    return value


def test_signatures_speak_in_the_words_of_the_declarations() -> None:
    module = check_source(SEED.read_text())
    assert signature(program(module)) == "seq2seq : Source * Target -> Target"
    shown = dict(line.split(" : ") for line in signatures(module))
    assert shown["enc_head_2"] == "Latent -> HeadOut"
    assert shown["encoder"] == "Source -> Latent"
    assert shown["backbone"] == "Source * Target -> Combined"


def test_a_site_says_its_distribution_its_shape_and_whether_it_is_shared() -> None:
    module = check_source(SEED.read_text())
    assert [str(line) for line in site_lines(program(module))] == [
        "sample h ~ backbone, shape (rows, 32), one per row",
        "observe next_token ~ lm_head(h), shape (rows), one per row",
    ]


def test_sites_of_a_program_that_never_reads_its_input_have_no_rows() -> None:
    module = check_source(
        "object G : FinSet 3\n"
        "object Obs : FinSet n\n"
        "program p : Obs -> Obs\n"
        "    sample t <- HalfCauchy(5.0)\n"
        "    sample v : G <- Normal(0.0, t)\n"
        "    sample w <- Dirichlet([1.0, t])\n"
        "    let m = v[of]\n"
        "    observe y : Obs <- Normal(m, 1.0)\n"
        "    observe z <- Normal(m, t)\n"
        "    return t\n"
        "export p\n"
    )
    lines = {line.name: line for line in site_lines(program(module))}
    assert {name: line.shape for name, line in lines.items()} == {
        "t": "()", "v": "(G=3)", "w": "(2)", "y": "(Obs=n)", "z": "(…)",
    }  # fmt: skip
    assert lines["w"].distribution == "Dirichlet([1.0, t])"
    assert [name for name, line in lines.items() if line.sharing == "shared"] == ["v", "y"]
    assert [name for name, line in lines.items() if line.observed] == ["y", "z"]


def test_an_outline_is_an_indented_tree() -> None:
    lines = outline(program(check_source(SEED.read_text()))).split("\n")
    assert lines[0] == "program seq2seq : Source * Target -> Target"
    assert lines[1] == "  sample h ~ backbone"
    assert "          stack of 2 copies : Latent -> Latent" in "\n".join(lines)
    assert any("fan of 4 enc_head" in line and "Normal kernel" in line for line in lines)
    assert lines[-1] == "  return next_token"
    assert len(lines) <= LINES


def test_an_outline_has_the_plates_and_the_families_that_were_written() -> None:
    text = """\
object School : FinSet 8
object Pupil : FinSet n
object K : FinSet 3
data school : Pupil -> School
program p : School -> School
    sample w <- Dirichlet(1.0) [over=K]
    sample mu : K <- Normal(0.0, 1.0)
    marginalize c : K <- Categorical(w) [over=School]
        observe y : Pupil <- Normal(mu[c], 1.0) [via=school]
    marginalize d : Pupil <- Categorical(w)
        observe z : Pupil <- Normal(mu[d], 1.0)
    sample e <- CategoricalProbs(w)
    return mu
export p
"""
    assert outline(program(check_source(text))).split("\n")[1:] == [
        "  sample w ~ Dirichlet(1.0)",
        "  sample mu : K ~ Normal(0.0, 1.0)",
        "  marginalize c ~ Categorical(w) over School",
        "    observe y : Pupil ~ Normal(mu[c], 1.0) via school",
        "  marginalize d : Pupil ~ Categorical(w)",
        "    observe z : Pupil ~ Normal(mu[d], 1.0)",
        "  sample e ~ CategoricalProbs(w)",
        "  return mu",
    ]


def test_a_long_outline_is_cut_and_says_so() -> None:
    names = "".join(f"let a{i + 1} = a{i} >> f\n" for i in range(60))
    module = check_source(
        "object R : Real 2\nmorphism f : R -> R [role=kernel] ~ Normal\n"
        f"let a0 = f\n{names}export a60\n"
    )
    lines = outline(module.exports[0].value).split("\n")
    assert len(lines) == LINES
    assert lines[-1] == "…"


def test_every_kind_of_term_has_a_line() -> None:
    module = check_source(
        "object X : FinSet 3\n"
        "object R : Real 2\n"
        "morphism e : X -> R [role=embed]\n"
        "morphism t : X -> X [role=kernel]\n"
        "morphism cell : R * R -> R [role=kernel, param_source=linear] ~ Normal\n"
        "program p(a) : R -> R\n"
        "    score s = sum(a)\n"
        "    return (out: s)\n"
        "let tables = repeat(t, 2) >> fan(t, t) >> (t @ identity(X))\n"
        "let rnn = e >> scan(cell, init=learned) >> p\n"
        "export rnn\n"
    )
    values = dict(module.morphisms)
    tables = outline(values["tables"])
    for words in (
        "repeat 2 times",
        "fan : ",
        "side by side",
        "(Markov table)",
        "identity : X",
    ):
        assert words in tables
    rnn = outline(values["rnn"])
    for words in ("(embed)", "scan from learned : R -> R", "linear)", "program p : R -> R"):
        assert words in rnn
    assert outline(values["p"]).split("\n")[1:] == ["  score s = sum(a)", "  return out: s"]
