//! How long texts may be.
//!
//! Application Insights refuses or cuts what is longer than its documented limits, so texts are cut here, where the
//! start of them is kept. The limits are those of "Application Insights telemetry data model" in the documentation of
//! Azure Monitor (request, exception, trace and context telemetry) and of the schema of its envelopes
//! (`EndpointSpecs/Schemas/Bond` of microsoft/ApplicationInsights-Home). They count characters of UTF-16, as .NET does.

use std::borrow::Cow;

/// A trace's message, an exception's message and an exception's stack.
pub(crate) const MESSAGE: usize = 32_768;

/// The value of a property.
pub(crate) const VALUE: usize = 8_192;

/// The name of a property.
pub(crate) const NAME: usize = 150;

/// The name of a request and of an operation, the type of an exception, the code of a response, and most tags.
pub(crate) const TITLE: usize = 1_024;

/// The URL of a request.
pub(crate) const URL: usize = 2_048;

/// The tag with the SDK's name and version.
pub(crate) const SDK_VERSION: usize = 64;

/// The tags with the name of a role and of an instance of it, and of a node.
pub(crate) const ROLE: usize = 256;

/// An item as JSON, in bytes ("Application Insights limits": 64 KB each).
pub(crate) const ITEM_BYTES: usize = 65_536;

/// The attributes of a log record. *Own*, as an item's bytes bound them anyway.
pub(crate) const ATTRIBUTES: usize = 128;

/// The models of a deployment that are named in an item. *Own.*
pub(crate) const MODELS: usize = 256;

/// The start of `text` that has at most `limit` characters of UTF-16.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    // No text has more characters of UTF-16 than bytes of UTF-8.
    if text.len() <= limit {
        return text;
    }
    let mut length = 0;
    for (at, character) in text.char_indices() {
        length += character.len_utf16();
        if length > limit {
            return &text[..at];
        }
    }
    text
}

/// [`cut`] for a text that may be owned.
pub(crate) fn cut_cow(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text, limit)),
        Cow::Owned(mut text) => {
            text.truncate(cut(&text, limit).len());
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("a😀b", 2), "a", "an emoji is two characters of UTF-16");
        assert_eq!(cut("a😀b", 3), "a😀");
        assert_eq!(cut("", 0), "");
        assert_eq!(cut("a", 0), "");
    }

    proptest! {
        #[test]
        fn what_is_left_is_the_longest_start_within_the_limit(text in any::<String>(), limit in 0_usize..40) {
            let start = cut(&text, limit);
            prop_assert!(text.starts_with(start));
            let length = start.encode_utf16().count();
            prop_assert!(length <= limit);
            let next = text[start.len()..].chars().next();
            prop_assert!(next.is_none_or(|next| length + next.len_utf16() > limit));
        }
    }
}
