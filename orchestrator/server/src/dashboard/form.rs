//! The fields of a posted form. An unknown field is refused by name.

use axum::body::Body;
use stepladder_core::limits::EVENT_BYTES;

use crate::error::Problem;
use crate::guard::inputs::{check_names, pairs};
use crate::router::Shared;

/// The maximum size of a form: an event's data, each byte of which may take three in a form.
pub(crate) const FORM_BYTES: usize = 3 * EVENT_BYTES + 64 * 1024;
/// The maximum size of a form that needs no dashboard token.
pub(crate) const OPEN_FORM_BYTES: usize = 16 * 1024;
/// The field that may repeat: one for each selected run.
const REPEATED: &str = "run";

/// The fields of a form.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a form of at most `limit` bytes, within the limits on all bodies.
    ///
    /// # Errors
    /// As [`BodyBudget::read`](crate::guard::body::BodyBudget::read); 400 for a field that is not
    /// `known`, or is given twice.
    pub(crate) async fn read(shared: &Shared, body: Body, limit: usize, known: &[&str]) -> Result<Self, Problem> {
        let body = shared.bodies.read(body, limit).await?;
        let text = std::str::from_utf8(&body.bytes).map_err(|_| Problem::bad_request("the form is not UTF-8"))?;
        let fields = pairs(text, "the form")?;
        check_names(&fields, known, REPEATED, "a field of this form")?;
        Ok(Self(fields))
    }

    /// Returns a field; empty when it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Returns each value of a field.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| &value[..])
    }
}
