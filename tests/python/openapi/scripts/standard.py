"""Takes and gives what Python has itself."""

import datetime

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

SAMPLES = {
    "integer": 1,
    "number": 0.5,
    "flag": True,
    "text": "text",
    "numbers": [1.0, 2.0],
    "pair": (1, 2),
    "mapping": {"a": 1, "b": [{"c": "d"}]},
    "moment": datetime.datetime(2020, 1, 2, 3, 4, 5),
    "time": datetime.time(3, 4, 5),
    "day": datetime.date(2020, 1, 2),
    "data": b"bytes",
    "more": bytearray(b"more"),
}


def init():
    pass


@input_schema("integer", StandardPythonParameterType(SAMPLES["integer"]))
@input_schema("number", StandardPythonParameterType(SAMPLES["number"]))
@input_schema("flag", StandardPythonParameterType(SAMPLES["flag"]))
@input_schema("text", StandardPythonParameterType(SAMPLES["text"]))
@input_schema("numbers", StandardPythonParameterType(SAMPLES["numbers"]))
@input_schema("pair", StandardPythonParameterType(SAMPLES["pair"]))
@input_schema("mapping", StandardPythonParameterType(SAMPLES["mapping"]))
@input_schema("moment", StandardPythonParameterType(SAMPLES["moment"]))
@input_schema("time", StandardPythonParameterType(SAMPLES["time"]))
@input_schema("day", StandardPythonParameterType(SAMPLES["day"]))
@input_schema("data", StandardPythonParameterType(SAMPLES["data"]))
@input_schema("more", StandardPythonParameterType(SAMPLES["more"]))
@output_schema(StandardPythonParameterType(SAMPLES["mapping"]))
def run(integer, number, flag, text, numbers, pair, mapping, moment, time, day, data, more, request_headers):
    return mapping
