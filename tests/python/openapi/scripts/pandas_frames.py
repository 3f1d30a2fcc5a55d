"""Takes and gives frames that every version of the document has words for."""

import pandas as pd
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema, output_schema

FRAME = pd.DataFrame({"age": [1, 2], "share": [0.5, 1.5], "name": ["a", "b"], "flag": [True, False]})
FRAME["day"] = pd.to_datetime(["2020-01-01", "2020-01-02"])
FRAME["span"] = pd.to_timedelta(["1 days", "2 days"])


def init():
    pass


@input_schema("records", PandasParameterType(FRAME))
@input_schema("index", PandasParameterType(FRAME, orient="index"))
@input_schema("columns", PandasParameterType(FRAME, orient="columns"))
@output_schema(PandasParameterType(FRAME))
def run(records, index, columns):
    return []
