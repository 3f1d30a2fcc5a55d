//! A scorer that is joined to what it imports: what instances are made from.

use wasmtime::component::Instance;
use wasmtime::{Engine, Store};

use crate::bindings::{Scorer, ScorerPre};
use crate::instance::HostState;
use crate::memory::{self, Beginnings};

/// A scorer that is joined to what it imports.
#[derive(Clone)]
pub(crate) struct Linked {
    pre: ScorerPre<HostState>,
    /// What its memories begin as, where they are in places of ours.
    beginnings: Option<Beginnings>,
    /// Whether it is given requests without their bodies, which it takes itself.
    pub(crate) takes_body: bool,
}

impl Linked {
    /// A component, whose memories are the engine's business.
    pub(crate) fn component(pre: ScorerPre<HostState>) -> Self {
        Self { pre, beginnings: None, takes_body: false }
    }

    /// A runtime with a state.
    pub(crate) fn runtime(pre: ScorerPre<HostState>, beginnings: Beginnings, takes_body: bool) -> Self {
        Self { pre, beginnings: Some(beginnings), takes_body }
    }

    /// The engine that runs it.
    pub(crate) fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// Makes an instance.
    pub(crate) async fn instantiate(&self, store: &mut Store<HostState>) -> wasmtime::Result<Scorer> {
        self.make(self.pre.instantiate_async(store)).await
    }

    /// The same, as an instance of which everything can be looked at.
    pub(crate) async fn instantiate_raw(&self, store: &mut Store<HostState>) -> wasmtime::Result<Instance> {
        self.make(self.pre.instance_pre().instantiate_async(store)).await
    }

    async fn make<T>(&self, instance: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
        match &self.beginnings {
            Some(beginnings) => memory::instantiate_with(beginnings, instance).await,
            None => instance.await,
        }
    }
}
