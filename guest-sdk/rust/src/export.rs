//! From a scorer to the component's exports.

use std::sync::OnceLock;

use crate::bindings::exports::scorebox::scoring::scoring::{self as wit, Deployment, Request, Response, Signature};
use crate::{Fault, RawScorer, logging};

/// Makes a scorer the one that this crate exports. Use it once, in a crate of type `cdylib`.
///
/// Takes a type that implements [`Scorer`](crate::Scorer) or [`RawScorer`]. Away from WebAssembly it only checks that
/// it does.
#[macro_export]
macro_rules! export {
    ($scorer:ty) => {
        const _: () = {
            struct Component;

            static SCORER: $crate::__private::OnceLock<$scorer> = $crate::__private::OnceLock::new();

            impl $crate::__private::Exported for Component {
                type Scorer = $scorer;

                fn scorer() -> &'static $crate::__private::OnceLock<$scorer> {
                    &SCORER
                }
            }

            // Names all that the exports name, so that nothing is reported as unused where there are none.
            const _: fn() -> &'static $crate::__private::OnceLock<$scorer> =
                <Component as $crate::__private::Exported>::scorer;

            #[cfg(target_family = "wasm")]
            $crate::__private::export_component! { Component with_types_in $crate::bindings }
        };
    };
}

/// A component: the place that its scorer is in, empty until `init`.
pub trait Exported {
    /// The type that was exported.
    type Scorer: RawScorer;

    /// Where it is.
    fn scorer() -> &'static OnceLock<Self::Scorer>;
}

impl<T: Exported> wit::Guest for T {
    fn init(deployment: Deployment) -> Result<(), String> {
        logging::install();
        let scorer = T::Scorer::init(&deployment).map_err(|fault| fault.to_string())?;
        T::scorer().set(scorer).map_err(|_| "init was called twice: deploy a fresh instance".to_owned())
    }

    fn run(request: Request) -> Result<Response, wit::Fault> {
        let scorer = T::scorer().get().ok_or_else(|| Fault::failed("run was called before init"))?;
        Ok(scorer.run(request)?)
    }

    fn schema() -> Signature {
        T::scorer().get().map_or_else(Signature::raw, RawScorer::schema)
    }
}
