//! Decodes configs: strictly if a front end sent them, leniently if the store kept them.

use std::sync::Arc;

use serde::Deserialize;
use serde_ignored::Path;

use super::{ConfigError, FunctionConfig};
use crate::json;
use crate::sentence::shortened;

/// A config that was read from the store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredConfig {
    /// The config.
    pub config: FunctionConfig,
    /// The paths of the fields that this version of the program does not know. These fields have no
    /// effect.
    pub unknown_fields: Vec<String>,
}

impl FunctionConfig {
    /// Decodes a config that a front end sent.
    ///
    /// # Errors
    /// A sentence that names the function and the field. The text is not JSON, a field has the
    /// wrong type, or a field does not exist.
    pub fn decode(text: &str) -> Result<Self, ConfigError> {
        let id = id_of(text);
        let subject = subject(id.as_deref());
        json::check(text).map_err(|unfit| ConfigError::new(id.as_ref(), None, format!("{subject} {unfit}")))?;
        let StoredConfig { config, unknown_fields } = Self::decode_stored(text)?;
        match unknown_fields.into_iter().next() {
            None => Ok(config),
            Some(field) => {
                let message =
                    format!("{subject} has an unknown field `{}`; remove it, or correct its name", shortened(&field));
                Err(ConfigError::new(id.as_ref(), Some(field), message))
            }
        }
    }

    /// Decodes a config from the store, where a newer version of the program may have written it.
    /// Fields that this version does not know are listed and otherwise ignored.
    ///
    /// # Errors
    /// A sentence that names the function and the field: a known field has a value that this
    /// version cannot read, for example a new variant.
    pub fn decode_stored(text: &str) -> Result<StoredConfig, ConfigError> {
        let mut unknown_fields = Vec::new();
        let mut json = serde_json::Deserializer::from_str(text);
        let mut record = |path: Path<'_>| unknown_fields.push(place(&path));
        let fields = serde_ignored::Deserializer::new(&mut json, &mut record);
        let read = serde_path_to_error::deserialize(fields).map_err(|error| {
            let path = error.path().to_string();
            (Some(path).filter(|path| path != "."), error.into_inner())
        });
        let read = read.and_then(|config| json.end().map(|()| config).map_err(|error| (None, error)));
        match read {
            Ok(config) => Ok(StoredConfig { config, unknown_fields }),
            Err((field, error)) => {
                let id = id_of(text);
                let place = field.as_ref().map(|field| format!("field `{}` of ", shortened(field))).unwrap_or_default();
                let message = format!("{place}{}: {error}", subject(id.as_deref()));
                Err(ConfigError::new(id.as_ref(), field, message))
            }
        }
    }
}

/// Returns the id of a config that is otherwise invalid.
fn id_of(text: &str) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Identified {
        id: Arc<str>,
    }
    serde_json::from_str(text).ok().map(|Identified { id }| id)
}

/// Formats a path as `serde_path_to_error` does, such as `triggers[0].conditions`.
fn place(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", place(parent)),
        Path::Map { parent, key } => match place(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => place(parent),
    }
}

fn subject(id: Option<&str>) -> String {
    match id {
        Some(id) => format!("function `{}`", shortened(id)),
        None => "a function without a readable id".into(),
    }
}
