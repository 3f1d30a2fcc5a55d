"""Takes all that its schema allows, and gives what its schema says."""

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

ANSWER = {"integer": 1, "number": 0.5, "flag": True, "text": "text", "items": 2, "keys": ["a"], "sum": 1.0}


def init():
    pass


# The schema asks for no parameter: each has a default.
@input_schema("integer", StandardPythonParameterType(1))
@input_schema("number", StandardPythonParameterType(0.5))
@input_schema("flag", StandardPythonParameterType(True))
@input_schema("text", StandardPythonParameterType("text"))
@input_schema("items", StandardPythonParameterType([1.0]))
@input_schema("mapping", StandardPythonParameterType({"a": 1}))
@input_schema("row", NumpyParameterType(np.array([1.0])), optional=True)
@output_schema(StandardPythonParameterType(ANSWER))
def run(integer=1, number=0.5, flag=True, text="text", items=[], mapping={}, row=None):
    total = 0.0 if row is None else float(np.nan_to_num(np.sum(row)))
    return {
        # Python takes a truth value for an integer.
        "integer": int(integer),
        "number": number,
        "flag": flag,
        "text": text,
        "items": len(items),
        "keys": sorted(mapping),
        "sum": total,
    }
