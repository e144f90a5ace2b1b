//! The command `apps`: lists, syncs and removes apps with functions of Inngest's SDKs.

use clap::{Args, Subcommand};
use stepladder_api::App as RegisteredApp;
use stepladder_core::Timestamp;

use super::{CommandAccess, OutputArgs, ServerArgs};
use crate::app::App;
use crate::client::Client;
use crate::terminal::table::Table;
use crate::terminal::text::{format_relative_time, now, one_line};
use crate::terminal::{CommandResult, print, print_remark};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder apps                                           list the apps and their functions
  stepladder apps sync http://localhost:3000/api/inngest    register an app, or its changes
  stepladder apps remove shop                               its runs wait until it is back
  stepladder apps sync https://shop.example/api/inngest --table TABLE
                                                            on AWS, with INNGEST_SIGNING_KEY";

#[derive(Args, Debug)]
pub(crate) struct AppsArgs {
    #[command(subcommand)]
    command: Option<AppsCommand>,
    /// Address of the server; by default STEPLADDER_URL, or http://127.0.0.1:8288
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// Use this DynamoDB table instead of a server; needs AWS credentials and a region, like the
    /// AWS CLI, and INNGEST_SIGNING_KEY to sync
    #[arg(long, value_name = "NAME", conflicts_with = "url", global = true)]
    table: Option<String>,
    /// Print the server's JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum AppsCommand {
    /// Ask an app for its functions, and register them
    Sync {
        /// Address of the app, such as http://localhost:3000/api/inngest, or lambda: and the ARN of
        /// a Lambda function
        #[arg(value_name = "APP-URL")]
        app: String,
    },
    /// Remove an app; its runs wait until it is registered again
    Remove {
        /// The app's name, as `apps` shows it
        #[arg(value_name = "APP")]
        app: String,
    },
}

pub(crate) async fn execute(app: App, args: AppsArgs) -> CommandResult {
    // to sync, the timeout of the workers must be known, which is beside the queues
    let access = match args.command {
        Some(AppsCommand::Sync { .. }) => CommandAccess::Writes,
        Some(AppsCommand::Remove { .. }) | None => CommandAccess::Reads,
    };
    let server = ServerArgs { url: args.url, table: args.table };
    let client = server.client(app, access).await?;
    let output = OutputArgs { json: args.json };
    match &args.command {
        None => list(&client, output).await,
        Some(AppsCommand::Sync { app }) => {
            let (synced, json) = client.sync_app(app).await?;
            if output.json {
                return print(json);
            }
            let functions = match synced.functions {
                Some(1) => "1 function".to_owned(),
                Some(n) => format!("{n} functions"),
                None => "its functions".to_owned(),
            };
            let name = if synced.name.is_empty() { "the app" } else { &synced.name };
            let changed = if synced.modified { "" } else { "; nothing has changed" };
            print(format_args!("{} is registered with {functions}{changed}", one_line(name, 80)))
        }
        Some(AppsCommand::Remove { app }) => {
            let (removed, json) = client.remove_app(app).await?;
            if output.json {
                return print(json);
            }
            print(format_args!(
                "{} is removed; its runs wait until it is registered again",
                one_line(&removed.name, 80)
            ))
        }
    }
}

async fn list(client: &Client, output: OutputArgs) -> CommandResult {
    let (apps, json) = client.apps().await?;
    if output.json {
        return print(json);
    }
    if apps.is_empty() {
        return print_remark("no apps are registered; register one with `stepladder apps sync URL`");
    }
    print(apps_table(&apps, now()))
}

fn apps_table(apps: &[RegisteredApp], now: Timestamp) -> Table {
    let mut table = Table::new(["APP", "SDK", "FRAMEWORK", "ADDRESS", "SYNCED", "FUNCTIONS", "PROBLEM"]);
    for app in apps {
        table.row([
            one_line(&app.name, 60),
            one_line(app.sdk.as_deref().unwrap_or("-"), 60),
            one_line(app.framework.as_deref().unwrap_or("-"), 40),
            one_line(&app.url, 80),
            app.synced_at.map_or_else(|| "-".to_owned(), |at| format_relative_time(at.0, now)),
            one_line(&app.functions.join(", "), 100),
            one_line(app.problem.as_deref().unwrap_or_default(), 160),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use stepladder_api::Time;

    use super::*;

    #[test]
    fn an_app_is_a_line_with_its_functions() {
        let app = RegisteredApp {
            name: "shop".into(),
            url: "http://localhost:3000/api/inngest".into(),
            sdk: Some("inngest-js 4.24.0".into()),
            framework: None,
            synced_at: Some(Time(Timestamp::from_millis(1_700_000_000_000))),
            functions: vec!["shop-hello".into(), "shop-bye".into()],
            problem: None,
        };
        let text = apps_table(&[app], Timestamp::from_millis(1_700_000_004_000)).to_string();
        let text = console::strip_ansi_codes(&text);
        let line = text.lines().nth(1).unwrap_or_default();
        let words: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        let address = "http://localhost:3000/api/inngest";
        assert_eq!(words, ["shop", "inngest-js 4.24.0", "-", address, "4.0 s ago", "shop-hello, shop-bye"]);
    }
}
