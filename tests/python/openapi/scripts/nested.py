"""Takes types within types."""

import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

ARRAY = NumpyParameterType(np.array([[1.0, 2.0]]))
FRAME = PandasParameterType(pd.DataFrame({"a": [1.0], "b": ["x"]}))


def init():
    pass


@input_schema("mapping", StandardPythonParameterType({"array": ARRAY, "frame": FRAME, "plain": 1}))
@input_schema("items", StandardPythonParameterType([ARRAY]))
@output_schema(StandardPythonParameterType({"array": ARRAY, "deeper": StandardPythonParameterType({"frame": FRAME})}))
def run(mapping, items):
    return {}
