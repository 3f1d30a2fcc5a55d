"""Has samples with nothing in them."""

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    pass


@input_schema("mapping", StandardPythonParameterType({}))
@input_schema("items", StandardPythonParameterType([]))
@output_schema(StandardPythonParameterType({"inner": {}}))
def run(mapping, items):
    return {"inner": {}}
