//! Encodes values before they leave the function for the journal, and decodes recorded ones.
//!
//! How values are encrypted is deliberately not known here: a [`PayloadCodec`] does that.

mod execution;
mod expected;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use stepladder_core::encrypted::{Envelope, FIELD, PayloadContext, PayloadPlace, may_contain};
use stepladder_core::{Event, Failure, Json, NewEvent, RunId, StepId, json, system};
use stepladder_engine::executor::{RunView, Unreachable};

use crate::Result;
pub(crate) use execution::CodecExecution;
use expected::Expected;

/// Encodes values before they reach the journal, and decodes them when a run is replayed. The crate
/// contains one implementation, `Encryption` (feature `encryption`). Install it with
/// `App::payload_codec`.
///
/// These values are encoded:
///
/// - results of steps and of functions;
/// - inputs of called functions, and data of events that a function sends;
/// - data of errors, and states of polls.
///
/// These are not: events and callbacks from outside, ids, names, labels, log lines, model usage,
/// the `user` of an event, messages and codes of errors. The engine evaluates filters, and keys of
/// limits, on encoded events: they see only fields that
/// [`keeps_readable`](Self::keeps_readable) names.
///
/// An encoded value is stored in base64, in an envelope with the id of the key and the context. All
/// limits apply to the encoded size, which is a third larger.
#[async_trait]
pub trait PayloadCodec: Send + Sync + 'static {
    /// Prepares the following calls: reads the keys, for example. It is called before each poll of
    /// a function, so it must not ask another service each time.
    ///
    /// # Errors
    /// Nothing can be encoded. The run waits, without using a retry, until this succeeds.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// Encodes a value, which is JSON text. The context must be authenticated together with the
    /// value; [`PayloadContext::to_bytes`] returns it as bytes.
    ///
    /// # Errors
    /// The step fails with this error.
    fn encode(&self, context: &PayloadContext, clear: &[u8]) -> Result<EncodedPayload>;

    /// Decodes a value that was encoded for this context.
    ///
    /// # Errors
    /// Says which key is missing or does not fit. The run waits, without using a retry, until the
    /// value can be decoded.
    fn decode(&self, context: &PayloadContext, encoded: &EncodedPayload) -> Result<Vec<u8>>;

    /// Returns whether this field of an event's data, or of an input, is copied into the envelope
    /// in clear text, so that filters and keys of limits can read it. The default is no field.
    fn keeps_readable(&self, field: &str) -> bool {
        let _ = field;
        false
    }
}

/// A value that a [`PayloadCodec`] has encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPayload {
    /// The id of the key, which everyone with access to the run can see.
    pub key: String,
    /// The encoded value.
    pub data: Vec<u8>,
}

/// Encodes and decodes the values of one run.
#[derive(Clone)]
pub(crate) struct RunPayloads {
    codec: Option<Arc<dyn PayloadCodec>>,
    run: RunId,
    function: Arc<str>,
}

impl RunPayloads {
    pub(crate) fn new(codec: Option<Arc<dyn PayloadCodec>>, run: RunId, function: Arc<str>) -> Self {
        Self { codec, run, function }
    }

    /// Returns whether values are encoded.
    pub(crate) fn encodes(&self) -> bool {
        self.codec.is_some()
    }

    /// Makes the keys available.
    pub(crate) async fn prepare(&self) -> Result<(), Unreachable> {
        let Some(codec) = &self.codec else { return Ok(()) };
        codec.prepare().await.map_err(|error| unreadable(format!("the payload codec is not ready: {error}")))
    }

    /// Decodes the events of a run.
    pub(crate) fn open_events(&self, run: &mut RunView) -> Result<(), Unreachable> {
        if let Some(data) = self.open_event(&run.event)? {
            run.event = Arc::new(Event { data, ..(*run.event).clone() });
        }
        for event in &mut run.joined {
            if let Some(data) = self.open_event(event)? {
                event.data = data;
            }
        }
        Ok(())
    }

    /// Returns the decoded data of an event; `None` if it is in clear text.
    fn open_event(&self, event: &Event) -> Result<Option<Json>, Unreachable> {
        let what = || format!("the data of event `{}`", event.name);
        match system::is_run_end_event(&event.name) {
            true => self.open_within(&event.data, what).map(Some),
            false if Envelope::read(event.data.get()).is_none() => Ok(None),
            false => self.open(&event.data, &Expected::Event(&event.name), what).map(Some),
        }
    }

    /// Encodes the result of a step.
    fn seal_output(&self, step: &StepId, output: &Json) -> Result<Json> {
        self.seal(PayloadPlace::Step, Some((**step).into()), output)
    }

    /// Encodes the data of an error.
    fn seal_failure(&self, failure: &mut Failure) -> Result<()> {
        if let Some(data) = &mut failure.data {
            *data = self.seal(PayloadPlace::Error, None, data)?;
        }
        Ok(())
    }

    fn seal(&self, place: PayloadPlace, name: Option<Arc<str>>, value: &Json) -> Result<Json> {
        let Some(codec) = &self.codec else { return Ok(value.clone()) };
        let context = PayloadContext { place, name, function: Some(self.function.clone()), run: Some(self.run) };
        seal(&**codec, context, value)
    }

