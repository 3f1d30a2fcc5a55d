//! The command line of Azure ML's inference server.

use scorebox::fuzz::{options, serves};

/// Arguments, one a line.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let arguments: Vec<_> = text.lines().map(str::to_owned).collect();
    let Ok(found) = options(&arguments) else { return };
    for (index, (name, value)) in found.iter().enumerate() {
        assert!(!found[..index].iter().any(|(other, _)| other == name), "{name} is there twice");
        if name.ends_with("port") {
            let port = value.as_deref().map(|port| port.trim().replace('_', "").parse::<u16>());
            assert!(matches!(port, Some(Ok(1..))), "{name} is {value:?}");
        }
    }
    // Written out in full they are the same options.
    let in_full: Vec<_> = found
        .iter()
        .map(|(name, value)| value.as_ref().map_or(format!("--{name}"), |value| format!("--{name}={value}")))
        .collect();
    assert_eq!(options(&in_full), Ok(found.clone()));
    // What that server takes is taken here, apart from texts that name nothing.
    let is_empty =
        |value: &Option<String>| value.as_ref().is_some_and(|value| value.is_empty() || value.contains('\0'));
    if !found.iter().any(|(_, value)| is_empty(value)) {
        assert!(serves(&in_full), "{in_full:?}");
    }
}
