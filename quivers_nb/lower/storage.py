"""Where the weights of a module live.

Every parameter set has an owner (the term says which occurrences share one). Members of a
replicated group that stand side by side in one ``fan`` are stored stacked, ``(k, *shape)``, so that
they are evaluated by one batched product; every weight still has its own path and can be read, set
and lifted by it.

Copies made by ``stack`` are born equal: the initial values of a declared morphism are drawn once
per module and cloned into every copy (section 5.4).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from quivers_nb.check.term import Generator, Morphism, Owner
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.origin import table_digest
from quivers_nb.kernels.finite import KnownTable
from quivers_nb.lower.parameters import initial_tensors


@dataclass(frozen=True, slots=True)
class Slot:
    """An owner's place: the block's key, and its index in a stacked block."""

    key: str
    index: int | None


@dataclass
class Storage:
    """The parameter tensors of one module, by ``block key -> tensor name -> Parameter``."""

    slots: dict[Owner, Slot] = field(default_factory=dict)
    blocks: dict[str, dict[str, Parameter]] = field(default_factory=dict)
    births: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    data: Mapping[str, np.ndarray] = field(default_factory=dict)  # what `from_data` reads
    tables: dict[tuple[str | None, int, int], KnownTable] = field(default_factory=dict)

    @cached_property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """The tables that `from_data` reads, by name, each with a hash of its contents."""
        return tuple((name, table_digest(self.data[name])) for name in sorted(self.data))

    def place(self, generators: Sequence[Generator], key: str) -> None:
        """Give the owners a block, stacked when there are several; known owners keep theirs."""
        if any(generator.owner in self.slots for generator in generators):
            for i, generator in enumerate(generators):
                if generator.owner not in self.slots:
                    self.place([generator], f"{key}[{i}]")
            return
        births = [self._birth(generator.morphism) for generator in generators]
        stacked = len(generators) > 1
        self.blocks[key] = {
            name: Parameter(
                torch.stack([b[name] for b in births]) if stacked else births[0][name].clone()
            )
            for name in births[0]
        }
        for i, generator in enumerate(generators):
            self.slots[generator.owner] = Slot(key, i if stacked else None)

    def place_tensor(self, owner: Owner, key: str, name: str, value: Tensor) -> None:
        """Give a single tensor (a learned initial state) its block."""
        if owner not in self.slots:
            self.blocks[key] = {name: Parameter(value)}
            self.slots[owner] = Slot(key, None)

    def is_block(self, owners: Sequence[Owner]) -> bool:
        """Whether these owners, in this order, are a whole stacked block."""
        slots = [self.slots[owner] for owner in owners]
        key = slots[0].key
        size = sum(slot.key == key for slot in self.slots.values())
        return slots == [Slot(key, k) for k in range(len(owners))] and size == len(owners)

    def _birth(self, morphism: Morphism) -> dict[str, Tensor]:
        if morphism.label not in self.births:
            self.births[morphism.label] = initial_tensors(morphism)
        return self.births[morphism.label]

    def known(self, morphism: Morphism) -> KnownTable:
        """The constant table of an observed morphism: one for all its uses.

        Raises `UserError` if the data do not fit sizes that were not known to the checker.
        """
        sizes = (morphism.dom.size, morphism.cod.size)  # type: ignore[union-attr]
        rows, columns = (size if isinstance(size, int) else _unknown(morphism) for size in sizes)
        key = (morphism.data, rows, columns)
        if key not in self.tables:
            data = np.eye(rows) if morphism.data is None else self.data[morphism.data]
            self.tables[key] = KnownTable(torch.from_numpy(data.reshape(rows, columns)))
        return self.tables[key]

    def items(self, keys: Sequence[str]) -> Iterator[tuple[str, Parameter]]:
        """``block key/tensor name`` and parameter, for the given blocks in order."""
        for key in keys:
            for name, parameter in self.blocks[key].items():
                yield f"{key}.{name}", parameter


def _unknown(morphism: Morphism) -> int:
    raise UserError(
        f"the table `{morphism.label}` is over a set whose size is not known when the module is "
        'loaded: give it, as in `loads(text, data, sizes={"n": 5})`'
    )
