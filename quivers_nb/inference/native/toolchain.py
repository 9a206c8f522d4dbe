"""The compiler that works here and the compiled sampler: found once, built while a model is read.

Three objects are wanted before the first leapfrog of a new model: a small one that checks the
compiler's arithmetic, the sampler, and the model's density. The first and the second are built side
by side, from the moment that `begin_building` is called, and the third beside the second, once the
first has shown what the compiler is worth: with three at once on two cores the sampler, which takes
longest, is late.
"""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from threading import Lock, Thread
from typing import TypeVar

from quivers_nb.inference.native.build import Compiler, likeliest, load, open_cache, probe
from quivers_nb.inference.native.emit import header
from quivers_nb.inference.native.program import Refusal

_CHECK = ("scalar.h", "vector.h", "probe.h")
_SAMPLER = ("random.h", "chain.h", "trajectory.h", "warmup.h", "driver.c")
_TEAM = ("team.h", "team.c")
_DRIVER = (
    "chain_run", "chain_start", "state_bytes", "scratch_doubles", "window_rows", "window_close",
    "at_points",
)  # fmt: skip
_TEAM_NAMES = (
    "team_bytes", "team_open", "team_close", "team_desk", "team_leave", "team_serve",
)  # fmt: skip
_Environment = tuple[str | None, ...]
Made = TypeVar("Made")


def environment() -> _Environment:
    """What decides which compiler is found, and where objects live."""
    names = ("CC", "PATH", "QUIVERS_NB_CACHE", "XDG_CACHE_HOME", "HOME")
    return tuple(map(os.environ.get, names))


def _once(make: Callable[[], Made]) -> Callable[[], Made]:
    """``make``, called once in an environment, by one thread while others wait.

    A refusal is kept and raised again: a compiler that hangs is asked only once. The folder is
    looked at every time.
    """
    lock = Lock()

    @cache
    def kept(_environment: _Environment) -> Made | Refusal:
        try:
            return make()
        except Refusal as refusal:
            return refusal

    @wraps(make)
    def found() -> Made:
        open_cache()
        with lock:
            it = kept(environment())
        if isinstance(it, Refusal):
            raise Refusal(str(it))
        return it

    return found


@_once
def compiler() -> Compiler:
    """The compiler that works here. Raises `Refusal` if there is none."""
    return probe("".join(map(header, _CHECK)))


@_once
def driver() -> ctypes.CDLL:
    """The compiled sampler. Raises `Refusal` if there is no compiler."""
    return _declared(built("".join(map(header, _SAMPLER)), Compiler.brisk, _DRIVER)[0])


def begin_building() -> None:
    """Look for the compiler and build the sampler in the background, if that is not done yet."""
    if environment() not in _BEGUN:
        _BEGUN.add(environment())
        for each in (compiler, driver):
            Thread(target=_unless_refused, args=(each,), name=f"native {each.__name__}").start()


_BEGUN: set[_Environment] = set()


def _unless_refused(build: object) -> None:
    with suppress(Refusal):  # kept, and raised again where the result is wanted
        build()  # type: ignore[operator]


def built(
    source: str, level: Callable[[Compiler], Compiler], symbols: tuple[str, ...]
) -> tuple[ctypes.CDLL, Compiler]:
    """The object of ``source`` with ``symbols``, and what made it: the compiler at ``level``.

    It is made by the compiler that will probably be the one, while that is still being checked, and
    is not given away before. Raises `Refusal` where no compiler works or ``source`` has no object.
    """
    guess = likeliest()
    made: ctypes.CDLL | Refusal | None = None
    if guess is not None:
        try:
            made = load(source, level(guess), symbols)
        except Refusal as refusal:  # it may not know the flags; `compiler` then finds others
            made = refusal
    found = compiler()
    if made is None or found != guess:
        made = load(source, level(found), symbols)
    if isinstance(made, Refusal):
        raise made
    return made, level(found)


def _declared(driver: ctypes.CDLL) -> ctypes.CDLL:
    whole, address = ctypes.c_int64, ctypes.c_void_p
    driver.chain_run.restype = driver.state_bytes.restype = driver.scratch_doubles.restype = whole
    driver.chain_run.argtypes = [address] * 4 + [whole] + [address] * 4
    driver.chain_start.argtypes = [address, address, ctypes.c_double]
    driver.chain_start.restype = None
    driver.state_bytes.argtypes = [whole]
    driver.scratch_doubles.argtypes = [whole, whole]
    driver.window_rows.restype, driver.window_rows.argtypes = whole, [address]
    driver.window_close.restype, driver.window_close.argtypes = None, [address]
    driver.at_points.restype = None
    driver.at_points.argtypes = [address] * 4 + [whole] * 2 + [address] * 2
    return driver


@_once
def team() -> ctypes.CDLL:
    """What lets threads help each other: an object of its own, for few models have a use for it.

    Raises `Refusal` if it cannot be built.
    """
    library = built("".join(map(header, _TEAM)), Compiler.brisk, _TEAM_NAMES)[0]
    whole, address = ctypes.c_int64, ctypes.c_void_p
    library.team_bytes.restype, library.team_bytes.argtypes = whole, [whole]
    library.team_open.restype, library.team_open.argtypes = whole, [address, whole]
    library.team_desk.restype, library.team_desk.argtypes = address, [address, whole]
    for end in (library.team_close, library.team_leave, library.team_serve):
        end.restype, end.argtypes = None, [address]
    return library
