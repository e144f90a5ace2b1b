//! Operations: what a function of an SDK requests, or what became of a step that it executed.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use stepladder_core::decide::{Operation, StepOptions, Want};
use stepladder_core::sentence::shortened;
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{Json, StepId, json as values};

use crate::gateway::StepRequest;
use crate::step_id::{is_hash, stored_id};
use crate::time_text::{SleepEnd, parse_duration, parse_sleep_end};

/// Version 3 of the TypeScript package writes a duration under a second as an empty text.
const UNDER_A_SECOND: Option<SleepEnd> = Some(SleepEnd::After(Duration::ZERO));

/// The options with which an SDK describes where a step comes from. Each parallel step is reported
/// as it ends, so `parallelMode` changes nothing.
const NOTES: [&str; 7] =
    ["parallelMode", "span", "origin", "experimentStepID", "experimentName", "variant", "selectionStrategy"];

/// An operation as an SDK writes it. SDKs add fields of their own, which have no meaning.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WireOperation {
    pub(crate) id: String,
    pub(crate) op: String,
    name: Option<String>,
    #[serde(rename = "displayName")]
    display_name: Option<String>,
    /// The id in the code, as `{id, index?}`.
    userland: Option<Value>,
    opts: Option<Value>,
    pub(crate) data: Option<Json>,
    error: Option<Value>,
}

/// What an operation means for the engine.
#[derive(Clone, Debug)]
pub(crate) enum Requested {
    /// The function waits for this step.
    Wanted(Want),
    /// The function waits for this step, which makes a request.
    Request(Want, Box<StepRequest>),
    /// The app has executed the step: its value, or its error and whether that is final.
    Executed { want: Want, result: Result<Json, StepError> },
    /// The function has returned this value.
    Completed(Json),
    /// The code has no such step.
    NotFound(StepId),
    /// The app asks for another call.
    AnotherCall,
}

/// The error of a step that the app has executed.
#[derive(Clone, Debug)]
pub(crate) struct StepError {
    pub(crate) error: Value,
    /// Whether the SDK says that the step must not be retried.
    pub(crate) is_final: bool,
}

