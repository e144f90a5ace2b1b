//! What all functions of a process share: clients, pools, settings; one value a type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

use crate::{Error, Result};

/// Shared values, found by their type. Cloning shares them.
#[derive(Clone, Default)]
pub struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    /// Adds a value; one of the same type is replaced.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// The value of a type.
    ///
    /// # Errors
    /// Terminal, naming the type, when there is none. Code `missing-state`.
    pub fn get<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.0.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref()).ok_or_else(|| {
            Error::terminal(format!("there is no state of type {}; add it with App::state", type_name::<T>()))
                .with_code("missing-state")
        })
    }
}
