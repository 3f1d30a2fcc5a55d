//! The second name of the program: `azmlinfsrv`, the command line of Azure ML's inference server 1.5.1.
//!
//! It takes the options of that server, by the rules of Python's `argparse`: their names may be cut as long as they can be
//! told apart, the last of an option counts, and all that is wrong ends with exit code 1. What else `scorebox serve` can be
//! told comes from its environment variables.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use scorebox_server::CONTRACT_NAME;

use crate::args::{Args, ServeArgs};
use crate::console;

/// The name of the program.
pub(crate) const PROGRAM: &str = "azmlinfsrv";

/// The exit code of wrong usage, and of `--help`.
const USAGE: u8 = 1;

/// The name that an error gives to a check, and the check of a value.
type Check = (&'static str, fn(&str) -> bool);

/// An option of the contract.
struct Opt {
    name: &'static str,
    /// What its value is called in the help; none for a switch.
    value: Option<&'static str>,
    check: Option<Check>,
    /// Its line of the help; empty for one that is not shown.
    help: &'static str,
}

const OPTIONS: [Opt; 10] = [
    Opt { name: "help", value: None, check: None, help: "show this help message and exit" },
    Opt { name: "entry_script", value: Some("ENTRY_SCRIPT"), check: None, help: "Path of the scoring script." },
    Opt {
        name: "model_dir",
        value: Some("MODEL_DIR"),
        check: None,
        help: "Path of the model directory, which the script finds in AZUREML_MODEL_DIR.",
    },
    Opt {
        name: "appinsights_instrumentation_key",
        value: Some("APPINSIGHTS_INSTRUMENTATION_KEY"),
        check: None,
        help: "Key of the Application Insights resource that telemetry goes to.",
    },
    Opt {
        name: "port",
        value: Some("PORT"),
        check: Some(("validate_port", is_port)),
        help: "Port to listen on. Default is 5001.",
    },
    Opt {
        name: "health_port",
        value: Some("HEALTH_PORT"),
        check: Some(("validate_port", is_port)),
        help: "Port of a second listener, opened when SEPERATE_HEALTH_ENDPOINT is true. Default is 5000.",
    },
    Opt {
        name: "worker_count",
        value: Some("WORKER_COUNT"),
        check: Some(("validate_worker_count", is_worker_count)),
        help: "How many requests are scored at the same time. Default is one for each core.",
    },
    Opt {
        name: "access_control_allow_origins",
        value: Some("ACCESS_CONTROL_ALLOW_ORIGINS"),
        check: None,
        help: "Origins that may ask, separated by commas, for example \"microsoft.com, bing.com\".",
    },
    Opt { name: "config_file", value: Some("CONFIG_FILE"), check: None, help: "Path of the configuration file." },
    Opt { name: "rest", value: None, check: None, help: "" },
];

/// Python's `int()`, for what a port or a number of workers can be.
fn integer(text: &str) -> Option<i64> {
    text.trim().replace('_', "").parse().ok()
}

fn is_port(text: &str) -> bool {
    integer(text).is_some_and(|port| (1..=65535).contains(&port))
}

fn is_worker_count(text: &str) -> bool {
    integer(text).is_some_and(|count| count > 0)
}

/// Whether an argument is an option of the contract, in full: a command line that begins with it names no command of
/// Scorebox's, and is meant for the server that Scorebox stands in for.
pub(crate) fn is_option(argument: &str) -> bool {
    let name = argument.strip_prefix("--").and_then(|long| long.split('=').next());
    name.is_some_and(|name| name != "help" && OPTIONS.iter().any(|option| option.name == name))
}

/// What a command line comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Options with their values.
    Options(Vec<(&'static str, Option<String>)>),
    /// The help was asked for.
    Help,
    /// It is wrong.
    Wrong(String),
}

/// Reads the arguments after the program's name. Where there is nothing to serve, the user is told, and that is the exit
/// code.
pub(crate) fn parse(arguments: &[String]) -> Result<Box<ServeArgs>, ExitCode> {
    let options = match read(arguments) {
        Parsed::Options(options) => options,
        Parsed::Help => {
            console::result(format_args!("{}\n\n{}", usage(), help()));
            return Err(ExitCode::from(USAGE));
        }
        Parsed::Wrong(why) => {
            console::note(format_args!("{}\n{PROGRAM}: error: {why}", usage()));
            console::result(format_args!("\n{}", help()));
            return Err(ExitCode::from(USAGE));
        }
    };
    let mut line = vec![OsString::from("scorebox"), OsString::from("serve")];
    for (name, value) in options {
        // In one piece, for a value may begin with a hyphen.
        line.push(match (name, value) {
            ("port" | "health_port" | "worker_count", Some(value)) => {
                format!("--{name}={}", integer(&value).unwrap_or_default()).into()
            }
            (_, Some(value)) => format!("--{name}={value}").into(),
            (_, None) => format!("--{name}").into(),
        });
    }
    match Args::try_parse_from(line).map(|args| args.command) {
        Ok(crate::args::Command::Serve(args)) => Ok(args),
        Ok(_) => Err(ExitCode::from(USAGE)),
        Err(error) => {
            // A variable SCOREBOX_...: all else has been checked.
            console::note(error.render());
            Err(ExitCode::from(USAGE))
        }
    }
}

pub(crate) fn read(arguments: &[String]) -> Parsed {
    let (mut options, mut others) = (Vec::<(&str, Option<String>)>::new(), Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            others.extend(arguments.by_ref().cloned());
            break;
        }
        if argument == "-h" {
            return Parsed::Help;
        }
        let Some(long) = argument.strip_prefix("--") else {
            others.push(argument.clone());
            continue;
        };
        let (name, given) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        let option = match find(name) {
            Ok(Some(option)) => option,
            Ok(None) => {
                others.push(argument.clone());
                continue;
            }
            Err(matches) => {
                return Parsed::Wrong(format!("ambiguous option: {argument} could match {matches}"));
            }
        };
        let Opt { name, .. } = *option;
        let value = match (option.value, given) {
            (None, None) => None,
            (None, Some(given)) => {
                return Parsed::Wrong(format!("argument --{name}: ignored explicit argument '{given}'"));
            }
            (Some(_), Some(given)) => Some(given.to_owned()),
            (Some(_), None) => match arguments.as_slice().first().filter(|next| !looks_like_an_option(next)) {
                Some(next) => {
                    arguments.next();
                    Some(next.clone())
                }
                None => return Parsed::Wrong(format!("argument --{name}: expected one argument")),
            },
        };
        if name == "help" {
            return Parsed::Help;
        }
        if let (Some((function, is_valid)), Some(value)) = (option.check, &value)
            && !is_valid(value)
        {
            return Parsed::Wrong(format!("argument --{name}: invalid {function} value: '{value}'"));
        }
        options.retain(|(other, _)| *other != name);
        options.push((name, value));
    }
    if others.is_empty() {
        Parsed::Options(options)
    } else {
        Parsed::Wrong(format!("unrecognized arguments: {}", others.join(" ")))
    }
}

/// The option with this name, or the only one whose name begins so; the names when there are several.
fn find(name: &str) -> Result<Option<&'static Opt>, String> {
    if let Some(option) = OPTIONS.iter().find(|option| option.name == name) {
        return Ok(Some(option));
    }
    let matches: Vec<_> = OPTIONS.iter().filter(|option| option.name.starts_with(name)).collect();
    match *matches {
        [] => Ok(None),
        [option] => Ok(Some(option)),
        _ => Err(matches.iter().map(|option| format!("--{}", option.name)).collect::<Vec<_>>().join(", ")),
    }
}

