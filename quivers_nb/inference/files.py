"""Files of tensors: complete or not there, and known by what is in them."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError


@contextmanager
def replacing(where: Path) -> Iterator[Path]:
    """A new file beside ``where`` that takes its place, on the disk, when all went well."""
    if where.is_dir():
        raise UserError(f"{str(where)!r} is a folder: give the name of a file in it")
    if not where.parent.is_dir():
        raise UserError(
            f"{str(where)!r} cannot be written: the folder {str(where.parent)!r} does not exist. "
            "Make it, or take another one"
        )
    temporary = where.with_name(f".{where.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, where)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{str(where)!r} could not be written ({error}); what was there before is unchanged. "
            "Make room or take another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(where.parent)


def _sync_folder(folder: Path) -> None:
    """The new name is on the disk only when its folder is; not every system can say so."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of names."""
    total = sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
