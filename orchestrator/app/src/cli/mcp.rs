//! The command `mcp`: serves the tools of coding agents on standard input and output.

use clap::Args;

use super::send::event_key;
use super::{CommandAccess, ServerArgs};
use crate::app::App;
use crate::mcp::{McpServer, stdio};
use crate::terminal::CommandResult;

pub(crate) const EXAMPLES: &str = "\
Examples of the command that an agent's configuration names:
  stepladder mcp                        the local server
  stepladder mcp --url https://steps.example
  stepladder mcp --table runs --read-only

A server that requires an event key gets the first of STEPLADDER_EVENT_KEYS.
The local server has the same tools at http://localhost:8288/mcp.";

#[derive(Args, Debug)]
pub(crate) struct McpArgs {
    /// Offer only the tools that change nothing
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: McpArgs) -> CommandResult {
    let access = if args.read_only { CommandAccess::Reads } else { CommandAccess::Writes };
    let client = args.server.client(app, access).await?;
    stdio::serve(McpServer::new(client, event_key(None)?, access)).await
}
