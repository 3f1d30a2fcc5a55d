//! `scorebox manual`: pages of the manual, made of the command line's own definition; and the examples that help and pages end with.

use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};

use crate::args::Args;
use crate::failure::Failure;

/// Examples of each command that has any, by its name. Each line is a command line.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "serve",
        &[
            "scorebox serve examples/iris-rust",
            "scorebox serve score.py --model_dir model --port 5001",
            "scorebox serve --state-dir state --admin 127.0.0.1:5003 --admin-token-file token",
        ],
    ),
    ("config", &["scorebox config score.py --json"]),
    ("check", &["scorebox check score.py --model_dir model"]),
    ("run", &["scorebox run examples/iris-rust --data input.json"]),
    ("build", &["scorebox build examples/iris-rust -o model.wasm", "scorebox build app -o app.scorebox"]),
    (
        "verify-isolation",
        &["scorebox verify-isolation", "scorebox verify-isolation --requests 100000 --json model.wasm"],
    ),
    (
        "tenant",
        &[
            "scorebox tenant create acme --rate 100 --cpu 500ms",
            "scorebox tenant list --json",
            "scorebox tenant delete acme",
        ],
    ),
    (
        "endpoint",
        &[
            "scorebox endpoint create acme/iris --host iris.example.com",
            "scorebox endpoint show acme/iris",
            "scorebox endpoint delete acme/iris",
        ],
    ),
    (
        "deploy",
        &[
            "scorebox deploy acme/iris/blue score.py --model_dir model --probe input.json --all-traffic",
            "scorebox deploy acme/iris/green model.wasm --env GREETING=hello --memory 64MiB",
        ],
    ),
    ("apply", &["scorebox apply --dry-run", "scorebox apply -f scorebox.toml --prune"]),
    ("deployment", &["scorebox deployment show acme/iris/blue", "scorebox deployment rollback acme/iris/blue --to 3"]),
    (
        "traffic",
        &["scorebox traffic acme/iris blue=90 green=10", "scorebox traffic acme/iris blue=100 --mirror green=20"],
    ),
    ("keys", &["scorebox keys rotate acme/iris primary"]),
    ("logs", &["scorebox logs acme/iris/blue --tail 20 --follow"]),
    (
        "state",
        &[
            "scorebox state backup before-upgrade",
            "scorebox state restore state/backups/before-upgrade new-state",
            "scorebox state check state",
        ],
    ),
    ("manual", &["scorebox manual /usr/local/share/man/man1"]),
];

/// `scorebox manual`
#[derive(Debug, clap::Args)]
pub(crate) struct ManualArgs {
    /// The folder, which is made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// The command line, with the examples.
pub(crate) fn command() -> Command {
    EXAMPLES.iter().fold(Args::command(), |command, (name, examples)| {
        let examples = format!("Examples:\n  {}", examples.join("\n  "));
        command.mut_subcommand(name, |command| command.after_help(examples))
    })
}

/// Writes a page for each command.
pub(crate) fn manual(args: &ManualArgs) -> Result<(), Failure> {
    let folder = &args.folder;
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command(), folder));
    written.map_err(|error| Failure::failed(format!("cannot write the manual into {}: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_is_a_command_line_that_is_understood() {
        for (name, examples) in EXAMPLES {
            for example in *examples {
                let words = shlex::split(example).unwrap();
                assert_eq!(words[1], *name, "{example}");
                command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
            }
        }
    }
}
