//! Why a package cannot be had, and what to do instead.

use std::fmt;

use pep440_rs::Version;

use super::resolve::Ask;
use crate::python::PYTHON;

/// A package that cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::build) struct Refusal {
    pub(super) key: String,
    /// Who asks for it.
    asked: String,
    reason: Reason,
}

impl Refusal {
    pub(super) fn of(ask: &Ask, reason: Reason) -> Self {
        Self { key: ask.key.clone(), asked: ask.asked(), reason }
    }
}

/// Why a package cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::build) enum Reason {
    /// It has machine code.
    Native {
        /// The newest version that would do.
        version: Option<Version>,
        /// An older version that has none.
        pure: Option<Version>,
    },
    /// There is only source code.
    Source,
    /// There is no such package, or no such version, for this Python. The text is pip's.
    None(String),
    /// Building it from source code failed, or led to machine code.
    Build(String),
    /// There is no hash for its source code where hashes are required.
    NoHash,
    /// Its source code is another than the hashes are of. The text is its SHA-256.
    Hash(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, for {}: ", self.key, self.asked)?;
        match &self.reason {
            Reason::Native { version, pure } => {
                match version {
                    Some(version) => write!(f, "version {version} has machine code")?,
                    None => write!(f, "it has machine code")?,
                }
                write!(f, " for other systems, which the sandbox does not run. Way out: ")?;
                if let Some(pure) = pure {
                    write!(f, "ask for {}=={pure}, which has none, if so old a version will do; or ", self.key)?;
                }
                f.write_str(way_out(&self.key))
            }
            Reason::Source => write!(
                f,
                "there is no wheel of it, only source code. To make a wheel, the package's own code is run on this machine, \
                 outside of any sandbox: if you trust it, build with --allow-sdist"
            ),
            Reason::None(text) => {
                write!(f, "there is none for Python {PYTHON}: {text}")?;
                if self.key.starts_with("azureml") {
                    write!(f, ". Way out: {}", way_out(&self.key))?;
                }
                Ok(())
            }
            Reason::Build(text) => write!(f, "no wheel without machine code could be made of its source code: {text}"),
            Reason::NoHash => write!(
                f,
                "there is only source code of it, which is not run without a hash where others have one; write down that of \
                 the source code (`pip hash FILE`) in each line that asks for it"
            ),
            Reason::Hash(sha256) => write!(
                f,
                "its source code has the SHA-256 {sha256}, which is none of its hashes, and was not run; it was changed, or \
                 the hashes are those of other files: get them anew (`pip hash FILE`) if you trust it"
            ),
        }
    }
}

/// What to do instead of using a package with machine code.
fn way_out(key: &str) -> &'static str {
    match key {
        "lightgbm" | "xgboost" | "catboost" => {
            "train with scikit-learn's HistGradientBoostingClassifier or -Regressor, which the runtime carries; or export \
             the trees and score them in a scorer written in Rust"
        }
        "torch" | "torchvision" | "tensorflow" | "tensorflow-cpu" | "tflite-runtime" | "keras" | "jax" | "jaxlib"
        | "onnxruntime" | "onnx" | "paddlepaddle" | "mxnet" => {
            "export the weights and compute with numpy, if the network is small; or write the scorer in Rust, with a crate \
             that runs ONNX models"
        }
        "tokenizers" | "sentencepiece" | "spacy" | "safetensors" => {
            "write the scorer in Rust, in which this library can be used directly; or use scikit-learn's text features"
        }
        "pydantic-core" => "use dataclasses, or the decorators of inference-schema, which the runtime provides",
        "rpds-py" => "ask for jsonschema<4.18, which does without it",
        "orjson" | "ujson" | "rapidjson" | "python-rapidjson" => "use the standard library's json",
        "pyarrow" | "polars" | "fastparquet" | "duckdb" => {
            "use pandas, which the runtime carries, and save the data as CSV, JSON or in numpy's format"
        }
        "numba" | "llvmlite" => "compute with numpy, which the runtime carries",
        "opencv-python" | "opencv-python-headless" | "opencv-contrib-python" => {
            "use Pillow and scipy.ndimage, which the runtime carries"
        }
        "uvloop" | "httptools" | "gevent" | "greenlet" | "uvicorn" | "psutil" => {
            "take it out: serving is not the script's affair here"
        }
        "cryptography" | "grpcio" | "psycopg2" | "psycopg2-binary" | "pyodbc" | "pymssql" | "mysqlclient"
        | "aiohttp" => {
            "a scorer has no network, so take out what needs it; the client can fetch the data and send it along"
        }
        key if key.starts_with("azureml") || key.starts_with("azure-") => {
            "the services of Azure cannot be reached from the sandbox: take it out, and read the model from the folder in \
             AZUREML_MODEL_DIR"
        }
        _ => "look for a package without machine code that does the same; or write the scorer in Rust",
    }
}
