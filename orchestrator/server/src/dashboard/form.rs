//! The fields of a form that a page posts. A field that the form does not have is refused by name.

use axum::body::Body;
use stepladder_core::limits::EVENT_BYTES;

use crate::error::Problem;
use crate::guard::inputs::{only, pairs};
use crate::router::Shared;

/// Bytes of a form: an event's data, each byte of which may take three in a form.
pub(crate) const FORM_BYTES: usize = 3 * EVENT_BYTES + 64 * 1024;
/// Bytes of a form that is taken before the dashboard token is checked.
pub(crate) const OPEN_FORM_BYTES: usize = 16 * 1024;
/// The field that may come several times: one for each run that is ticked.
const REPEATED: &str = "run";

/// The fields of a form.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a form of at most `limit` bytes, within the memory and the time that all bodies share.
    ///
    /// # Errors
    /// As [`Budget::read`](crate::guard::body::Budget::read); 400 for a field that is not `known`, or is given twice.
    pub(crate) async fn read(shared: &Shared, body: Body, limit: usize, known: &[&str]) -> Result<Self, Problem> {
        let body = shared.bodies.read(body, limit).await?;
        let text = std::str::from_utf8(&body.bytes).map_err(|_| Problem::bad_request("the form is not UTF-8"))?;
        let fields = pairs(text, "the form")?;
        only(&fields, known, REPEATED, "a field of this form")?;
        Ok(Self(fields))
    }

    /// A field; empty when it is not there.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Each value of a field.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| &value[..])
    }
}
