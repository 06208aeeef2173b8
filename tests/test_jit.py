"""The cache of compiled kernels is fresh when any file has changed, and nothing else of numba's is touched.

Each test runs a small package named bt_gym, with the real `_jit.py`, in a process of its own; `fresh` imports a module
and all it needs as a new process would.
"""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from bt_gym import _jit
from bt_gym.core.market import find_block
from bt_gym.core.tape import block_dtype

PRELUDE = '''
import importlib, os, sys, warnings
from pathlib import Path

sys.dont_write_bytecode = True  # Python's own cache is blind to two edits within a second
warnings.simplefilter("error")
root = Path(sys.argv[1])
sys.path.insert(0, str(root))

def fresh(name):
    """The module and all it imports, as a new process finds them."""
    for module in [module for module in sys.modules if module.split(".")[0] in ("bt_gym", "mine")]:
        del sys.modules[module]
    importlib.invalidate_caches()
    return importlib.import_module(name)

def result(name="bt_gym.core.kernel"):
    """(what the kernel returns, whether its machine code came from the disk)."""
    kernel = fresh(name).kernel
    value = kernel(1)
    return value, sum(kernel.stats.cache_hits.values()) == 1

def edit(file, old, new):
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))
'''

FILES = {
    "bt_gym/__init__.py": "",
    "bt_gym/core/__init__.py": "",
    "bt_gym/core/numbers.py": "FACTOR = 10",
    "bt_gym/core/other.py": "UNUSED = 1",
    "bt_gym/core/deep.py": """
from bt_gym._jit import njit
try:
    from bt_gym.core.numbers import FACTOR
except ImportError:
    FACTOR = 0

@njit
def scale(x):
    return FACTOR * x
""",
    "bt_gym/core/kernel.py": """
import numpy as np
from bt_gym._jit import njit
from bt_gym.core import deep

@njit
def kernel(x):
    return deep.scale(x) + 1

@njit
def fifth(array):
    return array[4]
""",
    "mine/__init__.py": "",
    "mine/sizes.py": "SIZE = 3",
    "mine/strategy.py": """
from bt_gym._jit import njit
from bt_gym.core.deep import scale
from . import sizes
from .sizes import SIZE

@njit
def kernel(x):
    return scale(x) + sizes.SIZE + SIZE
""",
    "script.py": """
import helpers
from bt_gym._jit import njit

@njit
def kernel(x):
    return x + helpers.ADDED
""",
    "helpers.py": "ADDED = 100",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, text in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    shutil.copy(_jit.__file__, root / "bt_gym" / "_jit.py")
    return root


def run(root: Path, script: str, **environment: str) -> None:
    """Runs a script that asserts by itself, without the caller's numba settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    home = {"HOME": str(root.parent), "XDG_CACHE_HOME": str(root.parent / "cache")}
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, root],
        check=False,
        env=inherited | home | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_cache__notices_other_files(root: Path) -> None:
    run(
        root,
        """
assert result() == (11, False)
assert result() == (11, True)
edit("bt_gym/core/numbers.py", "10", "20")  # a constant, two imports away
assert result() == (21, False)
edit("bt_gym/core/deep.py", "FACTOR * x", "FACTOR - x")  # a callee
assert result() == (20, False)
edit("bt_gym/_jit.py", "nogil=True", "nogil=False")  # how kernels compile
assert result() == (20, False)
edit("bt_gym/core/kernel.py", "+ 1", "+ 2")
assert result() == (21, False)
edit("bt_gym/core/other.py", "1", "2")  # nothing to do with it
assert result() == (21, True)
edit("bt_gym/core/numbers.py", "20", "10")
assert result() == (11, False)
""",
    )
    assert list((root / "bt_gym/core/__pycache__").glob("kernel.kernel-*.nbc"))


def test_cache__notices_bounds_checks(root: Path) -> None:
    script = """
import numpy as np
try:
    fresh("bt_gym.core.kernel").fifth(np.zeros(2))
except IndexError:
    sys.exit(3)
"""
    run(root, script)
    with pytest.raises(AssertionError):
        run(root, script, NUMBA_BOUNDSCHECK="1")


def test_cache__of_a_users_own_kernels(root: Path) -> None:
    run(
        root,
        """
assert result("mine.strategy") == (16, False)
assert result("mine.strategy") == (16, True)
edit("mine/sizes.py", "3", "4")
assert result("mine.strategy") == (18, False)
edit("bt_gym/core/numbers.py", "10", "20")
assert result("mine.strategy") == (28, False)
assert result("script") == (101, False)
del sys.modules["script"], sys.modules["helpers"]
edit("helpers.py", "100", "200")
assert result("script") == (201, False)
""",
    )


def test_cache__folder_beside_the_package_cannot_be_written(root: Path) -> None:
    """A file in the way of a folder stands for a missing permission, which a superuser doesn't need."""
    (root / "bt_gym/core/__pycache__").write_text("")
    run(root, "assert result() == (11, False); assert result() == (11, True)")
    assert list((root.parent / "cache").rglob("kernel.kernel-*.nbc"))


def test_cache__no_folder_can_be_written(root: Path) -> None:
    (root / "bt_gym/core/__pycache__").write_text("")
    (root.parent / "cache").write_text("")
    run(
        root,
        """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert result() == (11, False)
    assert result() == (11, False)
assert "set NUMBA_CACHE_DIR" in str(caught[0].message)
""",
    )
    run(root, "assert result() == (11, False); assert result() == (11, True)", NUMBA_CACHE_DIR=str(root.parent / "own"))


def test_njit__counts_no_references_and_makes_no_arrays(root: Path) -> None:
    run(
        root,
        """
import numba, numpy
from bt_gym._jit import allocating, njit

def last(array):
    return array[-1]

def total(array):
    part = array[1:]
    return inner(part) + part[0]

def doubled(array):
    out = numpy.empty(len(array))
    for i in range(len(array)):
        out[i] = 2 * array[i]
    return out

inner, lean, counted, refused, made = njit(last), njit(total), allocating(total), njit(doubled), allocating(doubled)
given = numpy.arange(3.0)
assert lean(given) == counted(given) == 3
assert "NRT_" not in "".join(lean.inspect_asm().values())
assert made(given).tolist() == [0, 2, 4]
assert "NRT_" in "".join(made.inspect_asm().values())
try:
    refused(given)
except numba.core.errors.NumbaError:
    pass
else:
    raise AssertionError("an array was made")
""",
    )


def test_inlined__is_to_be_a_part_of_its_callers(root: Path) -> None:
    run(
        root,
        """
from bt_gym._jit import inlined, njit

def double(x):
    return 2 * x

part, whole = inlined(double), njit(double)
assert part(2) == whole(2) == 4
assert "alwaysinline" in "".join(part.inspect_llvm().values())
assert "alwaysinline" not in "".join(whole.inspect_llvm().values())
""",
    )


def test_njit__works_where_there_is_no_file(root: Path) -> None:
    run(
        root,
        """
from bt_gym._jit import njit
@njit
def double(x):
    return 2 * x
assert double(4) == 8
assert not hasattr(double._cache, "cache_path") or double._cache.cache_path is None
""",
    )


def test_njit__leaves_numba_as_it_was(root: Path) -> None:
    run(
        root,
        """
import numba
from numba.core import caching, config
before = config.CACHE_LOCATOR_CLASSES
fresh("bt_gym.core.kernel").kernel(1)
assert config.CACHE_LOCATOR_CLASSES == before
(root / "plain.py").write_text("import numba\\n@numba.njit(cache=True)\\ndef f(x):\\n    return x\\n")
import plain
assert type(plain.f._cache._impl.locator).__name__ == "InTreeCacheLocator"
""",
    )


def test_njit__is_plain_python_without_the_compiler(root: Path) -> None:
    run(
        root,
        """
import types
kernel = fresh("bt_gym.core.kernel").kernel
assert type(kernel) is types.FunctionType
assert kernel(2) == 21
assert not list(root.rglob("*.nbi"))
""",
        NUMBA_DISABLE_JIT="1",
    )


def test_imports__of_the_package_itself() -> None:
    package = Path(_jit.__file__).parent
    found = {str(file.relative_to(package)) for file in _jit._imports(package / "data" / "compiler.py")}
    assert {"_jit.py", "core/enums.py", "core/tape.py", "data/book.py", "data/dbn.py", "errors.py"} <= found
    assert all(name.endswith(".py") for name in found)


def test_imports__from_shared_folders_only_one_package(tmp_path: Path) -> None:
    """Else a plugin's kernel would be stamped with all of numpy."""
    shared = tmp_path / "site-packages"
    for name in ("numpy/__init__.py", "plugin/__init__.py", "plugin/sizes.py"):
        (shared / name).parent.mkdir(parents=True, exist_ok=True)
        (shared / name).write_text("")
    kernel = shared / "plugin/kernel.py"
    kernel.write_text("import numpy\nimport plugin.sizes\nfrom bt_gym.core import enums\n")
    own = [file for file in _jit._imports(kernel) if file.is_relative_to(shared)]
    assert own == [shared / "plugin/sizes.py"]


def test_bound__is_the_kernel_for_these_types() -> None:
    blocks = np.zeros(4, block_dtype)
    blocks["event"] = [0, 3, 7, 9]
    call = _jit.bound(find_block, blocks, 0)
    assert call is not find_block
    assert [call(blocks, event) for event in range(11)] == [find_block(blocks, event) for event in range(11)]
    assert [call(blocks, event) for event in (0, 2, 3, 10)] == [0, 0, 1, 3]


def test_callback__is_compiled_when_first_asked_for() -> None:
    @_jit.callback(numba.types.void(numba.types.int64[::1]))
    def double(numbers):
        numbers[:] *= 2

    @_jit.callback(numba.types.void(numba.types.int64[::1]))
    def negate(numbers):
        numbers[:] *= -1

    assert "compiled" not in vars(double)
    call = numba.njit(lambda function, numbers: function(numbers))
    numbers = np.array([1, 2, 3])
    for function in (double, negate):
        call(function.compiled, numbers)
    assert numbers.tolist() == [-2, -4, -6]
    assert len(call.signatures) == 1  # whichever function it is given
    assert copy.deepcopy(double) is double  # a strategy that has run can be copied
