//! Reads the fields of a posted form. A form with an unknown field is refused, with the name of the
//! field.

use axum::body::Body;
use stepladder_core::limits::EVENT_BYTES;

use crate::error::HttpProblem;
use crate::guard::inputs::{check_names, decode_pairs};
use crate::router::SharedServerState;

/// The maximum size of a form: the data of an event, each byte of which may take three bytes in a
/// form.
pub(crate) const FORM_BYTES: usize = 3 * EVENT_BYTES + 64 * 1024;
/// The maximum size of a form that requires no dashboard token.
pub(crate) const OPEN_FORM_BYTES: usize = 16 * 1024;
/// The fields that may occur several times: once for each selected run or function.
const REPEATED: [&str; 2] = ["run", "function"];

/// The fields of a form.
pub(crate) struct FormFields(Vec<(String, String)>);

impl FormFields {
    /// Reads a form of at most `limit` bytes, within the limits on all bodies.
    ///
    /// # Errors
    /// The errors of [`BodyBudget::read`](crate::guard::body::BodyBudget::read). Also 400 if a
    /// field is not `known`, or occurs twice.
    pub(crate) async fn read(
        shared: &SharedServerState,
        body: Body,
        limit: usize,
        known: &[&str],
    ) -> Result<Self, HttpProblem> {
        let body = shared.bodies.read(body, limit).await?;
        let text = std::str::from_utf8(&body.bytes).map_err(|_| HttpProblem::bad_request("the form is not UTF-8"))?;
        let fields = decode_pairs(text, "the form")?;
        let repeated = known.iter().copied().find(|name| REPEATED.contains(name)).unwrap_or_default();
        check_names(&fields, known, repeated, "a field of this form")?;
        Ok(Self(fields))
    }

    /// Returns the value of a field; empty if the field is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Returns all values of a field.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| &value[..])
    }
}
