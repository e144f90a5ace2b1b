//! The command `new NAME`: creates a project in a folder of its own.

mod files;

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use owo_colors::OwoColorize;

use crate::terminal::{CommandResult, StopReason, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder new shop                  functions in Rust, which run on AWS or in one process
  stepladder new shop --lang ts        an app in TypeScript with Inngest's SDK
  stepladder new shop --lang python    an app in Python with Inngest's SDK";

/// The name is the start of the name of the stack, and the longest name of a queue has 33
/// characters more than that of its stack (infra/names.yaml); the template adds `-prod`.
const MAX_NAME_CHARS: usize = 42;

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// Name of the project, of its stack, and of its folder: letters, digits and `-`
    #[arg(value_parser = parse_name)]
    name: String,
    /// Language of the functions
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The folder to create; by default NAME in the current folder
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
}

/// The language of a project's functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Rust: the functions are part of the program
    Rust,
    /// TypeScript: an app with Inngest's SDK
    Ts,
    /// Python: an app with Inngest's SDK
    Python,
}

pub(crate) fn execute(args: NewArgs) -> CommandResult {
    let folder = args.path.unwrap_or_else(|| PathBuf::from(&args.name));
    let files = files::files_of(args.lang);
    create_folder(&folder)?;
    for (path, text) in files {
        write_file(&folder.join(path), &text.replace("{{project_name}}", &args.name))?;
    }
    print(next_steps(&folder, args.lang, files.len()))
}

/// Creates the folder. An existing one must be empty, so that no file is overwritten.
fn create_folder(folder: &Path) -> CommandResult {
    match fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => Err(StopReason::problem(format!(
            "the folder {} is not empty; choose another name, or another folder with --path",
            folder.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(|error| cannot("create the folder", folder, &error))
        }
        Err(error) => Err(cannot("use the folder", folder, &error)),
    }
}

fn write_file(path: &Path, text: &str) -> CommandResult {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| cannot("create the folder", parent, &error))?;
    }
    fs::write(path, text).map_err(|error| cannot("write", path, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> StopReason {
    StopReason::problem(format!("cannot {what} {}: {error}", path.display()))
}

fn next_steps(folder: &Path, language: Language, files: usize) -> String {
    let folder = folder.display();
    let mut text = format!("{} {folder}, with {files} files. Next:\n", "Created".green().bold());
    let steps: &[(&str, &str)] = match language {
        Language::Rust => &[
            ("cargo run", "the local server with the function `welcome`"),
            ("cargo test", "its test, on a virtual clock"),
        ],
        Language::Ts => &[
            ("npm install && npm run dev", "serves the function `welcome`"),
            ("stepladder dev", "in a second terminal: the server, which finds the app"),
        ],
        Language::Python => &[
            ("python3 -m venv .venv && .venv/bin/pip install -r requirements-dev.txt", ""),
            (
                "INNGEST_DEV=http://localhost:8288 .venv/bin/uvicorn app:app --port 8000",
                "serves the function `welcome`",
            ),
            ("stepladder dev", "in a second terminal: the server, which finds the app"),
        ],
    };
    let width = steps.iter().map(|(command, _)| command.len()).filter(|width| *width < 40).max().unwrap_or_default();
    let first = format!("cd {folder}");
    for (command, what) in [(first.as_str(), "")].iter().chain(steps) {
        // writing to a string cannot fail
        let _ = match what.is_empty() {
            true => writeln!(text, "  {}", command.bold()),
            false => writeln!(text, "  {:width$}    {what}", command.bold()),
        };
    }
    text.push_str("README.md says how to send an event and how to deploy.");
    text
}

fn parse_name(name: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_fine) || name.ends_with('-') {
        return Err("a name starts with a letter and consists of ASCII letters, digits and `-`".to_owned());
    }
    if name.len() > MAX_NAME_CHARS {
        return Err(format!(
            "a name has at most {MAX_NAME_CHARS} characters, because the names of queues start with it"
        ));
    }
    if ["test", "core", "std", "alloc", "functions", "stepladder"].contains(&name) {
        return Err(format!("a crate named {name} would hide another; choose another name"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_stack_or_crate_can_have_are_refused() {
        assert!(parse_name("shop-2").is_ok());
        for (name, why) in
            [("", "letter"), ("2shop", "letter"), ("my_shop", "ASCII"), ("shöp", "ASCII"), ("shop-", "ASCII")]
        {
            assert!(parse_name(name).unwrap_err().contains(why), "{name}");
        }
        assert!(parse_name(&"a".repeat(43)).unwrap_err().contains("42"));
        assert!(parse_name("functions").unwrap_err().contains("hide"));
    }
}
