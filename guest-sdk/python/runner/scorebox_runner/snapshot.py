"""Getting ready for the snapshot, from which every request starts."""

import gc
import importlib
import linecache
import os
import sys
import traceback

_NEEDED_LATER = ("encodings.latin_1", "encodings.ascii", "encodings.utf_16", "encodings.utf_32", "encodings.idna")
"""Modules that are imported on first use, which would otherwise be in each request."""


def prepare() -> None:
    """Does once what each request would have to do, and tidies up. The last thing before the snapshot."""
    for name in _NEEDED_LATER:
        importlib.import_module(name)
    _keep_source_lines()
    _warm_narwhals()
    try:
        raise RuntimeError from ValueError()
    except RuntimeError as error:
        traceback.format_exception(error)
    gc.collect()
    # What is there now is never garbage; collections in a request need not look at it, nor write to its pages.
    gc.freeze()


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
