//! The command line flags that a program adds to `dev`.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::app::App;
use crate::dev_setup::{DevFlag, DevSetup};
use crate::terminal::StopReason;

/// Adds the flags to `dev`, and to the command line without a command.
///
/// # Errors
/// Another option already has the name of a flag.
pub(in crate::cli) fn add_flags(mut command: Command, flags: &[DevFlag]) -> Result<Command, StopReason> {
    for DevFlag { name, help, .. } in flags {
        if command.get_arguments().any(|arg| arg.get_long() == Some(name)) {
            return Err(StopReason::problem(format!(
                "`dev` has an option `--{name}`; name the flag in `.dev_flag` differently"
            )));
        }
        let flag = Arg::new(*name).long(*name).help(*help).action(ArgAction::SetTrue);
        command = command.arg(flag.clone().help_heading("Options of dev"));
        command = command.mut_subcommand("dev", |dev| dev.arg(flag));
    }
    Ok(command)
}

/// Keeps only the flags that were given on the command line.
pub(in crate::cli) fn retain_given_flags(matches: &ArgMatches, flags: &mut Vec<DevFlag>) {
    let matches = match matches.subcommand() {
        Some(("dev", dev)) => dev,
        Some(_) => return flags.clear(),
        None => matches,
    };
    flags.retain(|flag| matches.get_flag(flag.name));
}

/// Runs the setup of each flag, and adds the functions of the setups to the app.
pub(super) async fn run_setup_hook(app: &mut App) -> Result<DevSetup, StopReason> {
    let mut whole = DevSetup::new();
    for DevFlag { name, setup, .. } in std::mem::take(&mut app.dev_flags) {
        let setup = setup().await.map_err(|e| StopReason::problem(format!("--{name} cannot start: {e}")))?;
        app.functions.extend(setup.functions);
        whole.notes.extend(setup.notes);
        whole.events.extend(setup.events);
        whole.retry_delays.extend(setup.retry_delays);
    }
    if whole.retry_delays.len() > 1 {
        return Err(StopReason::problem("the flags of `dev` call `.retry_delay` twice; call it once"));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn app_with_flag(name: &'static str) -> App {
        App::new().dev_flag(name, "Start stubs", || async {
            let wait = Duration::from_secs(2);
            Ok(DevSetup::new().note("stubs answer").retry_delay(wait))
        })
    }

    fn given_flags(args: &[&str]) -> Vec<&'static str> {
        let mut app = app_with_flag("stubs");
        let matches = add_flags(Cli::command(), &app.dev_flags).unwrap().try_get_matches_from(args).unwrap();
        retain_given_flags(&matches, &mut app.dev_flags);
        app.dev_flags.iter().map(|flag| flag.name).collect()
    }

    #[test]
    fn a_flag_belongs_to_dev_with_and_without_the_command() {
        assert_eq!(given_flags(&["stepladder", "--stubs"]), ["stubs"]);
        assert_eq!(given_flags(&["stepladder", "dev", "--stubs"]), ["stubs"]);
        assert!(given_flags(&["stepladder", "dev"]).is_empty() && given_flags(&["stepladder", "runs"]).is_empty());
        let command = add_flags(Cli::command(), &app_with_flag("stubs").dev_flags).unwrap();
        assert!(command.clone().try_get_matches_from(["stepladder", "runs", "--stubs"]).is_err());
        assert!(command.clone().render_long_help().to_string().contains("--stubs"));
    }

    #[test]
    fn a_flag_named_like_an_option_is_refused() {
        let error = add_flags(Cli::command(), &app_with_flag("port").dev_flags).err();
        assert!(matches!(error, Some(StopReason::Problem(text)) if text.contains("`--port`")));
    }

    #[tokio::test]
    async fn a_second_retry_delay_is_refused() {
        let mut one = app_with_flag("stubs");
        let setup = run_setup_hook(&mut one).await.unwrap();
        assert_eq!((setup.notes.len(), setup.retry_delays[0]), (1, Duration::from_secs(2)));
        let mut two = app_with_flag("stubs")
            .dev_flag("more", "Start more", || async { Ok(DevSetup::new().retry_delay(Duration::from_secs(1))) });
        assert!(
            matches!(run_setup_hook(&mut two).await, Err(StopReason::Problem(text)) if text.contains("`.retry_delay` twice"))
        );
    }
}
