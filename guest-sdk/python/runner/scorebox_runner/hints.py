"""What an operator can do about an error in `init()`, where the error itself does not say."""

import sys
from typing import Any

_NATIVE = {
    "xgboost": "sklearn.ensemble.HistGradientBoostingClassifier or -Regressor",
    "lightgbm": "sklearn.ensemble.HistGradientBoostingClassifier or -Regressor",
    "catboost": "sklearn.ensemble.HistGradientBoostingClassifier or -Regressor",
    "torch": "sklearn.neural_network, or the layers' weights with numpy",
    "torchvision": "PIL and numpy",
    "tensorflow": "sklearn.neural_network, or the layers' weights with numpy",
    "keras": "sklearn.neural_network, or the layers' weights with numpy",
    "jax": "numpy and scipy",
    "onnxruntime": "the model's own library, if the sandbox has it",
    "transformers": "sklearn.feature_extraction.text",
    "tokenizers": "sklearn.feature_extraction.text",
    "spacy": "sklearn.feature_extraction.text, or regex",
    "cv2": "PIL and numpy",
    "pyspark": "pandas",
    "pyarrow": "CSV or JSON with pandas",
    "polars": "pandas",
    "numba": "numpy",
    "shap": "sklearn.inspection",
    "psycopg2": "",
    "pyodbc": "",
    "grpc": "",
}
"""Packages of native code that no wheel brings into the sandbox, and what can take their place."""

_SCRIPTS = ("__main__", "__mp_main__", "entry_module")
"""Names that modules have while they are run as scripts, under which nobody else finds them."""

_last_pickled: list[str] = []
"""Module and name of the class that was looked up last."""


def watch_pickles() -> None:
    """Notes which class is being unpickled. Cannot be undone: Python has no way to remove an audit hook."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            _last_pickled[:] = map(str, arguments)

    sys.addaudithook(hook)


def hint(error: BaseException | None) -> str:
    """One sentence, or nothing."""
    seen: set[int] = set()
    # A chain may end in itself: `raise error from error`.
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        text = _hint(error)
        if text:
            return text
        error = error.__cause__ or error.__context__
    return ""


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing_module(error.name)
    if isinstance(error, AttributeError) and _last_pickled:
        module, name = _last_pickled
        if module in _SCRIPTS and name in str(error):
            return (
                f"The model was pickled with {name} defined in the script that trained it. Define it in a module beside "
                "the entry script, import it from there when training too, and pickle the model again."
            )
    return ""


def _missing_module(name: str) -> str:
    package = name.partition(".")[0]
    if package == "azureml":
        return (
            "azureml-core is not in the sandbox. Where the script asks it for the model's path, use "
            "os.environ['AZUREML_MODEL_DIR'] instead."
        )
    pickled = _last_pickled if _last_pickled and _last_pickled[0].partition(".")[0] == package else None
    what = f"The model needs {'.'.join(pickled)}" if pickled else f"The script needs {package}"
    if package not in _NATIVE:
        return (
            f"{what}: if {package} is a package of pure Python, add it to requirements.txt and run `scorebox build` "
            "again; if it is a file of yours, put it beside the entry script."
        )
    instead = _NATIVE[package]
    return (
        f"{what}, and {package} is native code that cannot run in the sandbox."
        + (f" Possible in its place: {instead}." if instead else "")
        + " Or serve the model with a scorer in Rust, or outside the sandbox."
    )
