"""Graphs: a tensor function as the list of aten operations that it ran, recorded once.

`record` runs a function under a dispatch mode and writes down every operation whose result depends
on the *values* of the inputs; everything else is a constant, computed at recording time. Nothing
of dynamo, functorch or sympy is imported. The result is straight-line, functional (in-place
operations are rewritten); `quivers_nb.inference.simplify` removes repeated and unused work.

Values are numbered. A `Ref` in an argument stands for the value with that number. After `simplify`
the numbers are inputs, then constants, then results of nodes in order, without gaps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from quivers_nb.diagnostics.errors import QuiversError

aten = torch.ops.aten


class RecordingError(QuiversError):
    """The function cannot be recorded; the message is the reason, as a clause."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for value number ``index`` in the arguments of a node."""

    index: int


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a value without running anything. ``strides`` count elements."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    strides: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Meta":
        return cls(tuple(tensor.shape), tensor.dtype, tuple(tensor.stride()))


ABSENT = Meta((), torch.float64, ())  # of a result that the operation left out


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. ``args`` and ``kwargs`` hold `Ref`s, numbers, dtypes, and lists of these.

    ``results`` numbers its values: one; or several, for an operation that returns a tuple or a
    list (``several``); or none, for a check that only raises. ``metas`` describes them in order.
    """

    op: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[int, ...]
    metas: tuple[Meta, ...]
    several: bool = False

    @property
    def result(self) -> int:
        """The value number of an operation with one result."""
        return self.results[0]

    @property
    def meta(self) -> Meta:
        return self.metas[0]


@dataclass(frozen=True, slots=True)
class Graph:
    """``outputs`` as a function of ``inputs``; ``constants`` maps value numbers to tensors."""

    nodes: tuple[Node, ...]
    inputs: tuple[Meta, ...]  # values 0 .. len(inputs) - 1
    outputs: tuple[Ref, ...]
    constants: Mapping[int, Tensor]

    def meta(self, ref: Ref) -> Meta:
        """Shape, dtype and strides of any value."""
        if ref.index < len(self.inputs):
            return self.inputs[ref.index]
        if ref.index in self.constants:
            return Meta.of(self.constants[ref.index])
        for node in self.nodes:
            if ref.index in node.results:
                return node.metas[node.results.index(ref.index)]
        raise KeyError(ref.index)

    def __str__(self) -> str:
        lines = [
            f"{', '.join(f'%{r}' for r in node.results)} = {node.op}"
            f"({', '.join(map(_show, node.args))}) : {node.meta.shape}"
            for node in self.nodes
        ]
        return "\n".join([*lines, f"return {', '.join(map(_show, self.outputs))}"])


def _show(argument: Any) -> str:
    if isinstance(argument, Ref):
        return f"%{argument.index}"
    if isinstance(argument, list | tuple):
        return f"[{', '.join(map(_show, argument))}]"
    return repr(argument)


def refs(argument: Any) -> Iterator[Ref]:
    """Every `Ref` inside an argument, in order."""
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, list | tuple):
        for part in argument:
            yield from refs(part)
    elif isinstance(argument, Mapping):
        for part in argument.values():
            yield from refs(part)


def replace_refs(argument: Any, by: Callable[[Ref], Any]) -> Any:
    """The same argument with every `Ref` replaced."""
    if isinstance(argument, Ref):
        return by(argument)
    if isinstance(argument, list | tuple):
        return type(argument)(replace_refs(part, by) for part in argument)
    return argument


def record(function: Callable[..., Sequence[Tensor]], *examples: Tensor) -> Graph:
    """Run ``function`` on copies of ``examples`` and return its graph as it ran.

    Each example is cloned: one tensor object passed twice would merge two inputs into one.

    Raises `RecordingError` where the result depends on inputs in a way that operations do not show:
    control flow on values, random draws, result shapes that depend on values.
    """
    inputs = [example.detach().clone() for example in examples]
    recorder = _Recorder(inputs)
    with recorder:
        outputs = function(*inputs)
    return recorder.graph(outputs)


def record_draws(
    function: Callable[[], Sequence[Tensor]],
    variables: Sequence[Tensor],
    looks: "Looks | None" = None,
) -> Graph:
    """The graph of a function that reads ``variables`` where they live and may draw numbers.

    Unlike in `record` the variables are inputs by identity, not copies, so that the leaves of an
    autograd graph can be among them; and random draws are operations of the graph: replaying them
    draws anew, from the same generator.

    With ``looks`` the function may read numbers out of tensors. The tensors are outputs behind the
    function's own: the graph holds where they have the same numbers.
    """
    recorder = _Recorder(variables, draws=True, looks=looks)
    with recorder:
        outputs = function()
    return recorder.graph([*outputs, *(looks.tensors if looks else ())])


@dataclass(slots=True)
class Looks:
    """What a function that is recorded reads out of ``tensors``, while it is ``allowed`` to."""

    allowed: bool = True
    tensors: list[Tensor] = field(default_factory=list)
    numbers: list[Any] = field(default_factory=list)

    def at(self, tensor: Tensor, number: Any) -> Any:
        """Remember a look, and give what was seen."""
        self.tensors.append(tensor)
        self.numbers.append(number)
        return number


def is_draw(op: OpOverload) -> bool:
    """Whether an operation draws random numbers: it must neither be merged nor folded."""
    return torch.Tag.nondeterministic_seeded in op.tags


# Operations whose result has the shape, never the values, of their tensor argument.
_SHAPE_ONLY = frozenset(
    {
        "aten::zeros_like", "aten::ones_like", "aten::full_like", "aten::empty_like",
        "aten::new_zeros", "aten::new_ones", "aten::new_full", "aten::new_empty",
        "aten::new_empty_strided",
    }
)  # fmt: skip
_ALIASES = frozenset({aten.detach.default, aten.alias.default, aten.lift_fresh.default})
_FUNCTIONAL = {
    aten._index_put_impl_.default: aten.index_put.default,
    aten.fill_.Scalar: aten.fill.Scalar,
    aten.fill_.Tensor: aten.fill.Tensor,
    aten.copy_.default: aten.copy.default,
    aten.normal_.default: aten.normal_functional.default,
    aten.bernoulli_.float: aten.bernoulli.p,
}


@dataclass(slots=True)
class _Tape:
    """What has been written down so far."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[int, Tensor] = field(default_factory=dict)
    number: dict[int, int] = field(default_factory=dict)  # id of a tensor -> value number
    alive: list[Tensor] = field(default_factory=list)  # ids stay unique while we hold these
    varying: set[int] = field(default_factory=set)  # value numbers that depend on inputs
    storages: dict[int, set[int]] = field(default_factory=dict)  # varying storage -> numbers
    count: int = 0

    def enter(self, tensor: Tensor, *, varying: bool) -> int:
        """A new value number for ``tensor``."""
        number = self.count
        self.count += 1
        self.point(tensor, number)
        if varying:
            self.varying.add(number)
            self.storages.setdefault(_storage(tensor), set()).add(number)
        else:
            self.constants[number] = tensor.detach()
        return number

    def enter_result(self, tensor: Tensor | None) -> int:
        """A new value number for a result; None is a gradient that nobody asked for."""
        if tensor is not None:
            return self.enter(tensor, varying=True)
        self.count += 1
        return self.count - 1

    def point(self, tensor: Tensor, number: int) -> None:
        """From now on, this tensor object stands for value ``number``."""
        self.number[id(tensor)] = number
        self.alive.append(tensor)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Recorder(TorchDispatchMode):
    """Writes operations down as they run; see the module's docstring."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # True would make the first operation import torch._dynamo (a second of start-up).
        return False

    def __init__(
        self,
        inputs: Sequence[Tensor],
        *,
        draws: bool = False,
        looks: Looks | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws, self.looks = draws, looks
        self.tape = _Tape()
        self.inputs = tuple(Meta.of(tensor) for tensor in inputs)
        for tensor in inputs:
            self.tape.enter(tensor, varying=True)

    def graph(self, outputs: Sequence[Tensor]) -> Graph:
        """The raw graph, with value numbers as they came."""
        tape = self.tape
        with _disable_current_modes():
            found = tuple(Ref(self._number(output)) for output in outputs)
        return Graph(tuple(tape.nodes), self.inputs, found, dict(tape.constants))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _ALIASES:
            return self._alias(func, args, kwargs)
        if not self.draws and is_draw(func):
            raise RecordingError(f"{func} draws random numbers")
        if func._schema.is_mutable:
            return self._write(func, args, kwargs)
        if not is_draw(func):
            if not self._varies((args, kwargs)) or func._schema.name in _SHAPE_ONLY:
                return func(*args, **kwargs)
            looks = self.looks
            if looks is not None and looks.allowed and func is aten._local_scalar_dense.default:
                return looks.at(args[0], func(*args))
            _refuse_values(func)
        if func._schema.name == "aten::index":
            self._refuse_varying_mask(args[1])
        seen = self._argument(args), {key: self._argument(a) for key, a in kwargs.items()}
        result = func(*args, **kwargs)
        self._enter_node(func, *seen, result)
        return result

    def _enter_node(self, func: OpOverload, args: Any, kwargs: Any, result: Any) -> None:
        tensors = [result] if isinstance(result, Tensor) else list(result or ())
        if not all(tensor is None or isinstance(tensor, Tensor) for tensor in tensors):
            raise RecordingError(f"{func} returns something that is not a tensor")
        numbers = tuple(self.tape.enter_result(tensor) for tensor in tensors)
        metas = tuple(ABSENT if tensor is None else Meta.of(tensor) for tensor in tensors)
        several = not isinstance(result, Tensor)
        self.tape.nodes.append(Node(func, tuple(args), kwargs, numbers, metas, several))

    def _alias(self, func: Any, args: Any, kwargs: Any) -> Any:
        number = self._number(args[0]) if self._varies(args[0]) else None
        result = func(*args, **kwargs)
        if number is not None:
            self.tape.point(result, number)
            # A name for the alias: two names for one memory must not be written through.
            self.tape.storages[_storage(result)].add(-1)
        return result

    def _write(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An in-place operation: recorded as its functional twin, whose result takes the name."""
        target = args[0]
        if not is_draw(func) and not self._varies((args, kwargs)):
            self._keep_before_write(target)
            return func(*args, **kwargs)
        twin = _functional_twin(func)
        if twin is None or kwargs.get("out") is not None:
            raise RecordingError(f"{func} writes in place")
        _refuse_values(func)
        if len(self.tape.storages.get(_storage(target), ())) > 1 or target._is_view():
            raise RecordingError(f"{func} writes into a view")
        takes = len(twin._schema.arguments)
        seen = self._argument(args[:takes]), {k: self._argument(a) for k, a in kwargs.items()}
        self._keep_before_write(target)
        result = func(*args, **kwargs)
        number = self.tape.enter(target, varying=True)
        self.tape.storages[_storage(target)] = {number}
        self.tape.nodes.append(Node(twin, tuple(seen[0]), seen[1], (number,), (Meta.of(target),)))
        self.tape.point(result, number)
        return result

    def _keep_before_write(self, target: Tensor) -> None:
        """Earlier uses of a constant, or of a view of it, must go on seeing the value it had."""
        tape, memory = self.tape, _storage(target)
        stale = {n for n, tensor in tape.constants.items() if _storage(tensor) == memory}
        if stale:
            tape.constants.update({n: tape.constants[n].detach().clone() for n in stale})
            tape.number = {key: n for key, n in tape.number.items() if n not in stale}

    def _varies(self, argument: Any) -> bool:
        if isinstance(argument, Tensor):
            number = self.tape.number.get(id(argument))
            if number is not None:
                return number in self.tape.varying
            if _storage(argument) in self.tape.storages:
                raise RecordingError("a tensor shares memory with a recorded one unseen")
            return False
        if isinstance(argument, list | tuple):
            return any(self._varies(part) for part in argument)
        if isinstance(argument, Mapping):
            return any(self._varies(part) for part in argument.values())
        return False

    def _number(self, tensor: Tensor) -> int:
        number = self.tape.number.get(id(tensor))
        return self.tape.enter(tensor, varying=False) if number is None else number

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return Ref(self._number(argument))
        if isinstance(argument, list | tuple):
            return type(argument)(self._argument(part) for part in argument)
        return argument

    def _refuse_varying_mask(self, indices: Sequence[Tensor | None]) -> None:
        for index in indices:
            if index is not None and index.dtype is torch.bool and self._varies(index):
                raise RecordingError("a mask that depends on the variables selects elements")


def _refuse_values(func: Any) -> None:
    """Operations that leave the world of tensors."""
    tags = func.tags
    if torch.Tag.data_dependent_output in tags:
        raise RecordingError(f"{func} reads a number out of a tensor: control flow on values")
    if torch.Tag.dynamic_output_shape in tags and func._schema.name != "aten::index":
        raise RecordingError(f"the shape of {func}'s result depends on values")


def _functional_twin(func: Any) -> OpOverload | None:
    if func in _FUNCTIONAL:
        return _FUNCTIONAL[func]
    namespace, _, name = func._schema.name.partition("::")
    if not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(getattr(torch.ops, namespace), name[:-1], None)
    return getattr(packet, func._overloadname, None) if packet is not None else None
