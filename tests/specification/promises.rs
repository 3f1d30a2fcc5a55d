//! SPECIFICATION.md as promises, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::Tests;

/// How it is said that a setting has no default.
const NOTHING: [&str; 2] = ["none", "never"];

/// The command that a promise is about when it names no other.
const SERVE: &str = "serve";

/// A numbered promise: the paragraph that begins with its number, and all up to the next one.
#[derive(Debug)]
pub(crate) struct Promise {
    number: (u32, u32),
    /// Without line breaks.
    text: String,
}

/// Reads the promises of a document, or says what is wrong with their numbers.
pub(crate) fn read(document: &str) -> Result<Vec<Promise>, Vec<String>> {
    let mut promises: Vec<Promise> = Vec::new();
    let mut wrong = Vec::new();
    let mut section = None;
    let mut within = false;
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.split_once('.').and_then(|(number, _)| number.parse().ok());
            within = false;
        } else if let Some(marked) = line.strip_prefix("**") {
            let parts = marked.split_once("** ").and_then(|(number, text)| Some((number_of(number)?, text)));
            let Some((number, text)) = parts else {
                wrong.push(format!("no number of a promise: {line}"));
                continue;
            };
            if Some(number.0) != section {
                wrong.push(format!("{}.{} is in another section", number.0, number.1));
            }
            if promises.last().is_some_and(|last| last.number >= number) {
                wrong.push(format!("{}.{} is there twice or comes too late", number.0, number.1));
            }
            promises.push(Promise { number, text: text.to_owned() });
            within = true;
        } else if within && let Some(promise) = promises.last_mut() {
            promise.text.push(' ');
            promise.text.push_str(line);
        }
    }
    if promises.is_empty() {
        wrong.push("no promises".to_owned());
    }
    if wrong.is_empty() { Ok(promises) } else { Err(wrong) }
}

fn number_of(text: &str) -> Option<(u32, u32)> {
    let (section, number) = text.split_once('.')?;
    Some((section.parse().ok()?, number.parse().ok()?))
}

impl Promise {
    /// What is wrong with the tests that it names.
    pub(crate) fn wrong_tests(&self, tests: &Tests) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut named = 0;
        for (before, code) in self.code() {
            let all = before.trim_end().to_lowercase().ends_with("all tests of");
            if !all && !is_name_of_test(code) {
                continue;
            }
            named += 1;
            if let Err(error) = if all { tests.find_group(code) } else { tests.find(code) } {
                wrong.push(format!("{}: `{code}`: {error}", self.number()));
            }
        }
        if named == 0 {
            wrong.push(format!("{}: names no test", self.number()));
        }
        wrong
    }

    /// What is wrong with the settings that it names. They are those of `serve` and of each command that it names.
    pub(crate) fn wrong_flags(&self, commands: &BTreeMap<String, Flags>) -> Vec<String> {
        let named: BTreeSet<_> = self.code().filter_map(|(_, code)| code.strip_prefix("scorebox ")).collect();
        let mut wrong = Vec::new();
        for command in &named {
            if !commands.contains_key(*command) {
                wrong.push(format!("{}: there is no command `scorebox {command}`", self.number()));
            }
        }
        let allowed: Vec<_> =
            named.iter().copied().chain([SERVE]).filter_map(|command| commands.get(command)).collect();
        let mut position = 0;
        for (before, code) in self.code() {
            position += before.len() + code.len() + 2;
            if !code.starts_with("--") {
                continue;
            }
            let Some(default) = allowed.iter().find_map(|flags| flags.0.get(code)) else {
                wrong.push(format!("{}: there is no setting `{code}`", self.number()));
                continue;
            };
            let Some(said) = self.text[position..].strip_prefix(", default ").map(value) else { continue };
            let default = default.as_deref().unwrap_or(NOTHING[0]);
            if said != default && !(NOTHING.contains(&&*said) && NOTHING.contains(&default)) {
                wrong.push(format!("{}: the default of `{code}` is {default}, not {said}", self.number()));
            }
        }
        wrong
    }

    fn number(&self) -> String {
        format!("{}.{}", self.number.0, self.number.1)
    }

    /// Each piece of code, and the text between it and the one before.
    fn code(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut pieces = self.text.split('`');
        std::iter::from_fn(move || Some((pieces.next()?, pieces.next()?)))
    }
}

