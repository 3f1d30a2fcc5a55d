"""Takes and gives arrays, with every kind of number that has a schema of its own."""

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema

RECORDS = np.array([("a", 1, 0.5)], dtype=[("name", "U4"), ("count", "i4"), ("share", "f8")])


def init():
    pass


@input_schema("doubles", NumpyParameterType(np.array([[1.0, 2.0, 3.0]])))
@input_schema("floats", NumpyParameterType(np.array([1.0], dtype=np.float32)))
@input_schema("integers", NumpyParameterType(np.array([[[1]]], dtype=np.int64)))
@input_schema("small", NumpyParameterType(np.array([1], dtype=np.uint8)))
@input_schema("flags", NumpyParameterType(np.array([True])))
@input_schema("texts", NumpyParameterType(np.array(["ab"])))
@input_schema("moments", NumpyParameterType(np.array(["2020-01-02T03:04:05"], dtype="datetime64[s]")))
@input_schema("spans", NumpyParameterType(np.array([5], dtype="timedelta64[s]")))
@input_schema("records", NumpyParameterType(RECORDS))
@output_schema(NumpyParameterType(np.array([3726.995])))
def run(doubles, floats, integers, small, flags, texts, moments, spans, records):
    return doubles[0].tolist()