impl WireOperation {
    /// Returns whether the operation has no name, so that it is about no step of the code.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.userland.is_none() && self.display_name.is_none() && self.name.is_none()
    }

    /// Returns the id of the step in the journal.
    pub(crate) fn step(&self) -> StepId {
        let userland = self.userland.as_ref();
        let id = userland.and_then(|userland| userland.get("id")).and_then(Value::as_str);
        let index = userland.and_then(|userland| userland.get("index")).and_then(Value::as_u64).unwrap_or(0);
        let numbered = id.map(|id| if index == 0 { id.to_owned() } else { format!("{id}:{index}") });
        let others = [&self.display_name, &self.name].into_iter().flatten().cloned();
        stored_id(&self.id, numbered.into_iter().chain(others))
    }

    /// Returns what the operation means.
    ///
    /// # Errors
    /// A sentence: the operation is not supported, or its options cannot be used.
    pub(crate) fn requested(&self) -> Result<Requested, String> {
        if self.op == "RunComplete" {
            return Ok(Requested::Completed(self.data_or_null()));
        }
        if matches!(&*self.op, "DiscoveryRequest" | "None") {
            return Ok(Requested::AnotherCall);
        }
        if !is_hash(&self.id) {
            return Err(format!("the app reports a step with the id `{}`, which is no SHA-1", shortened(&self.id)));
        }
        let step = self.step();
        let want = |operation| Want { step: step.clone(), operation, at: None };
        let body = || want(Operation::Run(StepOptions::default()));
        let wanted = |operation| Ok(Requested::Wanted(want(operation)));
        match &*self.op {
            "StepRun" | "Step" => Ok(Requested::Executed { want: body(), result: Ok(self.data_or_null()) }),
            "StepError" | "StepFailed" => {
                let error = StepError { error: self.error(), is_final: self.op == "StepFailed" };
                Ok(Requested::Executed { want: body(), result: Err(error) })
            }
            "StepPlanned" => Ok(Requested::Wanted(body())),
            "StepNotFound" => Ok(Requested::NotFound(step)),
            "Sleep" => wanted(self.sleep()?),
            "WaitForEvent" => wanted(self.wait_for_event()?),
            "InvokeFunction" => wanted(self.invoke()?),
            "Gateway" | "AIGateway" | "AiGateway" => {
                let options = Value::Object(self.fields()?);
                let read = if self.op == "Gateway" { StepRequest::fetch } else { StepRequest::inference };
                let request = read(&options).map_err(|problem| format!("step `{step}`: {problem}"))?;
                Ok(Requested::Request(body(), Box::new(request)))
            }
            "WaitForSignal" => wanted(self.wait_for_signal()?),
            other => Err(format!("step `{step}` has the operation `{}`, which is not supported", shortened(other))),
        }
    }

    pub(crate) fn data_or_null(&self) -> Json {
        self.data.clone().unwrap_or_else(values::null)
    }

    /// Returns the error of the step. Older SDKs write it as `data`.
    fn error(&self) -> Value {
        let data = || self.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok());
        self.error.clone().filter(|error| !error.is_null()).or_else(data).unwrap_or_default()
    }

    fn sleep(&self) -> Result<Operation, String> {
        let options = self.options(&["duration"])?;
        // the specification has the duration in the options, the packages have it in the name
        let text = options.text("duration")?.or(self.name.as_deref());
        let end = text.and_then(|text| if text.is_empty() { UNDER_A_SECOND } else { parse_sleep_end(text) });
        match end {
            Some(SleepEnd::After(duration)) => Ok(Operation::SleepFor(duration)),
            Some(SleepEnd::At(time)) => Ok(Operation::SleepUntil(time)),
            None => {
                let (step, text) = (self.step(), shortened(text.unwrap_or_default()));
                Err(format!(
                    "step `{step}` sleeps for `{text}`, which is neither a duration nor a date with a time zone"
                ))
            }
        }
    }

    fn wait_for_event(&self) -> Result<Operation, String> {
        let options = self.options(&["event", "timeout", "if"])?;
        let event = options.text("event")?.or(self.name.as_deref()).unwrap_or_default();
        let timeout = self.timeout(&options)?;
        let matching = match options.text("if")?.filter(|cel| !cel.is_empty()) {
            Some(cel) => EventMatch::When(cel.into()),
            None => EventMatch::Any,
        };
        Ok(Operation::WaitForEvent { wait: Arc::new(EventWait { events: vec![event.into()], matching }), timeout })
    }

    fn wait_for_signal(&self) -> Result<Operation, String> {
        let options = self.options(&["signal", "timeout", "conflict"])?;
        let step = self.step();
        if let Some(conflict) = options.text("conflict")?.filter(|conflict| !matches!(*conflict, "" | "fail")) {
            let conflict = shortened(conflict);
            return Err(format!("step `{step}` has `onConflict: {conflict}`, which is not supported"));
        }
        let name = options.text("signal")?.or(self.name.as_deref()).unwrap_or_default();
        Ok(Operation::WaitForSignal { timeout: self.timeout(&options)?, heartbeat: None, name: Some(name.into()) })
    }

    fn timeout(&self, options: &Options<'_>) -> Result<Duration, String> {
        let text = options.text("timeout")?;
        let duration = text.and_then(|text| if text.is_empty() { Some(Duration::ZERO) } else { parse_duration(text) });
        let text = text.unwrap_or_default();
        duration.ok_or_else(|| format!("step `{}`: the `timeout` `{}` is no duration", self.step(), shortened(text)))
    }

    fn invoke(&self) -> Result<Operation, String> {
        let options = self.options(&["function_id", "payload", "timeout"])?;
        let step = self.step();
        let has_timeout = options.text("timeout")?.is_some();
        let timeout = has_timeout.then(|| self.timeout(&options)).transpose()?;
        let function = options.text("function_id")?.unwrap_or_default();
        let payload = options.fields.get("payload").cloned().unwrap_or_default();
        let empty = Map::new();
        let payload = payload.as_object().unwrap_or(&empty);
        let is_known = |name: &str| matches!(name, "data" | "name" | "user");
        let other = payload.iter().find(|(name, value)| !is_known(name) && !value.is_null());
        if let Some((name, _)) = other {
            let name = shortened(name);
            return Err(format!("step `{step}` invokes a function with `{name}`, which is not supported; use `data`"));
        }
        let field = |name| payload.get(name).filter(|value| !value.is_null()).map(values::to_json).transpose();
        let no_json = |error| format!("step `{step}`: the payload is not JSON: {error}");
        let input = field("data").map_err(no_json)?.unwrap_or_else(values::empty_object);
        let user = field("user").map_err(no_json)?;
        Ok(Operation::Invoke { function: function.into(), input, bound: false, timeout, user })
    }

    /// Returns the options of the step, without what an SDK notes for displays.
    fn fields(&self) -> Result<Map<String, Value>, String> {
        let mut fields = match &self.opts {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(fields)) => fields.clone(),
            Some(_) => return Err(format!("step `{}`: its `opts` are no JSON object", self.step())),
        };
        fields.retain(|name, _| !NOTES.contains(&name.as_str()));
        Ok(fields)
    }

    /// Returns the options of the step, which must all be known.
    fn options(&self, known: &[&str]) -> Result<Options<'_>, String> {
        let fields = self.fields()?;
        let unknown = fields
            .iter()
            .find(|(name, value)| !known.contains(&name.as_str()) && name.as_str() != "type" && !value.is_null());
        match unknown {
            Some((name, _)) => {
                let (step, op, name) = (self.step(), shortened(&self.op), shortened(name));
                Err(format!("step `{step}` ({op}) has the option `{name}`, which is not supported"))
            }
            None => Ok(Options { operation: self, fields }),
        }
    }
}

struct Options<'a> {
    operation: &'a WireOperation,
    fields: Map<String, Value>,
}

impl Options<'_> {
    fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("step `{}`: the option `{name}` is no text", self.operation.step())),
        }
    }
}

#[cfg(test)]
mod tests;
