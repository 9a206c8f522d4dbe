"""The words of the language that nobody declares, each in a sentence and an example.

An example is a declaration, or a piece of one: a step, an expression, an object, an option. Law
(``tests/session/test_words.py``): every word that the grammar, the spaces, the roles, the options
and the measure operators know is here, and every example can be parsed.
"""

from collections.abc import Mapping

Explained = Mapping[str, tuple[str, str]]

DEDUCTION = """deduction d : Form -> Cat
    atoms A, B
    binders x
    rule app : A, B |- A
    lexicon
        "word" : A = 1.0"""
SIGNATURE = """signature Syntax
    sorts
        Term : data
    constructors
        pair : Term, Term -> Term
    binders
        lam : binds (x : Term) in (body : Term) -> Term"""
GRAPH = """signature Net
    vertex_kinds
        Atom : data
    edge_kinds
        bond : Atom -- Atom"""
ENCODER = """encoder e : Syntax
    dim Term = 8
    var_init x |-> x
    pair(a, b) |-> add(a, b)
    lam(x, body) recurrent body |-> body"""
MESSAGES = """encoder g : Net
    dim Atom = 8
    iterations 3
    init Atom(v) |-> v
    message[bond](u, v) |-> u
    update[Atom](v, m) |-> v + m
    readout |-> total"""
DECODER = """decoder d over Syntax
    dim Term = 8
    structure(h) |-> h
    primitive(h) |-> h
    factor(h) |-> h
    binder_select(h) |-> h
    body |-> recursive"""
COMPOSITION = "composition markov as algebra"

