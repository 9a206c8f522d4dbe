"""Compiling C once: finding a compiler, and a cache of shared objects.

The cache is one folder of the user's, closed to others, and code is loaded from nowhere else. A
file's name is the hash of everything that made it: source, compiler version, flags, and the
features of this processor (``-march=native`` code must not travel). Files appear by atomic rename,
so processes that build the same thing at once do the work twice and agree.
"""

import ctypes
import hashlib
import json
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from quivers_nb.inference.native.program import Refusal

COMPILE_SECONDS = 120
VERSION_SECONDS = 30
STALE_SECONDS = 24 * 3600
GREATEST_CACHE = 2000  # objects; some 60 MB
# Not -ffast-math: NaN and infinity must survive, divergences are found by them. Vectors of
# straight-line code are wrong: with -fassociative-math, gcc 12.2 mixes up the lanes of small sums
# (tests/inference/native/test_straight_lines.py). Loops keep theirs. Every set has that flag, for
# $CC may name any compiler.
_BASE = (
    "-x", "c", "-std=gnu11", "-w", "-O3", "-fPIC", "-shared", "-fno-math-errno",
    "-fno-trapping-math", "-fno-finite-math-only", "-fassociative-math", "-fno-signed-zeros",
    "-freciprocal-math", "-fno-tree-slp-vectorize",
)  # fmt: skip
# What a loop writes through an address that gcc 12.2 has made of others counts as written through a
# null pointer, a thing that cannot be, and the call of a function that does nothing else is dropped
# (tests/inference/native/test_dropped_calls.py). Either way out does: null pointers are nothing
# special, which costs a fifth of a model with groups, or nobody asks what functions write.
NO_NULL = ("-fno-delete-null-pointer-checks",)
NOT_ASKED = ("-fno-ipa-pure-const", "-fno-ipa-modref")  # since gcc 11
# Threading jumps turns choices in a loop body into branches, which stops vectorisation.
_GCC = (*_BASE, "-march=native", "-fno-thread-jumps", "-DVECTOR_MATH")
_CLANG = (*_BASE, *NO_NULL, "-march=native", "-fno-sanitize=all")
_WIDE = "-mprefer-vector-width=512"
# Tried in this order; the first that compiles and computes right is used.
FLAG_SETS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    ((*_GCC, *NOT_ASKED, _WIDE), ("-lmvec", "-lm")),
    ((*_GCC, *NOT_ASKED), ("-lmvec", "-lm")),
    ((*_GCC, *NO_NULL), ("-lmvec", "-lm")),
    ((*_CLANG, _WIDE, "-fveclib=libmvec"), ("-lmvec", "-lm")),
    ((*_CLANG, "-fveclib=libmvec"), ("-lmvec", "-lm")),
    (_CLANG, ("-lm",)),
    ((*_BASE, *NO_NULL), ("-lm",)),
)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A command that compiles C, and what its objects depend on besides their source."""

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(self.command)

    def hasty(self, *, vectors: bool) -> "Compiler":
        """The same at its first level of optimisation: what long sources gain little beyond.

        A linear Gaussian chain of 30 steps, two states and 5,000 lines compiles in 4.3 s of CPU
        instead of 12, and its density is evaluated no slower.
        """
        return self._at(("-O1", "-ftree-vectorize") if vectors else ("-O1",))

    def brisk(self) -> "Compiler":
        """The same at gcc's second level, with vectors: enough for code whose loops are simple.

        The sampler compiles in half the time and runs as fast. Without the cost model gcc would
        give vectors only to loops of known length.
        """
        gcc = "-DVECTOR_MATH" in self.flags
        return self._at(("-O2", "-fvect-cost-model=dynamic")) if gcc else self

    def _at(self, level: tuple[str, ...]) -> "Compiler":
        flags = (new for flag in self.flags for new in (level if flag == "-O3" else (flag,)))
        return replace(self, flags=tuple(flags))


# --- where objects live ---


def cache_folder() -> Path:
    """The folder of compiled objects: ``$QUIVERS_NB_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("QUIVERS_NB_CACHE")
    if chosen:
        return Path(chosen).absolute() / "native"
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "quivers-nb" / "native"


