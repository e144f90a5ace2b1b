//! Apps that are Lambda functions, invoked directly: the request is the event of a function URL
//! (payload format 2.0), and so is the response. The function needs no public address.
//!
//! How a function is invoked is deliberately not known here: [`InvokeFunction`] does it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepladder_core::Timestamp;

use crate::transport::{AppAnswer, NoAnswer};

/// The scheme of the address of such an app.
pub(crate) const SCHEME: &str = "lambda";
/// The form of an address.
const FORM: &str =
    "lambda:arn:aws:lambda:REGION:ACCOUNT:function:NAME, with the path of the app if it is not /api/inngest";
/// The path at which an app serves its functions by default.
const DEFAULT_PATH: &str = "/api/inngest";
/// The host name in events. It leads nowhere.
pub(crate) const HOST: &str = "function.invalid";
/// The maximum size of an event, which is a quota of Lambda, less 64 KB for all but the body.
const BODY_BYTES: usize = 6 * 1024 * 1024 - 64 * 1024;

/// Invokes Lambda functions.
#[async_trait]
pub trait InvokeFunction: Send + Sync {
    /// Invokes the function with this ARN, and waits for its response.
    ///
    /// # Errors
    /// [`NotInvoked`] if there is no response, or the function has failed.
    async fn invoke(&self, arn: &str, event: Vec<u8>) -> Result<Vec<u8>, NotInvoked>;
}

/// Why a function has not responded, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotInvoked {
    /// The function has not been invoked.
    NotSent(String),
    /// The function may have been invoked, and may have executed code.
    Lost(String),
}

/// Checks the address of an app whose scheme is [`SCHEME`], and adds the default path.
pub(crate) fn parse(url: &Url) -> Result<Url, String> {
    let (arn, path) = parts(url);
    let fields: Vec<&str> = arn.split(':').collect();
    let is_arn = matches!(fields[..], ["arn", partition, "lambda", region, account, "function", name, ref qualifier @ ..]
        if [partition, region, account, name].iter().chain(qualifier).all(|field| is_plain(field)) && qualifier.len() <= 1);
    if !is_arn {
        return Err(format!("it is not the ARN of a function; write it like {FORM}"));
    }
    let path = if path.is_empty() { DEFAULT_PATH } else { path };
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{SCHEME}:{arn}{path}{query}").parse().map_err(|error| format!("it is no address: {error}"))
}

fn is_plain(field: &str) -> bool {
    !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_$".contains(&byte))
}

/// Returns the ARN of the function, and the path of the app.
fn parts(url: &Url) -> (&str, &str) {
    let text = url.path();
    text.split_at(text.find('/').unwrap_or(text.len()))
}

/// Sends a request to an app by invoking its function.
pub(crate) async fn send(
    invoker: &dyn InvokeFunction,
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
    body: Vec<u8>,
    now: Timestamp,
) -> Result<AppAnswer, NoAnswer> {
    let (arn, _) = parts(url);
    let event = event(method, url, headers, body, now).to_string().into_bytes();
    let response = invoker.invoke(arn, event).await.map_err(|none| match none {
        NotInvoked::NotSent(why) => NoAnswer::NotSent(format!("the function {arn} is not invoked: {why}")),
        NotInvoked::Lost(why) => NoAnswer::Lost(format!("the function {arn} does not answer: {why}")),
    })?;
    answer(&response).map_err(|problem| NoAnswer::Lost(format!("the answer of the function {arn} {problem}")))
}

/// Returns the event of a request:
/// <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>.
fn event(method: &Method, url: &Url, headers: &HeaderMap, body: Vec<u8>, now: Timestamp) -> Value {
    let (_, path) = parts(url);
    let mut all: Map<String, Value> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), Value::from(value.to_str().ok()?))))
        .collect();
    all.insert("host".into(), HOST.into());
    all.insert("x-forwarded-proto".into(), "https".into());
    let query: BTreeMap<_, _> = url.query_pairs().collect();
    let (body, is_base64) = match String::from_utf8(body) {
        Ok(text) if json_bytes(&text) <= BODY_BYTES => (text, false),
        Ok(text) => (BASE64_STANDARD.encode(text), true),
        Err(bytes) => (BASE64_STANDARD.encode(bytes.into_bytes()), true),
    };
    let time = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default();
    let http = json!({
        "method": method.as_str(), "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "stepladder",
    });
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": url.query().unwrap_or_default(),
        "headers": all, "queryStringParameters": query, "body": body, "isBase64Encoded": is_base64,
        "requestContext": {
            "accountId": "anonymous", "apiId": "function", "domainName": HOST, "domainPrefix": "function", "http": http,
            "requestId": now.as_millis().to_string(), "routeKey": "$default", "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(), "timeEpoch": now.as_millis(),
        },
    })
}