/// Whether an argument cannot be the value of the option before it.
fn looks_like_an_option(argument: &str) -> bool {
    argument.len() > 1 && argument.starts_with('-') && !argument.contains(' ') && argument.parse::<f64>().is_err()
}

fn usage() -> String {
    let shown = OPTIONS.iter().filter(|option| !option.help.is_empty());
    let parts: Vec<_> = shown
        .map(|option| match option.value {
            None => "[-h]".to_owned(),
            Some(value) => format!("[--{} {value}]", option.name),
        })
        .collect();
    format!("usage: {PROGRAM} {}", parts.join(&format!("\n{:1$}", "", "usage: ".len() + PROGRAM.len() + 1)))
}

fn help() -> String {
    let mut help = format!("{CONTRACT_NAME}\n\noptions:");
    for option in OPTIONS.iter().filter(|option| !option.help.is_empty()) {
        let left = match option.value {
            None => "-h, --help".to_owned(),
            Some(value) => format!("--{} {value}", option.name),
        };
        let separator = if left.len() <= 20 { " ".repeat(22 - left.len()) } else { format!("\n{:24}", "") };
        help.extend(["\n  ", &*left, &*separator, option.help]);
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Parsed {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn options(options: &[(&'static str, Option<&str>)]) -> Parsed {
        Parsed::Options(options.iter().map(|(name, value)| (*name, value.map(str::to_owned))).collect())
    }

    #[test]
    fn options_are_read_as_argparse_does() {
        assert_eq!(parsed("--port 5002 --rest"), options(&[("port", Some("5002")), ("rest", None)]));
        assert_eq!(parsed("--port=5002"), options(&[("port", Some("5002"))]));
        assert_eq!(parsed("--entry a.py --p 1"), options(&[("entry_script", Some("a.py")), ("port", Some("1"))]));
        assert_eq!(parsed("--port 1 --port 2"), options(&[("port", Some("2"))]));
        assert_eq!(parsed("--model_dir -1"), options(&[("model_dir", Some("-1"))]));
        assert_eq!(parsed("--model_dir="), options(&[("model_dir", Some(""))]));
        assert_eq!(parsed("-h"), Parsed::Help);
        assert_eq!(parsed("--port 1 --help"), Parsed::Help);
    }

    #[test]
    fn what_is_wrong_is_said_as_argparse_does() {
        for (line, expected) in [
            ("--port 70000", "argument --port: invalid validate_port value: '70000'"),
            ("--port x", "argument --port: invalid validate_port value: 'x'"),
            ("--worker_count 0", "argument --worker_count: invalid validate_worker_count value: '0'"),
            ("--port", "argument --port: expected one argument"),
            ("--port --rest", "argument --port: expected one argument"),
            ("--rest=1", "argument --rest: ignored explicit argument '1'"),
            ("--bogus 1 --port 2 x", "unrecognized arguments: --bogus 1 x"),
            ("-- --port 2", "unrecognized arguments: --port 2"),
            ("--h 1", "ambiguous option: --h could match --help, --health_port"),
        ] {
            assert_eq!(parsed(line), Parsed::Wrong(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn only_options_of_the_contract_stand_for_its_command_line() {
        assert!(is_option("--entry_script") && is_option("--port=5001"));
        assert!(!is_option("--help") && !is_option("--version") && !is_option("serve") && !is_option("--threads"));
    }

    #[test]
    fn the_help_has_a_line_for_each_option() {
        let help = help();
        assert!(help.contains("\n  -h, --help            show this help message and exit\n"), "{help}");
        assert!(help.contains("\n  --port PORT           Port to listen on."), "{help}");
        assert!(help.contains("\n  --entry_script ENTRY_SCRIPT\n                        Path of"), "{help}");
        assert!(!help.contains("--rest"));
    }
}
