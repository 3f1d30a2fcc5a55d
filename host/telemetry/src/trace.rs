//! Where a request stands in a distributed trace.
//!
//! The headers are those of [W3C Trace Context](https://www.w3.org/TR/trace-context/). They are read by OpenTelemetry's
//! `TraceContextPropagator`; what is ours is a check of the header's form before it, because it takes ids of any
//! length.

use std::sync::Arc;

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

/// Bytes of a `traceparent` of version 00: `00-<32 hexadecimal digits>-<16>-<2>`.
const TRACEPARENT_BYTES: usize = 55;

/// Bytes of a `tracestate` that is passed on, which is as much as the standard asks for.
const TRACESTATE_BYTES: usize = 512;

/// The place of a request in a trace: the trace, the span that is the request, and the caller's span. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(crate) id: TraceId,
    pub(crate) span: SpanId,
    /// The caller's span, [`SpanId::INVALID`] when the request starts the trace.
    pub(crate) parent: SpanId,
    pub(crate) flags: TraceFlags,
    pub(crate) state: Option<Arc<TraceState>>,
}

impl Trace {
    /// What belongs to no trace: all ids are zero.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            id: TraceId::INVALID,
            span: SpanId::INVALID,
            parent: SpanId::INVALID,
            flags: TraceFlags::NOT_SAMPLED,
            state: None,
        }
    }

    /// Continues the trace of the headers `traceparent` and `tracestate`, or starts one with random ids when there is
    /// no `traceparent` or it is malformed. More than one `traceparent` is malformed; a `tracestate` of more than 512 bytes
    /// is left out.
    #[must_use]
    pub fn of_request(headers: &HeaderMap) -> Self {
        let generator = RandomIdGenerator::default();
        let span = generator.new_span_id();
        match caller(headers) {
            Some(caller) => Self {
                id: caller.trace_id(),
                span,
                parent: caller.span_id(),
                flags: caller.trace_flags(),
                state: Some(caller.trace_state())
                    .filter(|state| **state != TraceState::NONE && state.header().len() <= TRACESTATE_BYTES)
                    .map(|state| Arc::new(state.clone())),
            },
            None => Self {
                id: generator.new_trace_id(),
                span,
                parent: SpanId::INVALID,
                flags: TraceFlags::SAMPLED,
                state: None,
            },
        }
    }

    /// Whether it belongs to no trace.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.id == TraceId::INVALID
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.id.to_string()
    }

    /// The id of the request's span: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        self.span.to_string()
    }

    /// Whether the caller asks for the trace to be recorded. A trace that starts here is.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// What its `tracestate` counts for in the queue, in bytes.
    pub(crate) fn state_cost(&self) -> usize {
        let members = self.state.iter().flat_map(|state| &**state);
        members.map(|(name, value)| 64 + name.len() + value.len()).sum()
    }

    pub(crate) fn span_context(&self) -> SpanContext {
        let state = self.state.as_deref().cloned().unwrap_or_default();
        SpanContext::new(self.id, self.span, self.flags, false, state)
    }
}

/// The caller's span, when the headers name one.
fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next()?;
    if values.next().is_some() || !is_well_formed(value.as_bytes()) {
        return None;
    }
    let nothing = opentelemetry::Context::new();
    let context = TraceContextPropagator::new().extract_with_context(&nothing, &HeaderExtractor(headers));
    let caller = context.span().span_context().clone();
    caller.is_valid().then_some(caller)
}

