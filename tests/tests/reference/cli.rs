//! Checks that `docs/reference/cli.md` contains the help of each command as the binary prints it.

use std::fs;
use std::process::{Command, Stdio};

use stepladder_tests::binary::{self, root};

const PAGE: &str = "docs/reference/cli.md";
/// The part of the page before this mark is written by hand.
const MARK: &str = "<!-- What follows is generated. To renew it: just reference -->\n";
/// If this variable is set, the test writes the page instead of comparing it.
const RENEW: &str = "STEPLADDER_RENEW_REFERENCE";

/// Returns the output of `stepladder ARGS… --help` when it is not printed to a terminal.
fn command_help(args: &[&str]) -> String {
    let mut command = Command::new(binary::path());
    command.args(args).arg("--help").stdin(Stdio::null()).env("NO_COLOR", "1").env_remove("COLUMNS");
    for variable in ["STEPLADDER_URL", "STEPLADDER_EVENT_KEYS", "STEPLADDER_DASHBOARD_TOKEN"] {
        command.env_remove(variable);
    }
    let done = command.output().expect("the binary starts");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).expect("help is UTF-8");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim().to_owned()
}

/// Returns the names of the commands that the program's help lists.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| line.starts_with("  "));
    // the continuation of a description is indented further than a command
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn generated_page() -> String {
    let whole = command_help(&[]);
    let commands = subcommands(&whole);
    assert!(commands.len() > 10, "{commands:?}");
    let section = |name: &str, help: &str| format!("\n## {name}\n\n```text\n{help}\n```\n");
    let sections = commands.iter().map(|name| section(&format!("stepladder {name}"), &command_help(&[name])));
    section("stepladder", &whole) + &sections.collect::<String>()
}

#[test]
fn the_page_has_the_help_of_every_command() {
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).expect("the page");
    let (head, old) = page.split_once(MARK).unwrap_or_else(|| panic!("{PAGE} lacks the line `{}`", MARK.trim()));
    let new = generated_page();
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, format!("{head}{MARK}{new}")).expect("the page can be written");
        return;
    }
    assert!(old == new, "{PAGE} is not what the binary prints; renew it with `just reference`. It prints:\n{new}");
}
