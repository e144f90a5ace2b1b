//! Errors of the SDK as the engine's: those that pass, and those that no repetition can fix (rule 34).

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::CancellationReason;
use stepladder_engine::ports::StoreError;

/// Codes of answers with a status of 4xx that pass by themselves: throttles, what others do at this moment, credentials
/// that Lambda renews, and times of signatures from before a process was frozen. Every other 4xx is permanent.
const PASSING: [&str; 29] = [
    "Throttling",
    "ThrottlingException",
    "ThrottlingError",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "SlowDown",
    "PriorRequestNotComplete",
    "OverLimit",
    "KmsThrottled",
    "KMS.ThrottlingException",
    "TransactionInProgressException",
    "TransactionConflictException",
    "TransactionConflict",
    "ReplicatedWriteConflictException",
    "RequestTimeout",
    "RequestTimeoutException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "InternalError",
];

/// A failed request, with the code and the sentence of the service, or what kept it from being answered.
pub(crate) fn unavailable<E>(operation: &str, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    StoreError::Unavailable(match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("error without a code");
            let message = service.err().message().unwrap_or("no further word");
            return refusal(operation, service.raw().status().as_u16(), code, message);
        }
        SdkError::TimeoutError(_) => format!("{operation}: no answer in time"),
        SdkError::DispatchFailure(failure) => {
            let why = failure.as_connector_error().map_or_else(|| "no connection".into(), root_cause);
            format!("{operation}: {why}")
        }
        SdkError::ResponseError(_) => format!("{operation}: an answer that cannot be read"),
        // such a request is not even sent: a value or a setting is missing
        SdkError::ConstructionFailure(_) => {
            return StoreError::Refused(format!("{operation}: {}", root_cause(error)));
        }
        other => format!("{operation}: {}", root_cause(other)),
    })
}

/// An answer that says no, by its status and code.
fn refusal(operation: &str, status: u16, code: &str, message: &str) -> StoreError {
    let sentence = format!("{operation}: {code}: {message}{}", advice(code));
    let lasts = (400..500).contains(&status) && !matches!(status, 408 | 429) && !is_passing(code);
    if lasts { StoreError::Refused(sentence) } else { StoreError::Unavailable(sentence) }
}

/// A part of a request that the service refused: an entry of a batch, an item of a transaction.
pub(crate) fn part_refused(operation: &str, code: &str, message: Option<&str>) -> StoreError {
    refusal(operation, 400, code, message.unwrap_or("no further word"))
}

/// The error of a cancelled transaction, if a reason for it lasts: it is neither a condition that did not hold nor a throttle.
pub(crate) fn lasting(reasons: &[CancellationReason]) -> Option<StoreError> {
    let lasts = |code: &str| code != "None" && code != "ConditionalCheckFailed" && !is_passing(code);
    reasons.iter().find_map(|reason| {
        let code = reason.code().filter(|code| lasts(code))?;
        Some(part_refused("TransactWriteItems", code, reason.message()))
    })
}

/// Whether a repetition may be answered otherwise.
pub(crate) fn is_passing(code: &str) -> bool {
    PASSING.contains(&code)
}

/// What to do about an error that lasts.
fn advice(code: &str) -> &'static str {
    match code {
        "ResourceNotFoundException" => " (does the table exist, in this region?)",
        "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" => " (does the queue exist?)",
        _ if code.to_ascii_lowercase().contains("kms") => {
            " (is the key of KMS enabled, and may the role use it? infra/IAM.md lists what each role needs)"
        }
        _ if code.contains("AccessDenied") => " (the role lacks a permission; infra/IAM.md lists what each role needs)",
        "UnrecognizedClientException" | "InvalidClientTokenId" => " (are the credentials of this account?)",
        "ValidationException" | "ValidationError" => " (this version sends what the service does not take: report it)",
        _ => "",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_from_what_passes() {
        for code in [
            "AccessDeniedException",
            "AccessDenied",
            "ResourceNotFoundException",
            "AWS.SimpleQueueService.NonExistentQueue",
            "ValidationException",
            "KmsAccessDenied",
            "KmsDisabled",
            "UnrecognizedClientException",
            "ItemCollectionSizeLimitExceededException",
            "ACodeOfTomorrow",
        ] {
            assert!(refusal("PutItem", 400, code, "no").is_permanent(), "{code}");
        }
        for code in PASSING {
            assert!(!refusal("PutItem", 400, code, "later").is_permanent(), "{code}");
        }
        for status in [408, 429, 500, 502, 503] {
            assert!(!refusal("PutItem", status, "ACodeOfTomorrow", "later").is_permanent(), "{status}");
        }
    }

    #[test]
    fn an_error_that_lasts_says_what_to_do() {
        let error = refusal("SendMessage", 400, "AccessDenied", "User is not authorized");
        assert_eq!(
            error.to_string(),
            "the store refuses this: SendMessage: AccessDenied: User is not authorized (the role lacks a permission; \
             infra/IAM.md lists what each role needs)"
        );
    }
}
