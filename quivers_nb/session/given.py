"""What `from_data` reads in a notebook: the user's variables of the names that a cell gives."""

import re
from collections.abc import Mapping

import numpy as np

from quivers_nb.inference.origin import table_digest
from quivers_nb.spaces.table import Table
from quivers_nb.spaces.table_data import as_tables, described

READS = re.compile(r'\bfrom_data\(\s*"([^"]*)"')


class Given:
    """Tables among ``variables``; remembers with which contents texts were compiled."""

    def __init__(self, variables: Mapping[str, object] | None = None) -> None:
        self._variables: Mapping[str, object] = {} if variables is None else variables
        self._used: dict[str, dict[str, str]] = {}  # digests by key, by the text that stands alone

    def arrays(self, text: str) -> dict[str, np.ndarray]:
        """The variables that a text reads, those that are there.

        Raises `quivers_nb.diagnostics.errors.UserError` if one is no table of weights.
        """
        keys = dict.fromkeys(READS.findall(text))
        return as_tables({key: self._variables[key] for key in keys if key in self._variables})

    def tables(self, text: str) -> dict[str, Table]:
        """What is known of them before anything is compiled."""
        return {key: described(array) for key, array in self.arrays(text).items()}

    def changed(self, text: str) -> bool:
        """Whether a text was compiled with other contents than its variables have now."""
        return text in self._used and self._used[text] != self._digests(text)

    def used(self, text: str) -> None:
        """Remember the contents with which a text has been compiled."""
        if READS.search(text):
            self._used[text] = self._digests(text)

    @property
    def any(self) -> bool:
        """Whether any text was compiled with tables."""
        return bool(self._used)

    def _digests(self, text: str) -> dict[str, str]:
        return {key: table_digest(array) for key, array in self.arrays(text).items()}
