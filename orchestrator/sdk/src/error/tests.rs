use super::*;

#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct OuterError(#[source] std::num::ParseIntError);

fn parse(text: &str) -> std::result::Result<i32, OuterError> {
    text.parse().map_err(OuterError)
}

#[test]
fn any_error_becomes_retryable_by_a_question_mark() {
    let failed = || -> Result<i32> { Ok(parse("x")?) };
    let error = failed().unwrap_err();
    assert_eq!(error.retry(), RetryAdvice::Default);
    assert_eq!(error.to_string(), "outer");
    assert_eq!(format!("{error:#}"), "outer: invalid digit found in string");
    assert!(error.downcast_ref::<OuterError>().is_some());
    assert_eq!(error.into_fault().failure.message, "outer: invalid digit found in string");
}

#[test]
fn results_take_retry_advice_and_a_code() {
    assert!(parse("x").terminal().unwrap_err().is_terminal());
    let wait = Duration::from_secs(9);
    assert_eq!(parse("x").retry_after(wait).unwrap_err().retry(), RetryAdvice::After(wait));
    let coded = parse("x").with_code("not-a-number").unwrap_err();
    assert_eq!((coded.code(), coded.is_terminal()), (Some("not-a-number"), false));
}

#[test]
fn a_result_keeps_what_its_error_already_says() {
    let failed = || -> Result<()> { Err(Error::retry_after(Duration::from_secs(9), "busy").with_code("busy")) };
    let renamed = failed().with_code("overloaded").unwrap_err();
    assert_eq!((renamed.code(), renamed.retry_delay()), (Some("overloaded"), Some(Duration::from_secs(9))));
    let terminal = failed().terminal().unwrap_err();
    assert_eq!((terminal.code(), terminal.is_terminal()), (Some("busy"), true));
    let text = Err::<(), _>("plain text").with_code("text").unwrap_err();
    assert_eq!((text.to_string().as_str(), text.code()), ("plain text", Some("text")));
}

#[test]
fn an_error_of_a_step_keeps_its_code_and_its_causes() {
    let error = Error::from(parse("x").unwrap_err()).with_code(ErrorCode::BadEvent).in_step("send");
    assert!(error.is_terminal() && error.has_code(ErrorCode::BadEvent));
    assert_eq!(format!("{error:#}"), "step `send`: outer: invalid digit found in string");
}

#[test]
fn codes_reach_the_journal() {
    let fault = Error::terminal("taken").with_code("email-taken").into_fault();
    assert_eq!(fault.failure, Failure::with_code("taken", "email-taken"));
    assert_eq!(fault.retry, RetryAdvice::Never);
}

#[test]
fn a_client_error_is_terminal_and_a_busy_server_is_not() {
    let retry = |status| Error::from_http_status(status, None, "x").retry();
    for status in [400, 401, 403, 404, 410, 422] {
        assert_eq!(retry(status), RetryAdvice::Never, "{status}");
    }
    for status in [302, 408, 409, 423, 425, 429, 500, 502, 503, 504] {
        assert_eq!(retry(status), RetryAdvice::Default, "{status}");
    }
    assert_eq!(Error::from_http_status(429, None, "x").code(), Some("http-429"));
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let retry = |after: &str| Error::from_http_status(429, Some(after), "x").retry();
    assert_eq!(retry("7"), RetryAdvice::After(Duration::from_secs(7)));
    assert_eq!(retry("Wed, 21 Oct 2015 07:28:00 GMT"), RetryAdvice::After(Duration::ZERO));
    let soon = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
    let RetryAdvice::After(wait) = retry(&soon) else { panic!("a wait") };
    assert!(wait > Duration::from_secs(90) && wait <= Duration::from_secs(100), "{wait:?}");
    assert_eq!(retry("999999999"), RetryAdvice::After(Duration::from_secs(86_400)), "at most a day");
    assert_eq!(retry("soon"), RetryAdvice::Default);
    assert_eq!(Error::from_http_status(400, Some("7"), "x").retry(), RetryAdvice::Never);
}

#[test]
fn a_long_body_is_cut_between_characters() {
    assert_eq!(http::truncate(&"é".repeat(3_000)).len(), 2_048);
    assert_eq!(http::truncate(&format!("x{}", "é".repeat(3_000))).len(), 2_047);
    assert_eq!(http::truncate("short"), "short");
}
