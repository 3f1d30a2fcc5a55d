"""Corrections of `inference_schema`, where it refuses what its own samples promise."""

import base64
from types import ModuleType
from typing import Any

from .imports import after_import


def install() -> None:
    """Corrects the package as soon as it is imported."""
    after_import("inference_schema.parameter_types.standard_py_parameter_type", _fix_bytearray)


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