def open_cache() -> Path:
    """The folder, made if need be, and refused unless it is the user's own."""
    if os.name != "posix":
        raise Refusal("native code is built on POSIX systems only")
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise Refusal(f"the cache folder {folder} cannot be used ({error.strerror})") from error
    if found.st_uid != os.getuid():
        raise Refusal(f"the cache folder {folder} belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Refusal(f"the cache folder {folder} is open to others (mend with chmod 700)")
    return folder


# --- which compiler ---


def _candidates() -> Iterator[tuple[str, ...]]:
    """Commands worth trying, best first."""
    chosen = os.environ.get("CC")
    if chosen:
        yield tuple(shlex.split(chosen))
        return
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            yield (name,)
    if find_spec("ziglang") is not None:
        yield (sys.executable, "-m", "ziglang", "cc")


def _run(command: list[str], seconds: int) -> str:
    """Run a command and return what it printed; a `Refusal` says what went wrong."""
    name = " ".join(command[:1])
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Refusal(f"the compiler {name} did not finish in {seconds} s") from error
    except OSError as error:
        raise Refusal(f"the compiler {name} cannot be run ({error.strerror})") from error
    text = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode != 0:
        lines = [line for line in text.splitlines() if line.strip()]
        lines = [line for line in lines if "error" in line] or lines or ["no output"]
        raise Refusal(f"the compiler {name} failed: {lines[0].strip()[:200]}")
    return text


def _version(command: tuple[str, ...]) -> str:
    with _ASKING:  # two threads that look for a compiler ask it once
        return _answer(command)


_ASKING = Lock()


@cache
def _answer(command: tuple[str, ...]) -> str:
    return _run([*command, "--version"], VERSION_SECONDS)


@cache
def processor() -> str:
    """What this processor can do, as far as compiled code is concerned."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        wanted = ("model name", "flags", "Features", "CPU part", "CPU implementer")
        lines = info.read_text(errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
    if sys.platform == "darwin":
        names = ("machdep.cpu.brand_string", "machdep.cpu.features", "machdep.cpu.leaf7_features")
        done = subprocess.run(
            ["/usr/sbin/sysctl", *names], capture_output=True, check=False, timeout=VERSION_SECONDS
        )
        return done.stdout.decode(errors="replace")
    return f"{platform.machine()} {platform.processor()}"


# --- building ---


def object_name(source: str, compiler: Compiler) -> str:
    """By which an object is found in the cache."""
    parts = [source, compiler.version, compiler.flags, compiler.libraries, processor()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def load(source: str, compiler: Compiler, symbols: tuple[str, ...]) -> ctypes.CDLL:
    """The compiled source, from the cache or built now, with ``symbols`` present."""
    folder = open_cache()
    path = folder / f"{object_name(source, compiler)}.so"
    if path.exists():
        try:
            return _loaded(path, symbols)
        except Refusal:
            path.unlink(missing_ok=True)  # cut short by a full disk, say: build it again
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as room:
            built = _compiled(source, compiler, Path(room))
            library = _loaded(built, symbols)
            built.replace(path)
            _prune(folder)
    except OSError as error:
        raise Refusal(f"the cache folder {folder} cannot be written ({error.strerror})") from error
    return library


def reload(name: str, symbols: tuple[str, ...]) -> ctypes.CDLL:
    """An object that was built before. Raises `Refusal` where it has been dropped."""
    return _loaded(open_cache() / f"{Path(name).name}.so", symbols)


def _prune(folder: Path) -> None:
    """Drop the older half of a cache that has grown large, and what killed builds left behind."""
    objects = sorted(folder.glob("*.so"), key=_modified)
    if len(objects) > GREATEST_CACHE:
        for path in objects[: GREATEST_CACHE // 2]:
            path.unlink(missing_ok=True)
        for entry in sorted(folder.glob("*.npz"), key=_modified)[:-GREATEST_CACHE]:
            entry.unlink(missing_ok=True)
    for room in folder.glob("build-*"):
        if time.time() - _modified(room) > STALE_SECONDS:
            shutil.rmtree(room, ignore_errors=True)


def _modified(path: Path) -> float:
    """When ``path`` was last changed; now, if another process has just taken it away."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _compiled(source: str, compiler: Compiler, room: Path) -> Path:
    text, built = room / "source.c", room / "object.so"
    text.write_text(source, encoding="utf-8")
    _run(
        [*compiler.command, *compiler.flags, "-o", str(built), str(text), *compiler.libraries],
        COMPILE_SECONDS,
    )
    if not built.exists():
        raise Refusal(f"the compiler {compiler.name} reported success but made nothing")
    return built


def _loaded(path: Path, symbols: tuple[str, ...]) -> ctypes.CDLL:
    try:
        if path.stat().st_uid != os.getuid():
            raise Refusal(f"{path} belongs to another user")
        with _same_arithmetic():
            library = ctypes.CDLL(str(path))
    except OSError as error:
        raise Refusal(f"the compiler's output cannot be loaded ({error})") from error
    for symbol in symbols:
        if not hasattr(library, symbol):
            raise Refusal(f"the compiler's output has no function {symbol}")
    return library


@contextmanager
def _same_arithmetic() -> Iterator[None]:
    """Within it, what a library does to this thread's floating point is undone at the end.

    A linker that was told -ffast-math adds a start-up function that flushes subnormal numbers to
    zero, and it runs when the object is loaded: in the user's process, for all that they compute.
    """
    mathematics = ctypes.CDLL("libm.so.6" if sys.platform == "linux" else None)
    environment = ctypes.create_string_buffer(256)  # fenv_t: 32 bytes on x86-64, 8 or 16 on ARM
    mathematics.fegetenv(environment)
    try:
        yield
    finally:
        mathematics.fesetenv(environment)


def likeliest() -> Compiler | None:
    """The compiler that `probe` will probably name: the first one there is, nothing tried."""
    command = next(_candidates(), None)
    if command is None:
        return None
    flags, libraries = FLAG_SETS[0]
    try:
        return Compiler(command, _version(command), flags, libraries)
    except Refusal:
        return None


def probe(source: str) -> Compiler:
    """The first compiler and flags whose object of ``source`` loads and passes ``self_check``.

    Raises `Refusal` with the last reason when none does.
    """
    reason = Refusal("there is no C compiler (none of $CC, cc, gcc, clang, ziglang)")
    for command in _candidates():
        try:
            version = _version(command)
        except Refusal as refusal:
            reason = refusal
            continue
        for flags, libraries in FLAG_SETS:
            compiler = Compiler(command, version, flags, libraries)
            try:
                library = load(source, compiler, ("self_check",))
            except Refusal as refusal:
                reason = refusal
                continue
            if library.self_check() == 0:
                return compiler
            reason = Refusal(f"the code of {compiler.name} computes wrong results")
    raise reason
