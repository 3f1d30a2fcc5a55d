"""Takes less than its schema can say: an array whose rows have one length, and numbers that fit its type."""

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    pass


@input_schema("data", NumpyParameterType(np.array([[1, 2, 3]], dtype=np.int32)))
@output_schema(NumpyParameterType(np.array([1], dtype=np.int32)))
def run(data):
    return data.sum(axis=1).tolist()
