//! What all functions of a process share: clients, pools, settings; one value a type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

use crate::{Error, Result};

/// Shared values, found by their type. Cloning shares them.
#[derive(Clone, Default)]
pub struct States {
    by_type: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// The first type of which there were two.
    twice: Option<&'static str>,
}

impl States {
    /// Adds a value. A second one of its type is a [fault](Self::fault).
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        if self.by_type.insert(TypeId::of::<T>(), Arc::new(value)).is_some() {
            self.twice.get_or_insert(type_name::<T>());
        }
    }

    /// What is wrong with them, as a sentence; `None` when nothing is.
    pub fn fault(&self) -> Option<String> {
        let of = self.twice?;
        Some(format!("two values of type {of} are shared by `.state`; wrap one of them in a type of its own"))
    }

    /// The value of a type.
    ///
    /// # Errors
    /// Terminal, naming the type, when there is none. Code `missing-state`.
    pub fn get<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.by_type.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref()).ok_or_else(|| {
            Error::terminal(format!("there is no state of type {}; add it with App::state", type_name::<T>()))
                .with_code("missing-state")
        })
    }
}
