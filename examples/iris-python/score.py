import os

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

SPECIES = ["setosa", "versicolor", "virginica"]


def init():
    """Loads the parameters of the model, once."""
    global mean, scale, weights, bias
    with np.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "iris.npz")) as model:
        mean, scale, weights, bias = (model[name] for name in ["mean", "scale", "weights", "bias"])


@input_schema("data", NumpyParameterType(np.array([[5.1, 3.5, 1.4, 0.2]])))
@output_schema(StandardPythonParameterType({"prediction": ["setosa"], "probability": [[0.98, 0.02, 0.0]]}))
def run(data):
    """Tells the species from length and width of sepal and petal, in centimetres."""
    logits = (data - mean) / scale @ weights + bias
    # The largest is subtracted so that no exponential overflows.
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = odds / odds.sum(axis=1, keepdims=True)
    return {
        "prediction": [SPECIES[index] for index in probability.argmax(axis=1)],
        "probability": probability.tolist(),
    }
