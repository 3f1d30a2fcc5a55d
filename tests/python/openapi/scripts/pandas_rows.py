"""Takes frames as rows with values of several types, which version 2.0 has no words for."""

import pandas as pd
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema, output_schema

FRAME = pd.DataFrame({"age": [1, 2], "name": ["a", "b"]})


def init():
    pass


@input_schema("split", PandasParameterType(FRAME, orient="split"))
@input_schema("values", PandasParameterType(FRAME, orient="values"))
@output_schema(PandasParameterType(FRAME, orient="values"))
def run(split, values):
    return []
