"""Getting ready for the snapshot, from which every request starts."""

import gc
import importlib
import linecache
import os
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, compress
from operator import attrgetter
from types import CodeType

from . import door, models

_NEEDED_LATER = ("encodings.latin_1", "encodings.ascii", "encodings.utf_16", "encodings.utf_32", "encodings.idna")
"""Modules that are imported on first use, which would otherwise be in each request."""


_ASIDE = 8 * 1024 * 1024
"""Bytes that are set aside for requests."""

_GAPS = (8192, 4096, 2048, *range(1024, 0, -16))
"""Sizes of gaps that are filled, in bytes: pieces of memory as the C library gives them out, with its own head."""

_HEADS = sys.getsizeof(b"") + 4
"""Bytes of a piece that are not the contents of a `bytes` in it."""

_IN_A_ROW = 8
"""Pieces of one size, one after the other, that show that there is more than a gap."""

_MOST_FILLERS = 50_000

_NOT_SMALL = 64
"""Rows and columns of a matrix for which BLAS uses its work space."""


def prepare() -> None:
    """Does once what each request would have to do, and tidies up. The last thing before the snapshot."""
    for name in _NEEDED_LATER:
        importlib.import_module(name)
    _keep_source_lines()
    _warm_blas()
    _warm_narwhals()
    models.warm()
    try:
        raise RuntimeError from ValueError()
    except RuntimeError as error:
        traceback.format_exception(error)
    gc.collect()
    make_immortal()
    _fill_gaps()
    _set_memory_aside()
    # What is there now is never garbage; collections in a request need not look at it, nor write to its pages.
    gc.freeze()


_fillers: list[object] = []
"""What is in the gaps."""


def _fill_gaps() -> None:
    """Has small objects of a request lie side by side, and not in gaps all over the memory, each in a page of its own that
    would have to be restored: fills what is free in small pieces, so that new objects are taken from large ones.

    From the largest size down: so a row of pieces of a size, which the gaps that are left cannot hold, is in a large one.
    """
    if sys.platform != "wasi":
        # Another allocator.
        return
    with suppress(MemoryError):
        for gap in _GAPS:
            last, row = 0, 0
            while row < _IN_A_ROW and len(_fillers) < _MOST_FILLERS:
                # The least piece is for an object without anything, as only that is small enough.
                filler = bytes(gap - _HEADS) if gap > _HEADS else object()
                row = row + 1 if id(filler) == last + gap else 0
                last = id(filler)
                _fillers.append(filler)


def _set_memory_aside() -> None:
    """Has the memory grow by what a large request takes, and leaves it free: a request that finds it there need not have it
    grow, which is a call of the system for each piece, and it is not taken from the machine before it is used. Where the limit
    leaves no room for it, requests do without."""
    with suppress(MemoryError):
        bytearray(_ASIDE)


def _warm_blas() -> None:
    """Has NumPy's linear algebra set its work space aside, some 10 MiB, which it does at the first product that is not small."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return
    for kind in ("float32", "float64"):
        matrix = numpy.ones((_NOT_SMALL, _NOT_SMALL), kind)
        matrix @ matrix
        matrix @ matrix[0]


def _warm_narwhals() -> None:
    """Has the library by which scikit-learn looks at its input find out what there is. It reads the metadata of all
    packages for that, and imports what it needs for pandas at the first table."""
    if "narwhals" not in sys.modules:
        return
    try:
        import narwhals.plugins
        import narwhals.stable.v2 as narwhals_v2

        narwhals.plugins._discover_entrypoints()
        if "pandas" in sys.modules:
            narwhals_v2.from_native(sys.modules["pandas"].DataFrame({"column": [1]}), eager_only=True)
    except Exception:
        # It works without, only more slowly.
        return


def _keep_source_lines() -> None:
    """Keeps the source of the script's own modules, so that tracebacks need no file."""
    root = os.environ.get("AML_APP_ROOT", os.getcwd())
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files.add(os.environ.get("AZUREML_ENTRY_SCRIPT"))
    for file in files:
        if isinstance(file, str) and file.endswith(".py") and file.startswith(root):
            lines = linecache.getlines(file)
            if lines:
                # Without a time of modification the entry is never looked up again.
                linecache.cache[file] = (sum(map(len, lines)), None, lines, file)


_BATCH = 10_000
"""Objects that the search for others begins with at a time. The fewer, the less memory it takes."""

_TEXT, _CODE, _OTHER = 1, 2, 3
"""Numbers of types whose objects are to be immortal: `str`, code objects, and all others."""

_CODE_PARTS = attrgetter("co_consts", "co_names", "co_name", "co_qualname", "co_filename")


def make_immortal() -> None:
    """Makes what is there now immortal, so that a request does not write to the page of every object that it looks at. What
    is immortal already takes no time.

    Nothing is lost by it: an instance is thrown away with all that is in it. What does something when it is freed is left
    as it is; see `_is_mortal`. There are hundreds of thousands of objects, so no line of Python is run for each.
    """
    roots = gc.get_objects()
    # By the address of the type. The types are among the roots, which keep them.
    numbers: dict[int, int] = {}
    for start in range(0, len(roots), _BATCH):
        found = roots[start : start + _BATCH]
        while found:
            answer = door.make_immortal(found, numbers)
            if not answer:
                # Outside of the sandbox nobody does it.
                return
            new = list(compress(found, answer))
            answer = answer.translate(None, bytes([door.MORTAL]))
            made = list(_select(new, answer, _TEXT, _CODE, _OTHER))
            unknown = list(_select(new, answer, door.UNKNOWN))
            for kind in map(type, unknown):
                if id(kind) not in numbers:
                    numbers[id(kind)] = _number(kind)
            # A string keeps its hash from when it is first asked for it.
            deque(map(hash, _select(new, answer, _TEXT)), maxlen=0)
            found = gc.get_referents(*made)
            # The collector does not see what a code object refers to.
            found.extend(chain.from_iterable(map(_CODE_PARTS, _select(new, answer, _CODE))))
            # Now their types are known.
            found.extend(unknown)


def _select(objects: list[object], answer: bytes, *numbers: int) -> Iterator[object]:
    """The objects for which there is one of the numbers in an answer of the door."""
    return compress(objects, answer.translate(bytes(number in numbers for number in range(256))))


def _number(kind: type) -> int:
    if _is_mortal(kind):
        return door.MORTAL
    return _TEXT if kind is str else _CODE if kind is CodeType else _OTHER


def _is_mortal(kind: type) -> bool:
    """Whether objects of a type are to be freed when nobody refers to them any more: those with a finalizer, those that
    keep a buffer from being resized, and arrays, which can be resized while there is but one reference to them."""
    return (
        hasattr(kind, "__del__")
        or issubclass(kind, memoryview)
        or any(base.__module__ == "numpy" and base.__name__ == "ndarray" for base in kind.__mro__)
    )
