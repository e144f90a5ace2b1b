//! A memory around whose first call of a name something happens, once.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_engine::ports::{Backend, StoreError, StoreResult};
use stepladder_testkit::intercept::{Call, Intercept, Intercepted};
use stepladder_testkit::memory::Memory;
use tokio::sync::Mutex;

pub type Interlude = BoxFuture<'static, ()>;

/// What happens.
enum What {
    Before(Interlude),
    After(Interlude),
    /// The request is lost.
    Lost,
    /// The reply is.
    Unanswered,
}

pub struct Around {
    memory: Arc<Memory>,
    name: &'static str,
    what: Mutex<Option<What>>,
}

fn around(memory: &Arc<Memory>, name: &'static str, what: What) -> Arc<Intercepted<Around>> {
    Arc::new(Intercepted(Around { memory: memory.clone(), name, what: Mutex::new(Some(what)) }))
}

/// Something happens before the call.
pub fn before(memory: &Arc<Memory>, name: &'static str, what: Interlude) -> Arc<Intercepted<Around>> {
    around(memory, name, What::Before(what))
}

/// Something happens after the call, before its answer is there.
pub fn after(memory: &Arc<Memory>, name: &'static str, what: Interlude) -> Arc<Intercepted<Around>> {
    around(memory, name, What::After(what))
}

/// The call fails, and nothing is done.
pub fn lost(memory: &Arc<Memory>, name: &'static str) -> Arc<Intercepted<Around>> {
    around(memory, name, What::Lost)
}

/// The call is done, and its answer is lost.
pub fn unanswered(memory: &Arc<Memory>, name: &'static str) -> Arc<Intercepted<Around>> {
    around(memory, name, What::Unanswered)
}

#[async_trait]
impl Intercept for Around {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: Call<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        let what = if call.name == self.name { self.what.lock().await.take() } else { None };
        match what {
            None => reply.await,
            Some(What::Lost) => Err(StoreError::Unavailable("the request is lost".into())),
            Some(What::Unanswered) => reply.await.and(Err(StoreError::Unavailable("the reply is lost".into()))),
            Some(What::Before(what)) => {
                what.await;
                reply.await
            }
            Some(What::After(what)) => {
                let reply = reply.await;
                what.await;
                reply
            }
        }
    }
}
