"""Saving and loading: draws, weights and guides as safetensors with a JSON manifest.

    save(path, result)     load(path, model) -> MCMCResult
    save(path, model)      load(path, model) -> the model, with the saved weights put in place
    save(path, guide)      load(path, guide) -> the guide, with the saved parameters put in place

One file holds both parts, so that they cannot come apart: the manifest is the entry ``manifest`` of
the metadata that the safetensors format keeps in its header (its documentation, "Format"). It notes
what was saved, the source text of the model with its hash, versions, seeds, shapes, and a SHA-256
of all tensors; `manifest` reads it. Nothing is ever pickled, and no code is loaded from a file.

Laws (``tests/inference/test_persist.py``)
    round trip   what is loaded equals what was saved, bit for bit;
    atomic       a file is complete or not there: it is written beside its place under a name of its
                 own, brought to the disk, and renamed. A crash leaves the old file as it was;
    all or none  a file that does not fit changes nothing, and every misfit is named.
"""

import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.files import digest, replacing
from quivers_nb.inference.labels import Labels
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.model import Model
from quivers_nb.inference.origin import Origin, origin_of
from quivers_nb.inference.smc.result import trail_tensors, with_trails

FORMAT = 1
KINDS = ("draws", "weights", "guide")
_FACTS = ("num_warmup", "max_tree_depth", "dim", "tier", "tier_reason", "interrupted", "seed")
_LATER = ("gradients",)  # facts that older files lack
_NOUNS = {"draws": "the draws of a run", "weights": "the weights of a model", "guide": "a guide"}
_INSTEAD = {  # what is saved of an object that has one of these
    "morphism": ": of a module take its .morphism",
    "result": ": of a run of draws take run.result, of a variational one run.guide",
    "num_steps": ": a variational fit is kept by saving its guide, run.guide",
}
Location = str | PathLike[str]


@dataclass(frozen=True, slots=True)
class Saved:
    """The contents of a file: its kind, its tensors by name, and the facts beside them."""

    kind: str
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    origin: Origin | None


def save(path: Location, obj: Any) -> Path:
    """Write an `MCMCResult`, the weights of a model, or a guide's parameters; the path.

    An existing file is replaced as a whole. Raises `UserError` if ``obj`` is none of these, holds
    nothing, or the file cannot be written.
    """
    where = _path(path)
    saved = _contents(obj)
    tensors = {name: _own(tensor) for name, tensor in saved.tensors.items()}
    noted = {
        "format": FORMAT,
        "kind": saved.kind,
        "model": None if saved.origin is None else saved.origin.as_json(),
        "facts": dict(saved.facts),
        "tensors": {name: [str(t.dtype), list(t.shape)] for name, t in tensors.items()},
        "sha256": digest(tensors),
        "versions": _versions(),
    }
    metadata = {"manifest": json.dumps(noted, ensure_ascii=False)}
    with replacing(where) as temporary:
        save_file(tensors, temporary, metadata)
    return where


def load(path: Location, into: Any = None, *, other_source: bool = False) -> Any:
    """Read a file: draws are returned, weights and parameters are put into ``into``, which is too.

    ``into`` is the model, for a guide the guide; draws can be read without one, unchecked. The
    saved hash must be that of the model; ``other_source=True`` accepts a model whose text, sizes or
    tables have changed, if everything else fits. Nothing is changed unless all of it fits.

    Raises `UserError` if the file is missing, truncated or altered, was not written by `save`, or
    does not fit; every misfit is named.
    """
    where = _path(path)
    saved = _read(where)
    if saved.kind == "draws":
        _check_origin(where, saved, into, [], other_source=other_source)
        return _result(where, saved)
    if into is None:
        raise UserError(
            f"{str(where)!r} holds {_NOUNS[saved.kind]}: give what they are to be put into, "
            f"load(path, {'guide' if saved.kind == 'guide' else 'model'})"
        )
    found = _kind(into)
    if found != saved.kind:
        raise UserError(
            f"{str(where)!r} holds {_NOUNS[saved.kind]}, which cannot be put into a "
            f"{type(into).__name__}"
        )
    places = _places(into)
    unfilled = _unfilled(into)
    misfits = _misfits(saved.tensors, places, unfilled)
    if saved.kind == "guide" and saved.facts.get("guide") != type(into).__name__:
        misfits.insert(0, f"guide: saved {saved.facts.get('guide')}, here {type(into).__name__}")
    _check_origin(where, saved, into, misfits, other_source=other_source)
    with torch.no_grad():
        for name, place in places.items():
            if name in unfilled:
                _fill(into, name, saved)
            else:
                place.copy_(saved.tensors[name])
    return into


