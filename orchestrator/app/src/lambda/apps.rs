//! Apps with functions of Inngest's SDKs, for the roles on Lambda: their signing keys, and the
//! invocation of apps that are Lambda functions themselves.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_aws::{Connection, FunctionInvoker, InvokeError, SecretName, SecretReader};
use stepladder_engine::clock::SystemClock;
use stepladder_inngest::{AppConnector, InvokeFunction, KeySource, NotInvoked, SigningKeys};

/// The answer to requests of apps if the stack has no signing key.
pub(crate) const NO_KEY: &str =
    "this stack has no signing key; name one in the parameter SigningKeysSecretName or SigningKeysParameterName";

/// Creates the connector of a role, which reads its signing keys when it needs them.
///
/// # Errors
/// A sentence: no HTTP client can be created.
pub(crate) fn connector(connection: &Connection, keys: SecretName) -> Result<AppConnector, String> {
    let source = StoredKeys { reader: SecretReader::new(connection)?, name: keys };
    let connector = AppConnector::with_key_source(Box::new(source), Arc::new(SystemClock))?;
    Ok(connector.invoking(invoker(connection)?))
}

/// Creates what invokes apps that are Lambda functions.
///
/// # Errors
/// A sentence: no HTTP client can be created.
pub(crate) fn invoker(connection: &Connection) -> Result<Arc<dyn InvokeFunction>, String> {
    Ok(Arc::new(Invoker(FunctionInvoker::new(connection)?)))
}

/// Signing keys in Secrets Manager or Systems Manager.
struct StoredKeys {
    reader: SecretReader,
    name: SecretName,
}

#[async_trait]
impl KeySource for StoredKeys {
    async fn read(&self) -> Result<SigningKeys, String> {
        let text = self.reader.read(&self.name).await.map_err(|error| error.to_string())?;
        SigningKeys::parse(&text).map_err(|problem| format!("{}: {problem}", self.name))
    }
}

struct Invoker(FunctionInvoker);

#[async_trait]
impl InvokeFunction for Invoker {
    async fn invoke(&self, arn: &str, event: Vec<u8>) -> Result<Vec<u8>, NotInvoked> {
        self.0.invoke(arn, event).await.map_err(|error| match error {
            InvokeError::NotInvoked(why) => NotInvoked::NotSent(why),
            InvokeError::Lost(why) => NotInvoked::Lost(why),
        })
    }
}
