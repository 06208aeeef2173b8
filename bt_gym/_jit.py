"""How kernels compile and where their machine code is kept: the only file that knows numba's options.

* No `fastmath`: it makes `isnan` false and results depend on the machine.
* `nogil`: a loader thread can prepare the next session while a kernel runs.
* No reference counts (`_nrt=False`, a private option of numba that `tests/test_jit.py` watches): to count the users of
  each array handed to another kernel is dear. So a kernel makes no array and returns none; the few that must are
  `allocating`.
* No signatures: a kernel compiles when it is first called, not at import.
* The disk cache of numba compares one source file only, so that a changed constant or callee in another file,
  or `NUMBA_BOUNDSCHECK`, would go unnoticed. `PackageLocator` stamps a kernel with every file of bt_gym and of its own
  project that it imports.
* What a kernel typed at a prompt or in a notebook depends on can't be known: it isn't kept.

With `NUMBA_DISABLE_JIT=1` kernels are plain Python functions (`record["field"]` works in both).
"""

import ast
import ctypes
import hashlib
import inspect
import warnings
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import caching, cgutils, config
from numba.extending import intrinsic
from numba.np import arrayobj

F = TypeVar("F", bound=Callable[..., Any])

_PACKAGE = Path(__file__).resolve().parent
_SHARED = ("site-packages", "dist-packages")  # folders of everybody's packages: only one's own are of one project


def njit(function: F) -> F:
    """Compiles `function` on its first call and keeps the machine code on disk, where a folder can be written."""
    return _compiler(function, lambda cache: numba.njit(cache=cache, nogil=True, _nrt=False)(function))


def inlined(function: F) -> F:
    """`njit` for a kernel that becomes a part of each one that calls it, where a call would take as long as the rest.

    LLVM judges by size alone and calls what runs for every record.
    To hand an array on takes seven words, too. Not for a kernel in whose loop others are called: it may compile for
    minutes.
    """
    return _compiler(
        function, lambda cache: numba.njit(cache=cache, nogil=True, _nrt=False, forceinline=True)(function)
    )


def allocating(function: F) -> F:
    """`njit` for a kernel that makes arrays. What it returns is freed by Python or another such kernel only."""
    return _compiler(function, lambda cache: numba.njit(cache=cache, nogil=True, _nrt=True)(function))


class Callback:
    """A function that kernels are given: see `callback`."""

    def __init__(self, function: Callable[..., None], signature: Any) -> None:
        self.function = function
        self.signature = signature

    def __deepcopy__(self, memo: dict[int, Any]) -> "Callback":
        """Itself, as of any function: its machine code can't be copied."""
        return self

    @cached_property
    def compiled(self) -> Any:
        """What a kernel is called with: compiled when first asked for; with the JIT off the plain function."""
        if config.DISABLE_JIT:
            return self.function
        return _compiler(self.function, lambda cache: numba.cfunc(self.signature, cache=cache)(self.function))


def callback(signature: Any) -> Callable[[Callable[..., None]], Callback]:
    """Decorator of functions that are handed to a kernel, all of one signature.

    The kernel compiles once and calls whichever it is given through a pointer, which takes about 40 ns.
    """
    return lambda function: Callback(function, signature)


def _compiler(function: F, compile_: Callable[[bool], Any]) -> Any:
    """What `compile_(cache)` makes of `function`, with our own rules for the cache, if it can be kept at all."""
    if Path(inspect.getfile(function)).is_file():
        saved = config.CACHE_LOCATOR_CLASSES
        config.CACHE_LOCATOR_CLASSES = f"{__name__}.PackageLocator"  # for this kernel only, not for the user's own
        try:
            return compile_(True)
        except RuntimeError:
            warnings.warn("no folder to keep compiled kernels in can be written: set NUMBA_CACHE_DIR", stacklevel=1)
        finally:
            config.CACHE_LOCATOR_CLASSES = saved
    return compile_(False)


def bound(kernel: Any, *arguments: Any) -> Callable[..., Any]:
    """The machine code of `kernel` for arguments of just these types, compiled if it isn't yet; nothing is run.

    Called by position, it skips the 0.2 us an array that numba takes to recognise a type. Whoever calls it answers for
    the types. With the JIT off it is `kernel`.
    """
    if not hasattr(kernel, "overloads"):
        return kernel
    types = tuple(numba.typeof(argument) for argument in arguments)
    kernel.compile(types)
    return kernel.overloads[types].entry_point