/// Whether this looks like `program::test`. All code of that form is taken for the name of a test.
fn is_name_of_test(code: &str) -> bool {
    code.contains("::") && code.split("::").all(|part| !part.is_empty() && part.chars().all(is_of_name))
}

fn is_of_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == '-'
}

/// The number and unit at the beginning of a text, in one way of writing: `1GiB` for `1 GiB. And`, `1024` for `1,024, and`.
fn value(text: &str) -> String {
    let digits = text.trim_start().trim_start_matches(|char: char| char.is_ascii_digit() || char == ',');
    let number = &text.trim_start()[..text.trim_start().len() - digits.len()];
    let unit: String = digits.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    // What follows a number without a unit is the next word of the sentence, after a comma.
    let unit = if number.ends_with(',') { String::new() } else { unit };
    number.replace(',', "") + &unit
}

/// The default in a line of the help: what is shown as such, or else the first number after `by default`, as in `by default
/// the lesser of these two, which is 300 s`, or else the first word.
fn default_of(line: &str) -> Option<String> {
    if let Some((_, default)) = line.split_once("[default: ") {
        return Some(value(default));
    }
    let (_, default) = line.split_once("by default ").or_else(|| line.split_once("By default "))?;
    let default = default.split([';', '[']).next().unwrap_or_default();
    let number = default.find(|char: char| char.is_ascii_digit()).unwrap_or_default();
    Some(value(&default[number..]))
}

/// The settings of a command, each with the default that its help says, in one way of writing.
#[derive(Debug)]
pub(crate) struct Flags(BTreeMap<String, Option<String>>);

impl Flags {
    /// Reads the help of a command, in which each setting begins a line and is followed by what it is.
    pub(crate) fn of_help(help: &str) -> Self {
        let mut flags = BTreeMap::new();
        let mut last = None;
        for line in help.lines() {
            let mut words = line.split_whitespace().filter(|word| !(word.len() == 3 && word.ends_with(',')));
            if let Some(flag) = words.next().filter(|word| word.starts_with("--")) {
                last = Some(flag.to_owned());
                flags.insert(flag.to_owned(), None);
            }
            if let (Some(last), Some(default)) = (&last, default_of(line)) {
                flags.insert(last.clone(), Some(default));
            }
        }
        Self(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the check says about a document with these promises.
    fn wrong(document: &str) -> Vec<String> {
        let sources =
            "#[test] fn holds() {} #[test] #[ignore] fn is_left_out() {} mod part { #[test] fn holds_too() {} }";
        let tests = Tests::of_sources(&[("limits", sources), ("scorebox-server", sources)]);
        let help = "Options:\n  -m, --memory <SIZE>\n      Memory [default: 1GiB]\n  --max-waiting <N>\n      [default: 1024]\n  \
                    --grace <TIME>  Time; by default 30 s [env: GRACE=]\n  \
                    --timeout <TIME>  Time; by default the lesser of A and B, which is 300 s\n  \
                    --queue-timeout <TIME>  By default twice as long as that\n  --park-after <TIME>  Time";
        let build = "  --strict  Be strict";
        let commands =
            [(SERVE, help), ("build", build)].map(|(name, help)| (name.to_owned(), Flags::of_help(help))).into();
        match read(document) {
            Ok(promises) => promises
                .iter()
                .flat_map(|promise| promise.wrong_tests(&tests).into_iter().chain(promise.wrong_flags(&commands)))
                .collect(),
            Err(wrong) => wrong,
        }
    }

    #[track_caller]
    fn assert_wrong(document: &str, what: &str) {
        let wrong = wrong(document);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].contains(what), "{wrong:?}");
    }

