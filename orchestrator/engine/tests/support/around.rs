//! A memory adapter that intercepts the first call of a method: it runs an action of the test, or
//! loses the request or the reply.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_engine::ports::{Backend, SlotOperations, StoreError, StoreResult};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;
use tokio::sync::Mutex;

pub type HookFuture = BoxFuture<'static, ()>;

/// What happens at the intercepted call.
enum CallHook {
    Before(HookFuture),
    After(HookFuture),
    /// The request is lost: the call does nothing and fails.
    Lost,
    /// The reply is lost: the call is carried out and fails.
    Unanswered,
}

pub struct HookedBackend {
    memory: Arc<Memory>,
    name: &'static str,
    interception: Mutex<Option<CallHook>>,
}

fn around(memory: &Arc<Memory>, name: &'static str, interception: CallHook) -> Arc<InterceptedBackend<HookedBackend>> {
    Arc::new(InterceptedBackend(HookedBackend {
        memory: memory.clone(),
        name,
        interception: Mutex::new(Some(interception)),
    }))
}

/// Runs `action` before the first call of the method `name`.
pub fn with_hook_before(
    memory: &Arc<Memory>,
    name: &'static str,
    action: HookFuture,
) -> Arc<InterceptedBackend<HookedBackend>> {
    around(memory, name, CallHook::Before(action))
}

/// Runs `action` after the first call of the method `name`, before that call returns.
pub fn with_hook_after(
    memory: &Arc<Memory>,
    name: &'static str,
    action: HookFuture,
) -> Arc<InterceptedBackend<HookedBackend>> {
    around(memory, name, CallHook::After(action))
}

/// Lets the first call of the method `name` fail without any effect.
pub fn with_lost_request(memory: &Arc<Memory>, name: &'static str) -> Arc<InterceptedBackend<HookedBackend>> {
    around(memory, name, CallHook::Lost)
}

/// Carries out the first call of the method `name` and loses the reply.
pub fn with_lost_reply(memory: &Arc<Memory>, name: &'static str) -> Arc<InterceptedBackend<HookedBackend>> {
    around(memory, name, CallHook::Unanswered)
}

#[async_trait]
impl Intercept for HookedBackend {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    /// Splits calls about slots if the test intercepts one of their operations.
    fn slot_operations(&self) -> Option<&dyn SlotOperations> {
        let is_operation = matches!(self.name, "try_acquire" | "enqueue" | "dequeue" | "first_tickets");
        is_operation.then_some(&*self.memory as &dyn SlotOperations)
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        let interception = if call.name == self.name { self.interception.lock().await.take() } else { None };
        match interception {
            None => reply.await,
            Some(CallHook::Lost) => Err(StoreError::Unavailable("the request is lost".into())),
            Some(CallHook::Unanswered) => reply.await.and(Err(StoreError::Unavailable("the reply is lost".into()))),
            Some(CallHook::Before(action)) => {
                action.await;
                reply.await
            }
            Some(CallHook::After(action)) => {
                let reply = reply.await;
                action.await;
                reply
            }
        }
    }
}
