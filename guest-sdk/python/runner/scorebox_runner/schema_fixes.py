"""Corrections of `inference_schema`, where it refuses what its own samples promise, or where 32 bits would show."""

import base64
from functools import cache
from types import ModuleType
from typing import Any

from . import script
from .imports import after_import

_NARROW_INTEGERS = ("int32", "intc", "i4")
"""What a script that wants integers of 32 bits says."""


def install() -> None:
    """Corrects the package as soon as it is imported."""
    after_import("inference_schema.parameter_types.standard_py_parameter_type", _fix_bytearray)
    after_import("inference_schema.parameter_types.numpy_parameter_type", _widen_default_integers)


def _fix_bytearray(module: ModuleType) -> None:
    """A sample of type `bytearray` takes base64 text, as its schema says.

    The package decodes the text to `bytes` and then refuses them for not being a `bytearray`.
    """
    parameter_type = module.StandardPythonParameterType
    original = parameter_type.deserialize_input

    def deserialize_input(self: Any, input_data: Any) -> Any:
        if self.sample_data_type is bytearray and isinstance(input_data, str):
            return bytearray(base64.b64decode(input_data))
        return original(self, input_data)

    parameter_type.deserialize_input = deserialize_input


def _widen_default_integers(module: ModuleType) -> None:
    """Arrays of integers have 64 bits, as where scripts are written, unless the script says that it wants 32.

    NumPy's default integer has the size of a pointer, which here is 32 bits. It cannot be told from an `int32` that was
    asked for, so the script's text is looked at.
    """
    numpy = module.np
    parameter_type = module.NumpyParameterType
    original_init = parameter_type.__init__
    original_deserialize = parameter_type.deserialize_input

    def widened(array: Any) -> Any:
        if isinstance(array, numpy.ndarray) and array.dtype == numpy.intp and not _asks_for_narrow_integers():
            return array.astype(numpy.int64)
        return array

    def __init__(self: Any, sample_input: Any, *args: Any, **kwargs: Any) -> None:
        original_init(self, widened(sample_input), *args, **kwargs)

    def deserialize_input(self: Any, input_data: Any) -> Any:
        return widened(original_deserialize(self, input_data))

    parameter_type.__init__ = __init__
    parameter_type.deserialize_input = deserialize_input


@cache
def _asks_for_narrow_integers() -> bool:
    # Not before a script asks: the module may be imported before the script is there.
    path = script.entry_script()
    if path is None:
        return False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            source = file.read()
    except OSError:
        return False
    return any(name in source for name in _NARROW_INTEGERS)
