from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    pass


@input_schema("number", StandardPythonParameterType(1))
@input_schema("data", StandardPythonParameterType(bytearray(b"abc")))
@output_schema(StandardPythonParameterType([1, "a"]))
def run(number, data="QQ==", request_headers=None):
    return [number, list(data), request_headers]