def array_at(dtype: np.dtype) -> Callable[[int, int], Any]:
    """A function for kernels, `f(address, length)`: the array of `dtype` that lies there, never freed by them.

    A table of addresses lets one kernel work on many tapes, and a plain array of integers is recognised faster than
    structured ones (0.2 us against 1.5 us each). Whoever writes an address down keeps its array alive.
    """
    if config.DISABLE_JIT:

        def interpreted(address: int, length: int) -> np.ndarray:
            memory = (ctypes.c_char * (int(length) * dtype.itemsize)).from_address(int(address))
            return np.ndarray((int(length),), dtype, memory)  # type: ignore[arg-type]

        return interpreted

    record = numba.from_dtype(dtype)

    @intrinsic
    def view(_: Any, address: Any, length: Any) -> Any:
        kind = types.Array(record, 1, "C")

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(kind)(context, builder)
            size = context.get_constant(types.intp, dtype.itemsize)
            data = builder.inttoptr(arguments[0], array.data.type)
            arrayobj.populate_array(array, data, [arguments[1]], [size], size, meminfo=None)
            return array._getvalue()

        return kind(types.int64, types.int64), codegen

    return view


@intrinsic
def _count_zeros(_: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen


@intrinsic
def _ask_for_line(_: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i32, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [builder.inttoptr(arguments[0], byte), i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@numba.njit(nogil=True, _nrt=False, forceinline=True)
def lowest_bit(word: int) -> int:
    """Place of the lowest bit of an integer that isn't 0, for kernels."""
    return _count_zeros(word)


@numba.njit(nogil=True, _nrt=False, forceinline=True)
def prefetch(address: int, lines: int) -> None:
    """For kernels: asks for cache lines (64 bytes) that will be read soon; a wrong address does no harm."""
    for number in range(lines):
        _ask_for_line(address + 64 * number)


if config.DISABLE_JIT:

    def lowest_bit(word: int) -> int:
        return (int(word) & -int(word)).bit_length() - 1

    def prefetch(address: int, lines: int) -> None:
        pass


class PackageLocator:
    """Delegates to numba's own choice of folder; answers for freshness itself."""

    def __init__(self, locator: Any, file: str) -> None:
        self._locator = locator
        self._file = file

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "PackageLocator | None":
        for locator_class in caching.CacheImpl._locator_classes:
            locator = locator_class.from_function(py_func, py_file)
            if locator is not None:
                return cls(locator, py_file)
        return None

    def get_source_stamp(self) -> str:
        return f"{_stamp(Path(self._file).resolve())} boundscheck={config.BOUNDSCHECK}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._locator, name)


@cache
def _stamp(file: Path) -> str:
    """sha256 over the sources of `file` and of all that it imports, directly or not, as far as `_imports` goes."""
    seen: set[Path] = set()
    todo = [file]
    while todo:
        source = todo.pop()
        if source not in seen:
            seen.add(source)
            todo += _imports(source)
    hashes = [hashlib.sha256(source.read_bytes()).digest() for source in sorted(seen)]
    return hashlib.sha256(b"".join(hashes)).hexdigest()


@cache
def _imports(file: Path) -> list[Path]:
    """Files of bt_gym and of its own project that a file imports; not in functions, where no kernel finds a name."""
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    package = file.relative_to(root).parts[:-1]
    names: list[tuple[str, ...]] = []
    todo: list[ast.AST] = [ast.parse(file.read_bytes())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            names += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            names += [module, *((*module, alias.name) for alias in node.names)]  # what is imported may be a module too
        elif isinstance(node, ast.Module | ast.If | ast.Try | ast.ExceptHandler):
            todo += ast.iter_child_nodes(node)
    paths = []
    for name in filter(None, names):
        if name[0] == _PACKAGE.name:
            paths.append(_PACKAGE.parent.joinpath(*name))
        elif name[0] in package[:1] or root.name not in _SHARED:
            paths.append(root.joinpath(*name))
    candidates = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    return [candidate for candidate in candidates if candidate.is_file()]