DECLARATIONS: Explained = {
    "object": ("names a finite set or a space", "object Latent : Real 16"),
    "morphism": (
        "declares a map between objects; its role says how, and learned weights belong to it",
        "morphism f : A -> B [role=kernel] ~ Normal",
    ),
    "bundle": ("names several morphisms together", "bundle heads = [h1, h2]"),
    "let": (
        "names a morphism expression, or in a program a value computed from others",
        "let h = f >> g",
    ),
    "where": (
        "gives an expression names of its own, which nothing else sees",
        "let h = inner >> g where\n    let inner = f >> f",
    ),
    "program": (
        "declares a probabilistic program: steps that draw, observe and compute, and a return",
        "program p : A -> B\n    sample b <- f\n    return b",
    ),
    "data": (
        "declares values that the host passes in, with their axes and their kind",
        "data age : Person -> Real 1",
    ),
    "export": ("makes a program or a morphism an object of the host", "export p"),
    "composition": (
        "says how relations compose: the algebra of the declarations below it",
        COMPOSITION,
    ),
    "as": ("after a composition, claims which level of laws it keeps", COMPOSITION),
    "contraction": (
        "names a way to sum several relations over what they share",
        "contraction c(f : A -> B, g : B -> C) : A -> C [rule=real]",
    ),
    "category": ("declares names of categories for rules", "category N, S"),
    "rule": ("says what categories make together; in a deduction, what items do", DEDUCTION),
    "schema": ("a rule for all categories of a shape", "schema app(X, Y : Cat) : X / Y -> X"),
    "deduction": ("declares weighted inference rules over items", DEDUCTION),
    "signature": ("declares sorts and constructors of terms, or of graphs", SIGNATURE),
    "encoder": ("maps the terms or graphs of a signature to vectors", ENCODER),
    "decoder": ("maps vectors to the terms of a signature", DECODER),
    "loss": ("names an objective that is computed from others", "loss total\n    a + b"),
}
STEPS: Explained = {
    "sample": (
        "draws a value; after a colon, one per element of an object",
        "sample level : Site <- Normal(0.0, 1.0)",
    ),
    "observe": (
        "says that a value which will be given was drawn so",
        "observe y : Obs <- Normal(mu, 1.0)",
    ),
    "marginalize": (
        "sums a finite value out of its block; after a colon, one per element of an object. "
        "Chains may exchange the classes of a mixture, which a bad R-hat shows: order them, "
        "`let mu = low + cumsum(gap)` with `sample gap : K <- HalfNormal(5.0)`, or give all chains "
        "the same `init_values=`",
        "marginalize z : Obs <- Categorical(w)\n    observe y : Obs <- Normal(mu[z], 1.0)",
    ),
    "score": ("adds a number to the log density", "score penalty = -1.0 * w * w"),
    "return": ("says what a run of the program gives", "return mu"),
    "factor": (
        "computes a value for every element of an object; in a decoder, of a factor",
        "let t = factor i : A in exp(w[i])",
    ),
    "in": ("stands between what a factor or a binder runs over and what it computes",
           "let t = factor i : A in exp(w[i])"),
}  # fmt: skip
BODIES: Explained = {
    "atoms": ("names the simplest items of a deduction", DEDUCTION),
    "lexicon": ("gives words their items and weights, here or from a file", DEDUCTION),
    "from": ("names the file or the place that something is taken from",
             'deduction d : Form -> Cat\n    lexicon from "words.csv"'),
    "sorts": ("names the kinds of terms", SIGNATURE),
    "constructors": ("names what builds terms, with the sorts of its parts", SIGNATURE),
    "binders": ("names what binds variables", SIGNATURE),
    "binds": ("names the variables that a binder binds", SIGNATURE),
    "vertex_kinds": ("names the kinds of vertices of a graph", GRAPH),
    "edge_kinds": ("names the kinds of edges, `->` with a direction, `--` without", GRAPH),
    "dim": ("says how long the vectors of a sort are", ENCODER),
    "var_init": ("says which vector a bound variable begins with", ENCODER),
    "recurrent": ("hands a state from one part of a term to the next", ENCODER),
    "attention": ("weighs parts by how well they fit: of a term, or as a source of parameters",
                  ENCODER.replace("recurrent", "attention")),
    "iterations": ("says how often vertices exchange messages", MESSAGES),
    "init": ("says which vector a vertex begins with", MESSAGES),
    "message": ("says what goes along an edge", MESSAGES),
    "update": ("says what a vertex becomes by its messages", MESSAGES),
    "readout": ("says what a whole graph becomes", MESSAGES),
    "over": ("names the signature of a decoder; as an option, the axes of an event", DECODER),
    "structure": ("says how a decoder chooses a constructor", DECODER),
    "primitive": ("says how a decoder chooses a primitive", DECODER),
    "binder_select": ("says how a decoder chooses a variable", DECODER),
    "body": ("says how a decoder goes on", DECODER),
    "recursive": ("as the body of a decoder: into the parts", DECODER),
}  # fmt: skip
OBJECTS: Explained = {
    "FinSet": ("a finite set: the indices from 0; a name is a size that data fix", "FinSet 3"),
    "Real": ("vectors of so many numbers, which may have bounds", "Real 2 [low=0.0, high=1.0]"),
    "Simplex": ("vectors of so many positive numbers that sum to one", "Simplex 3"),
    "Sphere": ("vectors of length one", "Sphere 3"),
    "Ball": ("vectors of length at most a radius, 1 unless it is given", "Ball 3 [radius=2.0]"),
    "CholeskyFactor": ("Cholesky factors of correlation matrices", "CholeskyFactor 3"),
    "Covariance": ("symmetric positive definite matrices", "Covariance 3"),
    "Correlation": ("positive definite matrices with ones on the diagonal", "Correlation 3"),
    "Orthogonal": ("matrices whose transpose is their inverse", "Orthogonal 3"),
    "Stiefel": ("matrices with orthonormal columns: rows, then columns", "Stiefel 4 2"),
    "LowerTriangular": ("matrices with zeros above the diagonal", "LowerTriangular 3"),
    "Diagonal": ("the diagonals of diagonal matrices", "Diagonal 3"),
    "FreeMonoid": ("words over a finite set, of a greatest length",
                   "FreeMonoid(G, max_length=3)"),
    "FreeResiduated": ("categories over the labels of an enumeration, closed under slashes",
                       "FreeResiduated(Atom, depth=1, ops=[slash])"),
    "*": ("of objects, pairs; of numbers, their product", "A * B"),
    "+": ("of finite sets, either; of numbers, their sum", "A + B"),
    "->": ("from a domain to a codomain", "morphism f : A -> B [role=kernel] ~ Normal"),
}  # fmt: skip
EXPRESSIONS: Explained = {
    "fan": ("runs morphisms on one input and puts their outputs side by side", "fan(f, g)"),
    "repeat": ("runs one morphism several times, always with the same weights", "repeat(f, 3)"),
    "stack": ("runs copies of a morphism in a row, each with weights of its own", "stack(f, 3)"),
    "scan": ("runs a cell along a sequence and hands its state on", "scan(cell, init=learned)"),
    "identity": ("hands its input on", "identity(A)"),
    "cup": ("makes a pair of equal elements from nothing", "cup(A)"),
    "cap": ("tests whether the elements of a pair are equal", "cap(A)"),
    "from_data": ("a table of weights by name: of Python variables, or of `data` when loading",
                  'morphism t : A -> B [role=observed] ~ from_data("counts")'),
    "dagger": ("turns a relation around", "f.dagger"),
    "trace": ("feeds an output of a relation back as an input", "f.trace(A)"),
    "change_base": ("carries a relation over to another algebra", "f.change_base(expectation)"),
    "curry_right": ("moves the last input of a relation to its output", "f.curry_right"),
    "curry_left": ("moves the first input of a relation to its output", "f.curry_left"),
    "freeze": ("a copy whose weights are not learned", "f.freeze"),
    ">>": ("runs the left morphism, then the right one on its output", "f >> g"),
    "<<": ("runs the right morphism, then the left one on its output", "g << f"),
    "@": ("runs two morphisms side by side on a pair", "f @ g"),
}  # fmt: skip
ROLES: Explained = {
    "role": ("says what a morphism is: kernel, latent, observed, embed, discretize or let",
             "role=kernel"),
    "kernel": ("the role of a conditional distribution with learned weights", "role=kernel"),
    "latent": ("the role of a table whose entries are learned; with a prior, a site of programs",
               "morphism t : A -> B [role=latent, over=cod] ~ Dirichlet(1.0)"),
    "observed": ("the role of a table that is given, read as a finite kernel",
                 'morphism t : A -> B [role=observed] ~ from_data("counts")'),
    "embed": ("the role that gives every element of a finite set a noisy place in a space",
              "role=embed"),
    "discretize": ("the role that puts numbers between two bounds into bins",
                   "role=discretize, bins=8"),
    "replicate": ("declares so many morphisms `NAME_0`, … and the group of them", "replicate=4"),
    "scale": ("the standard deviation that raw entries of a relation begin with", "scale=0.5"),
    "iid": ("the axes along which values are independent; the same as iid_over", "iid=A"),
    "iid_over": ("the axes along which values are independent", "iid_over=A"),
    "hidden_dim": ("the width of the hidden layers of a kernel's network", "hidden_dim=64"),
    "param_source": ("what computes a kernel's parameters from its input", "param_source=linear"),
    "bins": ("the number of bins of a discretize morphism", "bins=8"),
    "lookup": ("the source of parameters that is a table: one row per element",
               "param_source=lookup"),
    "mlp": ("the source of parameters that is a network, with the widths of its layers",
            "param_source=mlp(64, 64)"),
    "linear": ("the source of parameters that is one linear map", "param_source=linear"),
}  # fmt: skip
MEASURES: Explained = {
    "PointMass": ("all mass at one value", "PointMass(mu)"),
    "Restrict": ("a distribution between bounds, without what lies outside",
                 "Restrict(Normal(mu, 1.0), 0.0)"),
    "Truncate": ("the same as Restrict", "Truncate(Normal(mu, 1.0), 0.0, 2.0)"),
    "Normalize": ("a measure whose mass is made one", "Normalize(Restrict(Normal(mu, 1.0), 0.0))"),
    "Mixture": ("one of several distributions, by their weights",
                "Mixture([0.3, 0.7], [Normal(a, 1.0), Normal(b, 1.0)])"),
    "Pushforward": ("the distribution of a function of a draw",
                    "Pushforward(Normal(mu, 1.0), Exp)"),
    "Independent": ("takes the last axes of draws as one event", "Independent(Normal(mu, 1.0), 1)"),
}  # fmt: skip

WORDS: Explained = {
    **ROLES, **EXPRESSIONS, **MEASURES, **OBJECTS, **BODIES, **STEPS, **DECLARATIONS,
}  # fmt: skip
