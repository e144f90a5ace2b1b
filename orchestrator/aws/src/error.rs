//! Converts errors of the AWS SDK to those of the engine: transient errors, and permanent errors
//! that no retry can fix (rule 34).

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::CancellationReason;
use stepladder_engine::ports::StoreError;

/// The error codes of transient 4xx responses: throttles, concurrent writes, credentials that
/// Lambda renews, and signatures from before a process was frozen. All other 4xx responses are
/// permanent.
const TRANSIENT_CODES: [&str; 29] = [
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

/// Returns the error of a failed request, with the service's code and message if there are any.
pub(crate) fn request_error<E>(operation: &str, error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let failure = match &error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("error without a code");
            let message = service.err().message().unwrap_or("no message");
            response_error(operation, service.raw().status().as_u16(), code, message)
        }
        SdkError::TimeoutError(_) => unavailable(operation, "no response in time"),
        SdkError::DispatchFailure(failure) => {
            unavailable(operation, &failure.as_connector_error().map_or_else(|| "no connection".into(), root_cause))
        }
        SdkError::ResponseError(_) => unavailable(operation, "a response that cannot be read"),
        // the request was not sent, because a value or a setting is missing
        SdkError::ConstructionFailure(_) => StoreError::Refused(format!("{operation}: {}", root_cause(&error)).into()),
        other => unavailable(operation, &root_cause(other)),
    };
    failure.because(error)
}

fn unavailable(operation: &str, why: &str) -> StoreError {
    StoreError::Unavailable(format!("{operation}: {why}").into())
}

fn response_error(operation: &str, status: u16, code: &str, message: &str) -> StoreError {
    let sentence = format!("{operation}: {code}: {message}{}", advice_for_code(code));
    let is_permanent = (400..500).contains(&status) && !matches!(status, 408 | 429) && !is_transient(code);
    if is_permanent { StoreError::Refused(sentence.into()) } else { StoreError::Unavailable(sentence.into()) }
}

/// Returns the error of one part of a request: an entry of a batch, or an item of a transaction.
pub(crate) fn part_error(operation: &str, code: &str, message: Option<&str>) -> StoreError {
    response_error(operation, 400, code, message.unwrap_or("no message"))
}

/// Returns the error of a cancelled transaction if one of the reasons is permanent. A failed
/// condition and a throttle are not permanent.
pub(crate) fn permanent_reason(reasons: &[CancellationReason]) -> Option<StoreError> {
    let is_permanent = |code: &str| code != "None" && code != "ConditionalCheckFailed" && !is_transient(code);
    reasons.iter().find_map(|reason| {
        let code = reason.code().filter(|code| is_permanent(code))?;
        Some(part_error("TransactWriteItems", code, reason.message()))
    })
}

/// Returns whether a request that failed with this code may succeed if it is retried.
pub(crate) fn is_transient(code: &str) -> bool {
    TRANSIENT_CODES.contains(&code)
}

/// Returns what an operator can do about a permanent error, as a text in parentheses.
fn advice_for_code(code: &str) -> &'static str {
    match code {
        "ResourceNotFoundException" => " (does the table exist, in this region?)",
        "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" => " (does the queue exist?)",
        _ if code.to_ascii_lowercase().contains("kms") => {
            " (is the key of KMS enabled, and may the role use it? infra/IAM.md lists what each role needs)"
        }
        _ if code.contains("AccessDenied") => " (the role lacks a permission; infra/IAM.md lists what each role needs)",
        "UnrecognizedClientException" | "InvalidClientTokenId" => " (are these the credentials of this account?)",
        "ValidationException" | "ValidationError" => {
            " (this version sends a request that the service does not accept: report it)"
        }
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

/// The error of a request that may have a condition.
pub(crate) trait ConditionalError {
    /// Returns whether the request failed because its condition was false.
    fn is_failed_condition(&self) -> bool;
}

impl ConditionalError for PutItemError {
    fn is_failed_condition(&self) -> bool {
        self.is_conditional_check_failed_exception()
    }
}

impl ConditionalError for UpdateItemError {
    fn is_failed_condition(&self) -> bool {
        self.is_conditional_check_failed_exception()
    }
}

impl ConditionalError for DeleteItemError {
    fn is_failed_condition(&self) -> bool {
        self.is_conditional_check_failed_exception()
    }
}

/// Returns whether a request failed only because its condition was false.
pub(crate) fn condition_failed<E: ConditionalError, R>(error: &SdkError<E, R>) -> bool {
    error.as_service_error().is_some_and(ConditionalError::is_failed_condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_and_permanent_codes_are_distinguished() {
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
            assert!(response_error("PutItem", 400, code, "no").is_permanent(), "{code}");
        }
        for code in TRANSIENT_CODES {
            assert!(!response_error("PutItem", 400, code, "later").is_permanent(), "{code}");
        }
        for status in [408, 429, 500, 502, 503] {
            assert!(!response_error("PutItem", status, "ACodeOfTomorrow", "later").is_permanent(), "{status}");
        }
    }

    #[test]
    fn an_error_keeps_that_of_the_sdk_as_its_source() {
        let late: SdkError<PutItemError> = SdkError::timeout_error("5 s have passed");
        let error = request_error("PutItem", late);
        assert!(!error.is_permanent());
        assert_eq!(error.reason(), "PutItem: no response in time");
        let source = std::error::Error::source(&error).expect("a source");
        assert!(source.is::<SdkError<PutItemError>>(), "{source:?}");
        assert!(error.reason_with_causes().ends_with("5 s have passed"), "{}", error.reason_with_causes());
    }

    #[test]
    fn a_permanent_error_says_what_to_do() {
        let error = response_error("SendMessage", 400, "AccessDenied", "User is not authorized");
        assert_eq!(
            error.to_string(),
            "the store refuses this: SendMessage: AccessDenied: User is not authorized (the role lacks a permission; \
             infra/IAM.md lists what each role needs)"
        );
    }
}