def load_draws(path: Location, model: Any = None) -> MCMCResult:
    """The draws of a file; as `load`, but a file of anything else is refused."""
    noted = manifest(path)
    if noted["kind"] != "draws":
        raise UserError(
            f"{str(path)!r} holds {_NOUNS[noted['kind']]}, not draws: quivers_nb.inference.load("
            "path, into) puts them where they belong"
        )
    found: MCMCResult = load(path, model)
    return found


def _path(path: Location) -> Path:
    if not isinstance(path, str | PathLike):
        raise UserError(
            f"the path is a {type(path).__name__}: save(path, obj) and load(path, into) take "
            "it first"
        )
    return Path(path)


def manifest(path: Location) -> dict[str, Any]:
    """The manifest of a saved file, without reading its tensors."""
    where = _path(path)
    with _opened(where) as file:
        return _noted(where, file.metadata())


# --- what is saved ------------------------------------------------------------------------------


def _kind(obj: Any) -> str:
    if isinstance(obj, MCMCResult):
        return "draws"
    if callable(getattr(obj, "parameter_sites", None)):
        return "weights"
    if isinstance(obj, nn.Module) and hasattr(obj, "draw") and hasattr(obj, "rsample"):
        return "guide"
    hint = next((hint for name, hint in _INSTEAD.items() if hasattr(obj, name)), "")
    raise UserError(
        f"a {type(obj).__name__} cannot be saved or loaded: only an MCMCResult, a model or a "
        f"guide{hint}"
    )


def _contents(obj: Any) -> Saved:
    kind = _kind(obj)
    if kind == "draws":
        tensors = {f"samples/{name}": value for name, value in obj.samples.items()}
        tensors |= {f"stats/{name}": value for name, value in obj.stats.items()}
        tensors |= {"start_log_densities": obj.start_log_densities, "stationary": obj.stationary}
        facts = {name: getattr(obj, name) for name in (*_FACTS, *_LATER)}
        tensors |= {f"centering/{name}": value for name, value in obj.centering.items()}
        tensors |= trail_tensors(obj)
        facts["order"] = [list(obj.samples), list(obj.stats)]
        facts["centering"] = list(obj.centering)
        facts["labels"] = obj.labels.as_json()
        return Saved(kind, tensors, facts, origin_of(obj))
    places = _places(obj)
    if not places:
        raise UserError(f"this {type(obj).__name__} has no weights: there is nothing to save")
    guide = {"guide": type(obj).__name__, "rows": getattr(obj, "rows", None)}
    return Saved(kind, places, guide if kind == "guide" else {}, origin_of(obj))


def _places(obj: Any) -> dict[str, Tensor]:
    """The tensors that are saved and set, by parameter path or by name in the guide."""
    if not callable(getattr(obj, "parameter_sites", None)):
        return {name: value.detach() for name, value in obj.state_dict().items()}
    model: Model = obj
    storage = model.storage()
    return {
        site.path: storage[site.key].detach()
        if site.index is None
        else storage[site.key].detach()[site.index]
        for site in model.parameter_sites()
    }


