//! The command `health`: whether a server answers. It is the health check of a container image that
//! has no other program.

use clap::Args;

use crate::client::Client;
use crate::terminal::{CommandResult, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder health                         exit code 0 if the local server answers, else 1
  stepladder health --url http://10.0.0.5:8288";

#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    /// Address of the server; by default STEPLADDER_URL, or http://127.0.0.1:8288
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the server's JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn execute(args: HealthArgs) -> CommandResult {
    let client = Client::for_url(args.url.as_deref())?;
    let json = client.health().await?;
    if args.json { print(json) } else { print(format_args!("the server at {} is healthy", client.address())) }
}
