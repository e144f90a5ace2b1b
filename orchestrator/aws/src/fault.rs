//! Errors of the SDK as the engine's: every failure of a request is worth another try later, and says what it was.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use stepladder_engine::ports::StoreError;

/// A failed request, with the code and the sentence of the service, or what kept it from being answered.
pub(crate) fn unavailable<E, R>(operation: &str, error: &SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    StoreError::Unavailable(match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("error without a code");
            let message = service.err().message().unwrap_or("no further word");
            let advice = match code {
                "ResourceNotFoundException" => " (does the table exist, in this region?)",
                "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" => " (does the queue exist?)",
                "AccessDeniedException" | "AccessDenied" => " (the role lacks a permission)",
                _ => "",
            };
            format!("{operation}: {code}: {message}{advice}")
        }
        SdkError::TimeoutError(_) => format!("{operation}: no answer in time"),
        SdkError::DispatchFailure(failure) => {
            let why = failure.as_connector_error().map_or_else(|| "no connection".into(), root_cause);
            format!("{operation}: {why}")
        }
        SdkError::ResponseError(_) => format!("{operation}: an answer that cannot be read"),
        other => format!("{operation}: {}", root_cause(other)),
    })
}

fn root_cause(error: &(impl std::error::Error + 'static)) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A condition that did not hold is an answer, not a failure.
pub(crate) fn is_code<E, R>(error: &SdkError<E, R>, code: &str) -> bool
where
    E: ProvideErrorMetadata,
{
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some(code)
}

/// The code of a condition that did not hold.
pub(crate) const CONDITION: &str = "ConditionalCheckFailedException";