    #[test]
    fn a_document_in_which_all_is_right_is_taken() {
        let document = "# Title\n\nText.\n\n## 1. Memory\n\n**1.1** Less than `--memory`, default 1\nGiB.\n\
                        `limits::holds`, `limits::part::holds_too`.\n\n\
                        **1.3** Settings `--max-waiting`, default 1,024, and others. All\ntests of `limits`.\n\n\
                        ## 2. Others\n\n**2.1** `scorebox build` has `--strict`. `scorebox-server::holds_too`.\n";
        assert_eq!(wrong(document), Vec::<String>::new());
    }

    #[test]
    fn a_promise_without_a_test_is_found() {
        assert_wrong("## 1. A\n**1.1** It is so.\n\nOther text about `init`.\n", "1.1: names no test");
        assert_wrong(
            "## 1. A\n**1.1** So.\n**1.2** So. `limits::holds`.\n## Other\n`limits::holds`\n",
            "1.1: names no test",
        );
    }

    #[test]
    fn a_test_that_is_not_there_is_found() {
        assert_wrong("## 1. A\n**1.1** So. `limits::holds_not`.", "no such test");
        assert_wrong("## 1. A\n**1.1** So. `limits::other::holds`.", "no such test");
        assert_wrong("## 1. A\n**1.1** So. `limits::holds_too`.", "no such test");
        assert_wrong("## 1. A\n**1.1** So. `limit::holds`.", "no such program");
        assert_wrong("## 1. A\n**1.1** So. All tests of `limits::other`.", "no such test");
        assert_wrong("## 1. A\n**1.1** So. All tests of `limit`.", "no such program");
    }

    #[test]
    fn a_test_that_is_not_run_is_found() {
        assert_wrong("## 1. A\n**1.1** So. `limits::is_left_out`.", "no such test");
    }

    #[test]
    fn numbers_that_are_wrong_are_found() {
        let so = "So. `limits::holds`.";
        assert_wrong(&format!("## 1. A\n**1.1** {so}\n**1.1** {so}"), "1.1 is there twice or comes too late");
        assert_wrong(&format!("## 1. A\n**1.10** {so}\n**1.9** {so}"), "1.9 is there twice or comes too late");
        assert_wrong(&format!("## 1. A\n**2.1** {so}"), "2.1 is in another section");
        assert_wrong(&format!("## 1. A\n**1.1** {so}\n**1.2 ** {so}"), "no number of a promise");
        assert_wrong("# Title\n", "no promises");
    }

    #[test]
    fn a_setting_that_is_not_there_is_found() {
        assert_wrong("## 1. A\n**1.1** `limits::holds` with `--memories`.", "no setting `--memories`");
        assert_wrong("## 1. A\n**1.1** `limits::holds` with `--strict`.", "no setting `--strict`");
        assert_wrong("## 1. A\n**1.1** `limits::holds` of `scorebox dance`.", "no command `scorebox dance`");
    }

    #[test]
    fn a_default_that_is_another_one_is_found() {
        assert_wrong("## 1. A\n**1.1** `--memory`, default 2 GiB. `limits::holds`.", "is 1GiB, not 2GiB");
        assert_wrong("## 1. A\n**1.1** `--memory`, default 1 MiB. `limits::holds`.", "is 1GiB, not 1MiB");
        assert_wrong("## 1. A\n**1.1** `--grace`, default 10 s. `limits::holds`.", "is 30s, not 10s");
        assert_wrong("## 1. A\n**1.1** `--timeout`, default 30 s. `limits::holds`.", "is 300s, not 30s");
        assert_wrong("## 1. A\n**1.1** `--grace`, default none. `limits::holds`.", "is 30s, not none");
        assert_wrong("## 1. A\n**1.1** `--park-after`, default 1 h. `limits::holds`.", "is none, not 1h");
    }

    #[test]
    fn a_default_is_known_however_the_help_says_it() {
        let document = "## 1. A\n**1.1** `--grace`, default 30 s, `--timeout`, default 300 s, `--queue-timeout`, default twice\n\
                        that, `--park-after`, default never. `limits::holds`.";
        assert_eq!(wrong(document), Vec::<String>::new());
    }
}
