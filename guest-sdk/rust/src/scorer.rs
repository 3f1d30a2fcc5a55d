//! The two ways to write a scorer.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Deployment, Request, Response, Result, Signature};

/// A scorer with JSON in and JSON out.
///
/// A request has to be a JSON object of the form of [`Input`](Scorer::Input): anything else is answered with HTTP 400
/// and a message that says where it does not fit. Objects may have keys that the type does not know. The content type
/// is checked by the host. What [`run`](Scorer::run) returns is sent as `application/json` with status 200.
///
/// The types' schema is published as the scorer's. Two things it does not say: a number such as `38.0` is an integer in
/// JSON Schema, and is refused where the type is an integer of Rust; and a float of the output that is NaN or infinite is
/// sent as `null`, because JSON has no word for it.
///
/// The [crate's own documentation](crate) has an example.
pub trait Scorer: Send + Sync + Sized + 'static {
    /// What a request holds: a struct, with a field for each parameter.
    type Input: DeserializeOwned + JsonSchema;

    /// What is sent back.
    type Output: Serialize + JsonSchema;

    /// Loads the model. Called once, at deploy; the instance's state after it is what every request starts from.
    ///
    /// # Errors
    ///
    /// Any [`Fault`](crate::Fault) refuses the deployment and is shown to the operator.
    fn init(deployment: &Deployment) -> Result<Self>;

    /// Scores one input. Called at most once in the life of an instance.
    ///
    /// # Errors
    ///
    /// The [`Fault`](crate::Fault) decides the status of the answer and what the client is told.
    fn run(&self, input: Self::Input) -> Result<Self::Output>;
}

/// A scorer that reads the request and makes the response itself.
///
/// ```
/// use scorebox_guest::{Deployment, Fault, RawScorer, Request, Response, Result};
///
/// /// Tells how bright a grey image is: one byte a pixel in, text out.
/// struct Brightness;
///
/// impl RawScorer for Brightness {
///     fn init(_: &Deployment) -> Result<Self> {
///         Ok(Self)
///     }
///
///     fn run(&self, request: Request) -> Result<Response> {
///         if request.header("content-type") != Some(b"application/octet-stream") {
///             return Err(Fault::unsupported_input("Expects Content-Type to be application/octet-stream"));
///         }
///         let sum: u64 = request.body.iter().map(|&pixel| u64::from(pixel)).sum();
///         let mean = sum / (request.body.len() as u64).max(1);
///         Ok(Response::new("text/plain", mean.to_string()))
///     }
/// }
///
/// scorebox_guest::export!(Brightness);
/// # fn main() {}
/// ```
pub trait RawScorer: Send + Sync + Sized + 'static {
    /// Loads the model. Called once, at deploy; the instance's state after it is what every request starts from.
    ///
    /// # Errors
    ///
    /// Any [`Fault`](crate::Fault) refuses the deployment and is shown to the operator.
    fn init(deployment: &Deployment) -> Result<Self>;

    /// Scores one request. Called at most once in the life of an instance.
    ///
    /// # Errors
    ///
    /// The [`Fault`](crate::Fault) decides the status of the answer and what the client is told.
    fn run(&self, request: Request) -> Result<Response>;

    /// Says what the scorer takes and gives, and how the host prepares `request.body`. [`Signature::raw`]
    /// unless overridden. Called once, at deploy, after `init`.
    fn schema(&self) -> Signature {
        Signature::raw()
    }
}

impl<T: Scorer> RawScorer for T {
    fn init(deployment: &Deployment) -> Result<Self> {
        <T as Scorer>::init(deployment)
    }

    fn run(&self, request: Request) -> Result<Response> {
        let response = Response::json(&<T as Scorer>::run(self, request.json()?)?)?;
        // The contract says of a result that scoring did not fail; a response that a scorer makes says what it likes.
        Ok(response.with_header("x-ms-run-function-failed", "False"))
    }

    fn schema(&self) -> Signature {
        Signature::json::<T::Input, T::Output>()
    }
}
