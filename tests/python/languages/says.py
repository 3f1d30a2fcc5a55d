"""Says in each way what it is told to, and answers with it. tests/guests/says is the same in Rust."""

import logging

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    print("printed in init()")
    logging.getLogger("azmlinfsrv.model").info("logged in init()")


@input_schema("text", StandardPythonParameterType("text"))
@input_schema("fail", StandardPythonParameterType(False))
@input_schema("spin", StandardPythonParameterType(False))
@output_schema(StandardPythonParameterType({"said": "text"}))
def run(text, fail=False, spin=False):
    print("printed", text)
    logging.getLogger("azmlinfsrv").info("logged %s", text)
    logging.getLogger("azmlinfsrv.model").warning("warned %s", text)
    logging.getLogger("azmlinfsrv.model.deeper").error("an error %s", text)
    while spin:
        pass
    if fail:
        raise ValueError(f"failed {text}")
    return {"said": text}
