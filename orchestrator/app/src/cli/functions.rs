//! The command `functions`: lists the functions of this program or of a server.

use std::time::Duration;

use clap::Args;
use stepladder_api::text::format_duration;
use stepladder_api::{Concurrency, DataResponse, Function, LimitScope};

use super::OutputArgs;
use crate::app::App;
use crate::client::{self, Client};
use crate::terminal::table::Table;
use crate::terminal::text::one_line;
use crate::terminal::{CommandResult, StopReason, json, print, print_remark};

/// What is said of a server or a program without functions.
pub(crate) const NO_FUNCTIONS: &str =
    "no functions are registered; add an app with `stepladder dev -u URL`, or a function with `App::function`";

#[derive(Args, Debug)]
pub(crate) struct FunctionsArgs {
    /// List the functions of this server; by default those of STEPLADDER_URL, or of this program. A
    /// program without functions asks the server at http://127.0.0.1:8288
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) async fn execute(app: App, args: FunctionsArgs) -> CommandResult {
    let is_named = args.url.is_some() || client::environment_url().is_some();
    let (functions, text) = match asks_server(&app, is_named) {
        true => Client::for_url(args.url.as_deref())?.functions().await?,
        false => registered_functions(app)?,
    };
    if args.output.json {
        return print(text);
    }
    if functions.is_empty() {
        return print_remark(NO_FUNCTIONS);
    }
    print(functions_table(&functions))
}

/// Whether a server is asked. A program without functions is a client of servers.
fn asks_server(app: &App, is_named: bool) -> bool {
    is_named || app.functions.is_empty()
}

fn registered_functions(mut app: App) -> Result<(Vec<Function>, String), StopReason> {
    let functions: Vec<Function> = app
        .compile()
        .map_err(StopReason::problem)?
        .iter()
        .map(|function| Function::new(function.spec(), None))
        .collect();
    let answer = DataResponse { data: functions };
    let text = json(&answer)?;
    Ok((answer.data, text))
}

/// Returns a table with one function per line.
pub(crate) fn functions_table(functions: &[Function]) -> Table {
    let mut table = Table::new(["FUNCTION", "TRIGGERS", "RETRIES", "TIMEOUT", "LIMITS"]);
    for function in functions {
        table.row([
            one_line(&function.id, 80),
            describe_triggers(function),
            describe_retries(function),
            format_duration(Duration::from_millis(function.timeout_ms)),
            describe_limits(function),
        ]);
    }
    table
}

fn describe_retries(function: &Function) -> String {
    match function.non_retryable.join(", ") {
        names if names.is_empty() => function.retries.to_string(),
        names => one_line(&format!("{}, not {names}", function.retries), 80),
    }
}

fn describe_triggers(function: &Function) -> String {
    let parts: Vec<String> = function
        .triggers
        .iter()
        .map(|trigger| match &trigger.condition {
            Some(condition) => format!("{} if {condition}", trigger.event),
            None => trigger.event.to_string(),
        })
        .collect();
    let ticks = function.cron.iter().map(|cron| format!("cron {} ({})", cron.line, cron.time_zone));
    one_line(&parts.into_iter().chain(ticks).collect::<Vec<_>>().join(", "), 100)
}

fn describe_limits(function: &Function) -> String {
    let parts: Vec<String> =
        function.concurrency.iter().map(describe_limit).chain(function.flow_control.clone()).collect();
    one_line(&parts.join("; "), 160)
}

fn describe_limit(concurrency: &Concurrency) -> String {
    let Concurrency { limit, of, key, shared } = concurrency;
    let of = match of {
        LimitScope::Runs => " runs",
        LimitScope::Steps | LimitScope::Unknown => "",
    };
    let key = key.as_ref().map_or_else(String::new, |key| format!(" for each {key}"));
    let shared = shared.as_ref().map_or_else(String::new, |name| format!(", shared as {name}"));
    format!("{limit}{of} at once{key}{shared}")
}

#[cfg(test)]
mod tests {
    use stepladder_api::{CronSchedule, Trigger};

    use super::*;

    #[test]
    fn a_program_without_functions_asks_the_server() {
        let function = || {
            stepladder_sdk::Function::new(
                "f",
                async |_: stepladder_sdk::Context, _: stepladder_sdk::Event<stepladder_sdk::Tick>| Ok(()),
            )
        };
        assert!(asks_server(&App::new(), false));
        assert!(!asks_server(&App::new().function(function()), false));
        assert!(asks_server(&App::new().function(function()), true));
    }

    #[test]
    fn a_function_is_a_line_with_its_triggers_and_limits() {
        let function = Function {
            id: "enhance".into(),
            triggers: vec![
                Trigger { event: "a/b".into(), condition: None },
                Trigger { event: "c".into(), condition: Some("event.data.x > 1".into()) },
            ],
            cron: vec![CronSchedule { line: "0 9 * * MON".into(), time_zone: "UTC".into() }],
            retries: 2,
            non_retryable: vec!["CardDeclined".into(), "TypeError".into()],
            timeout_ms: 60_000,
            concurrency: vec![
                Concurrency { limit: 3, of: LimitScope::Steps, key: None, shared: None },
                Concurrency {
                    limit: 1,
                    of: LimitScope::Runs,
                    key: Some("event.data.id".into()),
                    shared: Some("api".into()),
                },
            ],
            flow_control: vec!["throttle: 2 in 1s, 1 at once".into()],
            on_failure: None,
            paused_since: None,
        };
        let text = functions_table(&[function]).to_string();
        assert_eq!(
            console::strip_ansi_codes(&text).lines().nth(1),
            Some(
                "enhance   a/b, c if event.data.x > 1, cron 0 9 * * MON (UTC)  2, not CardDeclined, TypeError  1 m      3 at \
                 once; 1 runs at once for each event.data.id, shared as api; throttle: 2 in 1s, 1 at once"
            )
        );
    }
}
