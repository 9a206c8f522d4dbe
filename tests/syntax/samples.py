# ruff: noqa: E501
"""Programs of every form, as people write them."""

SAMPLES: dict[str, str] = {
    "acceptance": r"""
object Source : FinSet 32
object Target : FinSet 32
object Latent : Real 16
object HeadOut : Real 4
object FFHidden : Real 32
object Combined : Real 32
morphism src_embed : Source -> Latent [role=embed]
morphism tgt_embed : Target -> Latent [role=embed]
morphism enc_head : Latent -> HeadOut [role=kernel, replicate=4, scale=0.1] ~ Normal
morphism enc_attn_proj : Latent -> Latent [role=kernel, scale=0.1] ~ Normal
morphism enc_residual_attn : Latent -> Latent [role=kernel, scale=0.01] ~ Normal
morphism enc_ff_up : Latent -> FFHidden [role=kernel] ~ Normal
morphism enc_ff_down : FFHidden -> Latent [role=kernel, scale=0.1] ~ Normal
morphism enc_residual_ff : Latent -> Latent [role=kernel, scale=0.01] ~ Normal
morphism dec_head : Latent -> HeadOut [role=kernel, replicate=4, scale=0.1] ~ Normal
morphism dec_attn_proj : Latent -> Latent [role=kernel, scale=0.1] ~ Normal
morphism dec_residual_attn : Latent -> Latent [role=kernel, scale=0.01] ~ Normal
morphism dec_ff_up : Latent -> FFHidden [role=kernel] ~ Normal
morphism dec_ff_down : FFHidden -> Latent [role=kernel, scale=0.1] ~ Normal
morphism dec_residual_ff : Latent -> Latent [role=kernel, scale=0.01] ~ Normal
morphism cross : Combined -> Combined [role=kernel, scale=0.1] ~ Normal
morphism lm_head : Combined -> Target [role=kernel] ~ Categorical
let enc_block = fan(enc_head) >> enc_attn_proj >> enc_residual_attn >> enc_ff_up >> enc_ff_down >> enc_residual_ff
let dec_block = fan(dec_head) >> dec_attn_proj >> dec_residual_attn >> dec_ff_up >> dec_ff_down >> dec_residual_ff
let encoder = src_embed >> stack(enc_block, 2)
let decoder = tgt_embed >> stack(dec_block, 2)
let backbone = (encoder @ decoder) >> cross
program seq2seq : Source * Target -> Target
    sample h <- backbone
    observe next_token : Target <- lm_head(h)
    return next_token
export seq2seq
""".removeprefix("\n"),
    "user_defined_composition": r"""
composition viterbi_like as algebra
    tensor_op(a, b) = a + b
    join(t) = max(t)
    unit = 0.0
    zero = -1000000.0
""".removeprefix("\n"),
    "contraction": r"""
object User : FinSet 5
object Item : FinSet 7
object Topic : FinSet 3
morphism taste : User -> Topic [role=latent]
morphism about : Item -> Topic [role=latent]
contraction affinity (u : User -> Topic, i : Item -> Topic) : User -> Item [rule=real]
let fit = affinity(taste, about)
export fit
""".removeprefix("\n"),
    "rainfall": r"""
object Site : FinSet 6
object Obs : FinSet 40
program rainfall : Obs -> Obs [effects=[Sample, Score]]
    sample spread <- HalfCauchy(2.0)
    sample level : Site <- Normal(0.0, spread)
    let mu = level[site_of]
    observe mm : Obs <- Normal(mu, 1.5)
    return level
export rainfall
""".removeprefix("\n"),
    "milk": r"""
object Herd : FinSet 9
object Cow : FinSet 300
program offsets(Level : FinSet, width : Real) : Level -> Level
    sample sd <- HalfNormal(width)
    sample eff : Level <- Normal(0.0, sd)
    return eff
program milk : Cow -> Cow
    sample by_herd <- offsets(Herd, 2.0)
    sample by_cow <- offsets(Cow, 0.5)
    let mu = by_herd[herd_of] + by_cow
    observe liters : Cow <- Normal(mu, 1.0)
    return by_herd
export milk
""".removeprefix("\n"),
    "lil": r"""
object Tok : FinSet 8
deduction Lil : Tok -> Tok [semiring=LogProb, start=S, depth=3]
    atoms S, NP, V, Bwd, span, mia, sings
    rule apply : span(I, K, A), span(K, J, Bwd(B, A)) |- span(I, J, B) #[learnable]
    lexicon
        "mia" : NP = mia
        "sings" : Bwd(S, NP) = sings #[learnable]
""".removeprefix("\n"),
    "everything": r"""
#![edition=1, strict]

# A line comment, then a blank line.

#! Codes of the study.
#! Two lines of docs.
#[drafted, by="someone"]
object Site : {north, south, east,
    west,  # a comment inside a list
}
object Wide : Real 2 3 [low=-1.0, high=1e2] * Site  #{ trailing block }#
object Sum : 3 + FinSet n + (A + B)
object Word : FreeMonoid(G, max_length=2)
object Cat : FreeResiduated(E, depth=2, ops=[slash, product])
object Pattern : S / NP \ (N * M) / F(X, 2)
category N, NP, S
rule forward(X, Y) : X / Y, Y => X
schema raise(X, Y : K, Z : L * L) : X -> Y \ (Y / X)
bundle ccg_rules = [forward, raise]
bundle nothing = []
data x_design : Resp -> Real 3 [low=0.0]
#{ A block comment
   over two lines }#
morphism f : X -> Real 2 [low=0.0] [role=kernel, over=[dom, cod], n=-1, g=attention(4, heads=2), flag] ~ Normal
morphism g : X -> X [] ~ MixtureNormal([0.0, 1.0], loc=mu[i, j], sub=Normal(-1.5, 0.3))
morphism h : X -> X [role=observed] ~ from_data("w").dagger
contraction c (a : X -> Y, b : Y -> Z) : X -> Z [rule=real, wiring="ab,bc->ac"]
let a = f >> g @ h >=> k << l *> m ~> n ||> o ?> p &&> q +> r $> s %> t
let b = (f >> g).dagger.marginalize(A, B).change_base(softmax(Y) >>> expectation).trace(X).freeze
let c2 = fan(f, g >> h, stack(f, 3)) >> repeat(f) >> repeat(g, 2) >> scan(cell) >> scan(cell, init=learned)
let d = identity(X) @ cup(X) @ cap(X) @ affinity(u, v) @ tmpl(Herd, -2.0)
let e = parser(rules=[a, b], terminal=T, depth=3) >> chart_fold(lex=f >> g, start=S, depth=2)
let w = p >> q where
    let p = f.curry_right
    # a comment in the block
    let q = r where
        let r = g.curry_left
program tmpl(G : FinSet, S : Space, o : Object, s : Real, n : Nat, k : Mor[X, Real 2 [low=0.0]]) : X -> (Real 2 [low=0.0])
    return (u)
program everything(x, y,) : X * Y -> Z [effects=[Sample, Score]]
    # before the first step
    sample u <- backbone
    sample (v, w) : A * B <- F(1.0, -2, m, n[i, j], [a, [b]], loc=mu, G()) [over=A]  # at the end

    sample [t] <- lm_head(u)
    observe z : Real 2 [low=0.0] <- Normal(u, s) [via=idx, per=row]
    marginalize c : K <- Categorical(p) [over=G, reduction=mean]
        observe y2 : G <- Normal(mu[c], 1.0)
        marginalize d <- Bernoulli(0.5)
            score sc = log(0.5)
    let r = -a * 3.0 - (b - -c) / (d / e) + f(g[i, j + 1], "s", []) + v.m(1, x -> x + 1)
    let l = fold(xs, 0.0, acc -> x -> acc + x)
    let k = factor i : A, j : B / C in sd[i] * factor
    let q = factor i : A in { 0 -> 1.0, 1 -> -(-b), }
    return (first: u, second: v)
composition viterbi_like as algebra
    tensor_op(a, b) = a + b

    unit = 0.0
composition real
deduction Lil : Tok -> Tok [semiring=LogProb, start=S]
    atoms S, NP
    binders Lam
    rule apply : span(I, K, A), span(K, J, Bwd(B, A)) |- span(I, J, B) #[learnable, parent=zip]  # why
    rule other : X ⊢ Y
    lexicon
        "mia" : NP = mia
        "\"q\"" : {NP, S} = Lam(x, f(x)) #[learnable]
        "any" : * = mia
    lexicon from "file.tsv" [learnable]
signature Sig(a, b)
    sorts
        T : object [dim=4]
        D : data [vocab=["a", 1, 2.5]]
    constructors
        zero : -> T
        pair : T, D -> T
    binders
        lam : binds (x : T : ty : T, y : T) in (body : T) -> T
    vertex_kinds
        V : object
    edge_kinds
        e : V -> V
        f : V -- V
encoder E : Sig(p) [factory=rnn_encoder]
encoder F : Sig
    dim T = 8
    iterations 3
    init V(x) |-> x
    message[e](s, t) |-> s + t
    update[V](self, msgs) |-> tanh(self + msgs)
    readout |-> sum(embeds)
    var_init T from D as ty |-> ty
    var_init D |-> 0.0
    pair(h, t) recurrent s |-> s
    list(h, t) attention p |-> p
    dim(a) |-> a
    zero |-> 0.0
decoder D over Sig(q) [depth=4]
    dim T = 8
    body |-> recursive
    structure(v) |-> v
    factor(v) |-> v
loss L [weight=0.5, on=encoder(E)]
    # explained
    kl(a, b) * 2.0  # at its end
export everything
# the end

""".removeprefix("\n"),
}