def _result(where: Path, saved: Saved) -> MCMCResult:
    facts = {name: value for name, value in saved.facts.items() if name in (*_FACTS, *_LATER)}
    try:
        samples, stats = saved.facts["order"]
        found = MCMCResult(
            samples=Samples({name: saved.tensors[f"samples/{name}"] for name in samples}),
            stats={name: saved.tensors[f"stats/{name}"] for name in stats},
            start_log_densities=saved.tensors["start_log_densities"],
            stationary=saved.tensors["stationary"],
            centering={
                n: saved.tensors[f"centering/{n}"] for n in saved.facts.get("centering", ())
            },
            origin=saved.origin,
            labels=Labels.from_json(saved.facts["labels"]) if "labels" in saved.facts else Labels(),
            **facts,
        )
        return with_trails(found, saved.tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(where, f"the run is not complete ({error})") from error


# --- whether it fits ----------------------------------------------------------------------------


def _unfilled(into: Any) -> set[str]:
    """Buffers of a guide that a fit makes (a Laplace approximation's mode): they take any shape."""
    guide = isinstance(into, nn.Module) and hasattr(into, "covered")
    return {name for name, value in into.named_buffers() if not value.numel()} if guide else set()


def _fill(guide: nn.Module, name: str, saved: Saved) -> None:
    owner, _, leaf = name.rpartition(".")
    module = guide.get_submodule(owner)
    module.register_buffer(leaf, saved.tensors[name])
    rows = saved.facts.get("rows")
    module.rows = None if rows is None else tuple(rows)  # type: ignore[assignment]


def _misfits(
    saved: Mapping[str, Tensor], places: Mapping[str, Tensor], unfilled: set[str]
) -> list[str]:
    found = [f"`{name}`: in the file, not in the model" for name in saved if name not in places]
    for name, place in places.items():
        if name not in saved:
            found.append(f"`{name}`: in the model, not in the file")
            continue
        tensor = saved[name]
        if name not in unfilled and tensor.shape != place.shape:
            found.append(f"`{name}`: saved shape {tuple(tensor.shape)}, here {tuple(place.shape)}")
        if tensor.dtype != place.dtype:
            found.append(f"`{name}`: saved {tensor.dtype}, here {place.dtype}")
    return found


def _check_origin(
    where: Path, saved: Saved, into: Any, misfits: list[str], *, other_source: bool
) -> None:
    """Raise, naming everything that does not fit; nothing has been changed yet."""
    here = origin_of(into)
    way_out = "load them into a model that was built alike"
    if into is not None and not other_source:
        differences = _differences(saved.origin, here)
        if differences:
            way_out = (
                'build the model from the saved text, manifest(path)["model"]["source"], with the '
                "tables and sizes of then, or pass other_source=True to accept the change"
            )
        misfits = [*differences, *misfits]
    if any("saved torch.float" in misfit for misfit in misfits):
        way_out += "; model.to(dtype) changes a model's precision"
    if misfits:
        lines = "".join(f"\n  {misfit}" for misfit in misfits)
        raise UserError(
            f"{str(where)!r} does not fit; nothing was changed:{lines}\nThe way out: {way_out}."
        )


def _differences(saved: Origin | None, here: Origin | None) -> list[str]:
    if saved is None or here is None:
        both = (saved, here)
        shown = ["a model written by hand" if o is None else f"`{o.program}`" for o in both]
        return [] if saved is here else [f"model: saved from {shown[0]}, here {shown[1]}"]
    return saved.differences(here)


# --- files --------------------------------------------------------------------------------------


@contextmanager
def _opened(where: Path) -> Iterator[Any]:
    if not where.is_file():
        what = "a folder, not a file" if where.is_dir() else "no file"
        raise UserError(
            f"{str(where)!r} is {what}: check the path (working directory {Path.cwd()})"
        )
    try:
        with safe_open(where, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise _damaged(where, str(error)) from error


def _noted(where: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    if not metadata or "manifest" not in metadata:
        raise UserError(
            f"{str(where)!r} is a safetensors file without a manifest of this package: it was "
            "written by something else; read it with safetensors.torch.load_file"
        )
    try:
        noted = json.loads(metadata["manifest"])
        if "state" in noted:
            raise UserError(
                f"{str(where)!r} is the checkpoint of a run: give it to the fit again, "
                "checkpoint=, with the settings of then"
            )
        number, kind = int(noted["format"]), noted["kind"]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(where, f"its manifest cannot be read: {error}") from error
    if number != FORMAT or kind not in KINDS:
        writer = dict(noted.get("versions") or {}).get("quivers-nb", "another version")
        raise UserError(
            f"{str(where)!r} has format {number} and holds {kind!r}; this version reads format "
            f"{FORMAT}: read it with the quivers-nb that wrote it ({writer})"
        )
    return dict(noted)


def _read(where: Path) -> Saved:
    with _opened(where) as file:
        noted = _noted(where, file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        origin = None if noted["model"] is None else Origin.from_json(noted["model"])
        facts, wanted, names = dict(noted["facts"]), noted["sha256"], list(noted["tensors"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(where, f"its manifest is not complete: {error}") from error
    if wanted != digest(tensors):
        raise _damaged(where, "its tensors are not those that were saved")
    return Saved(noted["kind"], {name: tensors[name] for name in names}, facts, origin)


def _damaged(where: Path, why: str) -> UserError:
    return UserError(
        f"{str(where)!r} is damaged or not a file of this package ({why}); nothing was changed. "
        "Save it again, or take a copy"
    )


def _own(tensor: Tensor) -> Tensor:
    """A dense tensor on the CPU that shares its memory with no other."""
    plain = tensor.detach().cpu().contiguous()
    whole = plain.untyped_storage().nbytes() == plain.numel() * plain.element_size()
    return plain if whole else plain.clone()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("quivers-nb", "torch", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
