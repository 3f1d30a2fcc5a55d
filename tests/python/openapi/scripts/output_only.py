"""Says only what it gives."""

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import output_schema


def init():
    pass


@output_schema(StandardPythonParameterType({"length": 1}))
def run(data=""):
    return {"length": len(data)}
