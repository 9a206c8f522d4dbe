"""The built-in functions of let expressions, as data (section 7.7, R8)."""

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What a built-in does to own axes."""

    POINT = "acts on each number"
    KEEP = "acts along the last axis and keeps it"
    REDUCE = "reduces the last axis"
    LIST = "runs over the items of a list, or over the first axis"
    MATRIX = "acts on matrices"
    DEDUCTION = "works on deductions"


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function: how many arguments it takes at least and at most, and what it does."""

    name: str
    least: int
    most: int
    action: Action
    simplex: bool = False
    discrete: bool = False

    @property
    def arity(self) -> str:
        """The number of arguments in words."""
        if self.most >= MANY:
            return f"at least {self.least} argument" + ("s" if self.least > 1 else "")
        if self.least == self.most:
            return f"{self.least} argument" + ("s" if self.least > 1 else "")
        return f"{self.least} to {self.most} arguments"


MANY = 1_000


def _rows(text: str, least: int, most: int, action: Action) -> list[Builtin]:
    return [Builtin(name, least, most, action) for name in text.split()]


_UNARY = (
    "relu relu6 selu gelu silu swish mish hardsigmoid hardswish softsign tanh tanhshrink sigmoid "
    "logsigmoid exp expm1 log log1p log2 log10 sqrt rsqrt square abs neg sign reciprocal sin cos "
    "tan asin acos atan sinh cosh tanh asinh acosh atanh floor ceil round trunc erf erfc erfinv "
    "lgamma digamma"
)

BUILTINS: dict[str, Builtin] = {
    row.name: row
    for row in [
        *_rows(_UNARY, 1, 1, Action.POINT),
        *_rows("leaky_relu elu celu hardshrink softplus softshrink", 1, 2, Action.POINT),
        *_rows("dropout alpha_dropout", 1, 2, Action.POINT),
        *_rows("rrelu hardtanh", 1, 3, Action.POINT),
        *_rows("prelu pow lt gt le ge eq", 2, 2, Action.POINT),
        *_rows("clamp threshold where", 3, 3, Action.POINT),
        Builtin("softmax", 1, 1, Action.KEEP, simplex=True),
        Builtin("softmin", 1, 1, Action.KEEP, simplex=True),
        *_rows("log_softmax cumsum cumprod cummax cummin flip sort", 1, 1, Action.KEEP),
        *_rows("layer_norm rms_norm glu", 1, 1, Action.KEEP),
        Builtin("normalize", 1, 2, Action.KEEP),
        *_rows("sum mean var std min max prod amax amin", 1, 1, Action.REDUCE),
        Builtin("argmin", 1, 1, Action.REDUCE, discrete=True),
        Builtin("argmax", 1, 1, Action.REDUCE, discrete=True),
        Builtin("norm", 1, 2, Action.REDUCE),
        Builtin("logsumexp", 1, MANY, Action.REDUCE),
        *_rows("matmul dot cholesky_quad_form", 2, 2, Action.MATRIX),
        *_rows("cholesky diag", 1, 1, Action.MATRIX),
        Builtin("cov_exp_quad", 3, 3, Action.MATRIX),
        Builtin("length", 1, 1, Action.LIST),
        *_rows("map filter logsumexp_over", 2, 2, Action.LIST),
        *_rows("fold scanl", 3, 3, Action.LIST),
        *_rows("parse compose", 2, 2, Action.DEDUCTION),
        Builtin("subst", 3, 3, Action.DEDUCTION),
    ]
}
