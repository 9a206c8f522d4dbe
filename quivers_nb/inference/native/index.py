"""The index of the cache: which object is the density of which model, for processes to come.

An entry is found by the digest of the model's origin (program, text, sizes and tables), of all else
that its density is a function of (`inference.identity`), and of what compiled it. It names the
object and holds the data that the model was recorded with. So a new process neither records nor
lowers a model that has been compiled before; it compares what it finds with the reference, as ever.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from quivers_nb.inference.identity import digest
from quivers_nb.inference.native.build import open_cache, processor, reload
from quivers_nb.inference.native.function import SYMBOLS, NativeFunction, aligned_copy, ready
from quivers_nb.inference.native.program import Refusal

GREATEST_ENTRY = 4 << 20  # bytes of data; beyond, reading them is no faster than recording
_PACKAGE = Path(__file__).parents[2]
_STAGES = ("syntax", "check", "spaces", "kernels", "lower", "inference")
_FIELDS = ("source", "object", "dim", "dtype", "scratch", "calls_library", "segments")


def find(key: bytes) -> NativeFunction | None:
    """The function whose entry was made for this very density, if its object is still there."""
    path = _entry(key)
    if path is None or not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
            noted = json.loads(entry["noted"].tobytes())
            data = tuple(aligned_copy(entry[f"data{k}"]) for k in range(len(entry.files) - 1))
        library = reload(noted["object"], SYMBOLS)
        return ready(library, data=data, **{**noted, "dtype": getattr(torch, noted["dtype"])})
    except (Refusal, OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None  # cut short by a full disk, or its object was dropped: compile it again


def enter(key: bytes, function: NativeFunction) -> None:
    """Note ``function`` for later processes, where the cache can be written."""
    large = sum(array.nbytes for array in function.data) > GREATEST_ENTRY
    path = None if large or function.arguments else _entry(key)
    if path is None:
        return
    noted = {name: getattr(function, name) for name in _FIELDS}
    noted["dtype"] = str(function.dtype).removeprefix("torch.")
    data = {f"data{k}": array for k, array in enumerate(function.data)}
    with suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as room:
        made, text = Path(room) / "entry.npz", json.dumps(noted).encode()
        np.savez(made, noted=np.frombuffer(text, np.uint8), **data)  # type: ignore[arg-type]
        made.replace(path)


def _entry(key: bytes) -> Path | None:
    whole = digest((key, torch.__version__, np.__version__, processor(), _code()))
    assert whole is not None, "texts and numbers"
    with suppress(Refusal):
        return open_cache() / f"{whole.hex()}.npz"
    return None


@cache
def _code() -> str:
    """The files of the compiler as they are: what another version makes may be different."""
    return repr([sorted(_files(_PACKAGE / part)) for part in _STAGES])


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".py", ".h", ".c", ".json")):
                seen = entry.stat()
                yield entry.path, seen.st_size, seen.st_mtime_ns
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _files(Path(entry.path))
