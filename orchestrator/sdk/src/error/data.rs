//! The data of an error: further fields for programs.

use serde::de::DeserializeOwned;
use stepladder_core::json;

use super::Error;

impl Error {
    /// Sets further fields of the error, as JSON. Journals keep at most 16 KiB of them. A second
    /// call replaces the first.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// #[derive(Deserialize)]
    /// struct Account {
    ///     balance: u32,
    /// }
    ///
    /// let error = Error::new("the card was declined").with_data(json!({"balance": 3}));
    /// assert_eq!(error.data::<Account>().unwrap().balance, 3);
    /// ```
    #[must_use]
    pub fn with_data(mut self, data: serde_json::Value) -> Self {
        self.0.data = json::to_json(&data).ok();
        self
    }

    /// Returns the further fields of the error. Returns `None` if it has none, or if they do not
    /// match the type. A step's error keeps the data that its body set, and a failed signal has the
    /// data that was posted.
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.0.data.as_ref()?.get()).ok()
    }
}