    /// Encodes the data of an event that the function sends.
    pub(crate) fn seal_event(&self, event: NewEvent) -> Result<NewEvent> {
        let Some(codec) = &self.codec else { return Ok(event) };
        seal_event(&**codec, event, Some(self.run))
    }

    /// Encodes the input of a called function, which is a JSON object.
    pub(crate) fn seal_input(&self, function: &Arc<str>, input: Json) -> Result<Json> {
        let Some(codec) = &self.codec else { return Ok(input) };
        let place = PayloadPlace::Input;
        let context = PayloadContext { place, name: None, function: Some(function.clone()), run: Some(self.run) };
        seal(&**codec, context, &input)
    }

    /// Decodes a value if it is encoded.
    fn open(&self, value: &Json, expected: &Expected<'_>, what: impl Fn() -> String) -> Result<Json, Unreachable> {
        let Some(envelope) = Envelope::read(value.get()) else { return Ok(value.clone()) };
        let opened = match &self.codec {
            None => Err(format!(
                "it is encrypted with key {}, and the app has no payload codec; add it with App::payload_codec",
                envelope.key
            )),
            Some(codec) => expected
                .check(&envelope.context, self.run, &self.function)
                .and_then(|()| open(&**codec, value, &envelope)),
        };
        opened.map_err(|why| unreadable(format!("cannot read {}: {why}", what())))
    }

    /// Decodes all values that are encoded within a JSON document which the engine has written.
    fn open_within(&self, value: &Json, what: impl Fn() -> String + Copy) -> Result<Json, Unreachable> {
        if !may_contain(value.get()) {
            return Ok(value.clone());
        }
        if Envelope::read(value.get()).is_some() {
            return self.open(value, &Expected::NotStep, what);
        }
        let opened = if let Ok(fields) = serde_json::from_str::<BTreeMap<Cow<'_, str>, Json>>(value.get()) {
            let fields = fields.into_iter().map(|(name, field)| Ok((name, self.open_within(&field, what)?)));
            json::to_json(&fields.collect::<Result<BTreeMap<_, _>, Unreachable>>()?)
        } else if let Ok(items) = serde_json::from_str::<Vec<Json>>(value.get()) {
            let items = items.iter().map(|item| self.open_within(item, what));
            json::to_json(&items.collect::<Result<Vec<_>, Unreachable>>()?)
        } else {
            return Ok(value.clone());
        };
        opened.map_err(|error| unreadable(format!("cannot read {}: {error}", what())))
    }
}

/// Encodes the data of an event. Data that is encoded already is left alone.
pub(crate) fn seal_event(codec: &dyn PayloadCodec, mut event: NewEvent, run: Option<RunId>) -> Result<NewEvent> {
    if Envelope::read(event.data.get()).is_some() {
        return Ok(event);
    }
    let context = PayloadContext { place: PayloadPlace::Event, name: Some(event.name.clone()), function: None, run };
    event.data = seal(codec, context, &event.data)?;
    Ok(event)
}

fn seal(codec: &dyn PayloadCodec, context: PayloadContext, value: &Json) -> Result<Json> {
    let EncodedPayload { key, data } = codec.encode(&context, value.get().as_bytes())?;
    let readable = matches!(context.place, PayloadPlace::Event | PayloadPlace::Input);
    let envelope = Envelope { key: key.into(), context, data: STANDARD.encode(data).into() };
    let envelope = json::to_json(&envelope)?;
    let mut text = format!("{{\"{FIELD}\":{envelope}");
    if readable {
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value.get())?;
        for (name, field) in fields.iter().filter(|(name, _)| codec.keeps_readable(name)) {
            text.push_str(&format!(",{}:{field}", json::to_json(name)?));
        }
    }
    text.push('}');
    Ok(RawValue::from_string(text)?.into())
}

/// Decodes an envelope. Fields that it contains in clear text must be those of the decoded value,
/// so that a change of them is not ignored.
pub(crate) fn open(codec: &dyn PayloadCodec, value: &Json, envelope: &Envelope<'_>) -> Result<Json, String> {
    let data = STANDARD.decode(&*envelope.data).map_err(|error| format!("its envelope is no base64: {error}"))?;
    let encoded = EncodedPayload { key: envelope.key.clone().into_owned(), data };
    let clear = codec.decode(&envelope.context, &encoded).map_err(|error| error.to_string())?;
    let clear: Json =
        serde_json::from_slice(&clear).map_err(|error| format!("what was encrypted is no JSON: {error}"))?;
    let copies: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value.get()).map_err(|e| e.to_string())?;
    if copies.len() > 1 {
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(clear.get()).unwrap_or_default();
        let changed = |(name, copy): &(&Cow<'_, str>, &&RawValue)| {
            **name != FIELD && !fields.get(*name).is_some_and(|field| json::is_same(field, copy))
        };
        if let Some((name, _)) = copies.iter().find(changed) {
            return Err(format!("its field `{name}` differs from the encrypted one; change both, or send it in clear"));
        }
    }
    Ok(clear)
}

/// Creates the reason why a run waits. A value that cannot be read is no failure of the function:
/// the run must continue when the right key is back.
fn unreadable(why: String) -> Unreachable {
    Unreachable { why, is_broken: false }
}
