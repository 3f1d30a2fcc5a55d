import os

import joblib
import pandas as pd
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

SAMPLE = pd.DataFrame(
    [
        {
            "tenure_months": 14,
            "monthly_charge": 64.9,
            "support_calls": 3,
            "contract": "monthly",
            "payment": "card",
            "paperless": True,
        }
    ]
)


def init():
    """Loads the model, once."""
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "churn.joblib"))


@input_schema("customers", PandasParameterType(SAMPLE))
@output_schema(StandardPythonParameterType([{"churn": 0.41, "risk": "medium"}]))
def run(customers):
    """Answers with the probability that each customer leaves."""
    # What a customer has paid so far is not asked for: it follows from the rest.
    features = customers.assign(paid=customers["tenure_months"] * customers["monthly_charge"])
    result = pd.DataFrame({"churn": model.predict_proba(features)[:, 1]})
    risk = pd.cut(result["churn"], [-1, 0.25, 0.5, 1], labels=["low", "medium", "high"])
    return result.assign(risk=risk.astype(str)).to_dict(orient="records")