/// Whether the fields of a `traceparent` have their lengths and are hexadecimal digits in lower case. Later versions
/// may add fields.
fn is_well_formed(value: &[u8]) -> bool {
    let Some((known, more)) = value.split_at_checked(TRACEPARENT_BYTES) else {
        return false;
    };
    let is_version_0 = known.starts_with(b"00");
    let ends_well = more.is_empty() || !is_version_0 && more.starts_with(b"-");
    let is_in_place = |(at, byte): (usize, &u8)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    ends_well && known.iter().enumerate().all(is_in_place)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(lines: &[(&'static str, &str)]) -> Trace {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Trace::of_request(&headers)
    }

    #[test]
    fn a_trace_is_continued() {
        for (flags, sampled) in [("01", true), ("00", false), ("03", true)] {
            let trace = of(&[("traceparent", &format!("00-{TRACE}-{SPAN}-{flags}")), ("tracestate", "a=1,b=2")]);
            assert_eq!(trace.trace_id(), TRACE);
            assert_eq!(trace.parent.to_string(), SPAN);
            assert_ne!(trace.span_id(), SPAN);
            assert_eq!(trace.is_sampled(), sampled);
            assert_eq!(trace.state.unwrap().header(), "a=1,b=2");
        }
        let later = of(&[("traceparent", &format!("cc-{TRACE}-{SPAN}-01-what-comes"))]);
        assert_eq!(later.trace_id(), TRACE);
        let bad_state = of(&[("traceparent", &format!("00-{TRACE}-{SPAN}-01")), ("tracestate", "=")]);
        assert_eq!(bad_state.trace_id(), TRACE);
    }

    #[test]
    fn a_state_of_more_bytes_than_the_standard_asks_for_is_left_out() {
        for (bytes, is_kept) in [(512, true), (513, false)] {
            let state = format!("a={},b={}", "x".repeat(255), "x".repeat(bytes - 260));
            assert_eq!(state.len(), bytes);
            let trace = of(&[("traceparent", &format!("00-{TRACE}-{SPAN}-01")), ("tracestate", &state)]);
            assert_eq!((trace.trace_id(), trace.state.is_some()), (TRACE.to_owned(), is_kept), "{bytes}");
            assert_eq!(trace.state_cost() >= bytes, is_kept, "{bytes}");
        }
    }

    #[test]
    fn a_malformed_header_starts_a_new_trace() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        for value in [
            String::new(),
            "00-1-1-01".to_owned(),
            good.to_uppercase(),
            good.replace('-', "_"),
            format!("{good}-00"),
            format!("{good}0"),
            format!("ff{}", &good[2..]),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!("00-{TRACE}-{SPAN}"),
            "\u{e4}".repeat(40),
        ] {
            let trace = of(&[("traceparent", &value), ("tracestate", "a=1")]);
            assert_ne!(trace.trace_id(), TRACE, "{value}");
            assert!(!trace.is_none() && trace.is_sampled() && trace.state.is_none(), "{value}");
            assert_eq!(trace.parent, SpanId::INVALID);
        }
        let twice = of(&[("traceparent", &good), ("traceparent", &good)]);
        assert_ne!(twice.trace_id(), TRACE);
    }

    #[test]
    fn a_new_trace_has_ids_of_its_own() {
        let (one, other) = (of(&[]), of(&[]));
        assert_ne!(one.id, other.id);
        assert_ne!(one.span, other.span);
        assert_eq!(one.trace_id().len(), 32);
        assert_eq!(one.span_id().len(), 16);
    }

    proptest! {
        #[test]
        fn every_well_formed_header_is_continued(trace in 1_u128.., span in 1_u64.., flags: u8, version in 0_u8..255) {
            let value = format!("{version:02x}-{trace:032x}-{span:016x}-{flags:02x}");
            let read = of(&[("traceparent", &value)]);
            prop_assert_eq!(read.trace_id(), format!("{trace:032x}"));
            prop_assert_eq!(read.parent.to_string(), format!("{span:016x}"));
            prop_assert_eq!(read.is_sampled(), flags & 1 == 1);
        }

        #[test]
        fn any_bytes_give_a_valid_trace(
            value in "[0-9a-f]{0,3}-?[0-9a-g]{30,33}-?[0-9a-f]{15,17}-?[0-9a-f]{1,3}-?.{0,8}",
            state in ".{0,40}",
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in [("traceparent", value), ("tracestate", state)] {
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    headers.insert(name, value);
                }
            }
            prop_assert!(Trace::of_request(&headers).span_context().is_valid());
        }
    }
}
