//! Values that all functions of a process share, such as clients, pools and settings.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::ErrorCode;
use crate::{Error, PayloadCodec, Result};

/// Values that functions share, by type, at most one of each type. Clones share the same values.
#[derive(Clone, Default)]
pub struct SharedData {
    by_type: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// The first type that was added twice.
    repeated: Option<&'static str>,
    /// What encodes values before they reach the journal.
    codec: Option<Arc<dyn PayloadCodec>>,
}

impl SharedData {
    /// Adds a value. A second value of the same type makes [`check`](Self::check) fail.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        if self.by_type.insert(TypeId::of::<T>(), Arc::new(value)).is_some() {
            self.repeated.get_or_insert(type_name::<T>());
        }
    }

    /// Sets what encodes values before they reach the journal.
    pub fn set_codec(&mut self, codec: impl PayloadCodec) {
        self.codec = Some(Arc::new(codec));
    }

    /// Returns what encodes values before they reach the journal.
    pub fn codec(&self) -> Option<&Arc<dyn PayloadCodec>> {
        self.codec.as_ref()
    }

    /// Checks that no type was added twice.
    ///
    /// # Errors
    /// A sentence that names the type.
    pub fn check(&self) -> Result<(), String> {
        match self.repeated {
            None => Ok(()),
            Some(name) => {
                Err(format!("two values of type {name} are shared by `.data`; wrap one of them in a type of its own"))
            }
        }
    }

    /// Returns the value of this type.
    ///
    /// # Errors
    /// Terminal with the code `missing-data` if no value of this type was added.
    pub fn get<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.by_type.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref()).ok_or_else(|| {
            Error::terminal(format!("no shared data has the type {}; add it with App::data", type_name::<T>()))
                .with_code(ErrorCode::MissingData)
        })
    }
}