/// Returns the number of bytes of a text in JSON. A call is JSON, so its bytes that need an escape
/// are quotes, backslashes and line breaks.
fn json_bytes(text: &str) -> usize {
    2 + text.bytes().map(|byte| if matches!(byte, b'"' | b'\\' | b'\n' | b'\r' | b'\t') { 2 } else { 1 }).sum::<usize>()
}

/// Reads the response of a Lambda function.
///
/// # Errors
/// The bytes are not such a response. The error is the end of a sentence that says so.
fn answer(response: &[u8]) -> Result<AppAnswer, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct FunctionResponse {
        status_code: u16,
        #[serde(default)]
        headers: BTreeMap<String, Value>,
        #[serde(default)]
        body: Option<String>,
        #[serde(default)]
        is_base64_encoded: bool,
    }
    let response: FunctionResponse = serde_json::from_slice(response)
        .map_err(|error| format!("is not that of a function URL, such as the `lambda` handler returns: {error}"))?;
    let status =
        StatusCode::from_u16(response.status_code).map_err(|_| format!("has the status {}", response.status_code))?;
    let body = response.body.unwrap_or_default();
    let body = match response.is_base64_encoded {
        true => BASE64_STANDARD.decode(body).map_err(|error| format!("has a body that is not base64: {error}"))?,
        false => body.into_bytes(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in response.headers {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&text)) {
            headers.insert(name, value);
        }
    }
    Ok(AppAnswer { status, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:shop";

    fn parsed(text: &str) -> Result<String, String> {
        parse(&text.parse().unwrap()).map(|url| url.to_string())
    }

    #[test]
    fn an_address_has_the_arn_of_a_function_and_a_path() {
        assert_eq!(parsed(&format!("lambda:{ARN}")).unwrap(), format!("lambda:{ARN}/api/inngest"));
        assert_eq!(parsed(&format!("lambda:{ARN}:live/x/inngest")).unwrap(), format!("lambda:{ARN}:live/x/inngest"));
        for bad in [
            "lambda:shop",
            "lambda:arn:aws:lambda:eu-west-1:1:function:",
            "lambda:arn:aws:sqs:eu-west-1:1:shop",
            &format!("lambda:{ARN}:live:more"),
            &format!("lambda:/{ARN}"),
        ] {
            assert!(parsed(bad).unwrap_err().contains("write it like lambda:arn:aws:lambda:"), "{bad}");
        }
    }

    #[test]
    fn a_request_is_the_event_of_a_function_url() {
        let url = parse(&format!("lambda:{ARN}").parse().unwrap()).unwrap();
        let mut url = url;
        url.query_pairs_mut().append_pair("fnId", "shop-a b").append_pair("stepId", "step");
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-a"), HeaderValue::from_static("b"))]);
        let now = Timestamp::from_millis(1_700_000_000_000);
        let event = event(&Method::POST, &url, &headers, b"{}".to_vec(), now);
        assert_eq!((&event["rawPath"], &event["body"]), (&json!("/api/inngest"), &json!("{}")));
        assert_eq!(event["rawQueryString"], "fnId=shop-a+b&stepId=step");
        assert_eq!(event["queryStringParameters"], json!({"fnId": "shop-a b", "stepId": "step"}));
        assert_eq!((&event["headers"]["x-a"], &event["isBase64Encoded"]), (&json!("b"), &json!(false)));
        assert_eq!(event["requestContext"]["time"], "14/Nov/2023:22:13:20 +0000");
        // the quotes of a large body would double
        let large = event_bytes(&url, "\"".repeat(4 * 1024 * 1024).into_bytes());
        assert!(large < 6 * 1024 * 1024, "{large} bytes pass Lambda");
    }

    fn event_bytes(url: &Url, body: Vec<u8>) -> usize {
        event(&Method::POST, url, &HeaderMap::new(), body, Timestamp::from_millis(0)).to_string().len()
    }

    #[test]
    fn a_response_has_a_status_headers_and_a_body() {
        let plain = json!({"statusCode": 206, "headers": {"X-Inngest-Sdk": "x", "n": 1}, "body": "[]"});
        let read = answer(plain.to_string().as_bytes()).unwrap();
        assert!(read.status == 206 && read.is_of_sdk() && read.body == b"[]");
        let encoded = json!({"statusCode": 200, "body": "WyJhIl0=", "isBase64Encoded": true});
        assert_eq!(answer(encoded.to_string().as_bytes()).unwrap().body, br#"["a"]"#);
        for bad in [json!("text"), json!({"body": "x"}), json!({"statusCode": 7, "body": ""}), json!(null)] {
            assert!(answer(bad.to_string().as_bytes()).is_err(), "{bad}");
        }
    }
}
