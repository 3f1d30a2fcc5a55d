import io
import os

import joblib
import numpy as np
from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from PIL import Image, UnidentifiedImageError

# The pictures that the model has learned from: 8 times 8 pixels, white on black, with 17 shades.
SIDE = 8
SHADES = 16


def init():
    """Loads the model, once."""
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "digits.joblib"))


@rawhttp
def run(request: AMLRequest):
    """Tells which digit a picture shows. The body of the request is the picture itself."""
    if request.method != "POST":
        return AMLResponse({"message": "Send a picture with POST."}, 405, {"Allow": "POST"}, json_str=True)
    try:
        picture = Image.open(io.BytesIO(request.get_data()))
        picture.load()
    except (UnidentifiedImageError, OSError) as error:
        return AMLResponse({"message": f"The body is no picture: {type(error).__name__}"}, 400, json_str=True)

    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float64).reshape(1, -1) / 255 * SHADES
    probability = model.predict_proba(pixels)[0]
    best = int(probability.argmax())
    answer = {
        "digit": int(model.classes_[best]),
        "probability": float(probability[best]),
        "picture": {"format": picture.format, "width": picture.width, "height": picture.height},
    }
    return AMLResponse(answer, 200, {"X-Digit": str(answer["digit"])}, json_str=True)
