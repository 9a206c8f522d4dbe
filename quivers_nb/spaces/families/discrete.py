"""Families of indices and counts."""

from quivers_nb.spaces.families.common import blocks, positive, probability, real
from quivers_nb.spaces.family import Codomain, Family, Parameter, RawBlock
from quivers_nb.spaces.support import Counts, Increasing, SimplexSupport

COIN = Counts(0, 1)
INDEX = Counts(0, labels=True)
COUNT = Counts(0)
UP_TO_TOTAL = Counts(0, "total_count")
TOTAL = Parameter("total_count", Counts(0))
LOGITS = (RawBlock("logits", "d", "id"),)
ONE_LOGIT = (RawBlock("logits", "1", "id"),)

ROWS = (
    Family(
        "Bernoulli",
        (probability("probs"),),
        COIN,
        "1 with probability probs",
        kernel=ONE_LOGIT,
        kernel_family="BernoulliLogit",
        codomain=Codomain.PAIR,
    ),
    Family(
        "BernoulliLogit",
        (real("logits"),),
        COIN,
        "1 with probability sigmoid(logits)",
        kernel=ONE_LOGIT,
        codomain=Codomain.PAIR,
    ),
    Family(
        "Categorical",
        (real("logits", 1),),
        INDEX,
        "an index; the argument is read as logits unless it is simplex-typed",
        literal=False,
        kernel=LOGITS,
        kernel_family="CategoricalLogit",
        codomain=Codomain.FINITE,
    ),
    Family(
        "CategoricalLogit",
        (real("logits", 1),),
        INDEX,
        "an index with probabilities softmax(logits)",
        literal=False,
        kernel=LOGITS,
        codomain=Codomain.FINITE,
    ),
    Family(
        "CategoricalProbs",
        (Parameter("probs", SimplexSupport(), 1),),
        INDEX,
        "an index with the given probabilities",
        literal=False,
        kernel=(RawBlock("probs", "d", "softmax"),),
        codomain=Codomain.FINITE,
    ),
    Family(
        "Binomial",
        (TOTAL, probability("probs")),
        UP_TO_TOTAL,
        "successes in total_count trials",
        kernel=blocks("logits id"),
        kernel_family="BinomialLogit",
        settings=(("total_count", 1),),
    ),
    Family(
        "BinomialLogit",
        (TOTAL, real("logits")),
        UP_TO_TOTAL,
        "successes in total_count trials of probability sigmoid(logits)",
        kernel=blocks("logits id"),
        settings=(("total_count", 1),),
    ),
    Family(
        "Poisson",
        (positive("rate"),),
        COUNT,
        "a count with mean and variance rate",
        kernel=blocks("rate softplus"),
    ),
    Family(
        "PoissonLog",
        (real("log_rate"),),
        COUNT,
        "a count with mean exp(log_rate)",
        kernel=blocks("log_rate id"),
    ),
    Family(
        "Geometric",
        (probability("probs"),),
        COUNT,
        "failures before the first success",
        kernel=blocks("probs sigmoid"),
    ),
    Family(
        "NegativeBinomial",
        (positive("total_count"), probability("probs")),
        COUNT,
        "successes of probability probs before total_count failures",
        kernel=blocks("total_count softplus+", "probs sigmoid"),
    ),
    Family(
        "NegativeBinomialLog",
        (real("log_mean"), positive("concentration")),
        COUNT,
        "a count with mean m = exp(log_mean) and variance m + m^2/concentration",
        kernel=blocks("log_mean id", "concentration softplus+"),
    ),
    Family(
        "OrderedLogistic",
        (real("predictor"), Parameter("cutpoints", Increasing(), 1)),
        INDEX,
        "an ordered grade: P(Y <= j) = sigmoid(cutpoints[j] - predictor)",
        literal=False,
        kernel=(RawBlock("predictor", "1", "id"), RawBlock("cutpoints", "d-1", "ordered")),
        codomain=Codomain.FINITE,
    ),
    Family(
        "ZeroInflatedPoisson",
        (probability("zero_prob"), positive("rate")),
        COUNT,
        "0 with probability zero_prob, else a Poisson count",
        kernel=blocks("zero_prob sigmoid", "rate softplus"),
    ),
    Family(
        "HurdlePoisson",
        (probability("zero_prob"), positive("rate")),
        COUNT,
        "0 with probability zero_prob, else a positive Poisson count",
        kernel=blocks("zero_prob sigmoid", "rate softplus"),
    ),
)
