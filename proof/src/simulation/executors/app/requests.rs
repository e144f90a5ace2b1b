//! Requests to an app, and what may become of them on the way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{AbortHandle, Abortable, BoxFuture, Either, select};
use stepladder_engine::clock::Clock;
use stepladder_engine::executor::Unreachable;

use super::super::{OUT_OF_REACH, Shared};
use crate::simulation::account::AppRequest;

/// One request in this many has a fault, as long as there may be faults.
const FAULTY: u64 = 5;
/// The additional time allowed for a request without an answer: the retry of the handler.
const AFTER_SILENCE: Duration = Duration::from_secs(30);

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum RequestFate {
    /// It is answered.
    Answered,
    /// It does not reach the app.
    NotSent,
    /// The app's answer is lost, and the connection breaks.
    AnswerIsLost,
    /// The app's answer is lost, and the connection stays open.
    Silence,
    /// A proxy answers after this time that the app is not available. The app goes on.
    Proxy(Duration),
    /// A proxy answers with a page in place of the app's answer.
    Page,
    /// The app's process ends when it has worked on the request this many times.
    Killed(u64),
    /// It arrives this much later.
    ArrivesLate(Duration),
    /// Its answer arrives this much later.
    AnsweredLate(Duration),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoAnswer {
    /// The app has not received the request.
    NotSent,
    /// The app may have received the request, and may have executed steps.
    Lost { is_broken: bool },
}

impl NoAnswer {
    pub(super) fn into_unreachable(self) -> Unreachable {
        match self {
            Self::NotSent => Unreachable { why: OUT_OF_REACH.into(), is_broken: false },
            Self::Lost { is_broken } => Unreachable { why: "the answer was lost".into(), is_broken },
        }
    }
}

/// What a client receives.
pub(super) enum Reply<T> {
    Answer(T),
    /// A page of a proxy.
    Page,
}

impl Shared {
    fn request_fate(&self, may_fail: bool) -> RequestFate {
        let mut left = self.lost_answers_left.lock().expect("no panic");
        if *left == 0 || !self.dice.one_in(FAULTY) {
            return RequestFate::Answered;
        }
        *left -= 1;
        let within = |ms: u64| Duration::from_millis(self.dice.below(ms));
        match self.dice.below(9) {
            0 => RequestFate::NotSent,
            1 => RequestFate::AnswerIsLost,
            2 => RequestFate::Silence,
            3 => RequestFate::Proxy(within(60_000)),
            4 if may_fail => RequestFate::Page,
            5 | 6 => RequestFate::Killed(self.dice.below(8)),
            7 => RequestFate::ArrivesLate(within(150_000)),
            _ => RequestFate::AnsweredLate(within(200_000)),
        }
    }

    /// Sends a request. The app serves it with `served`, in its own process.
    pub(super) async fn send<T: Send + 'static>(
        self: &Arc<Self>,
        request: AppRequest,
        may_fail: bool,
        served: BoxFuture<'static, T>,
    ) -> Result<Reply<T>, NoAnswer> {
        let fate = self.request_fate(may_fail);
        self.tell(|| format!("{request:?}: {fate:?}"));
        if let RequestFate::NotSent = fate {
            self.lose_contact();
            return Err(NoAnswer::NotSent);
        }
        let (reply, mut answer) = oneshot::channel();
        let id = self.account.open_request(request.clone());
        let (abort, registration) = AbortHandle::new_pair();
        let served = serve(self.clone(), id, fate, served, reply);
        self.tasks.lock().expect("no panic").push(Abortable::new(served, registration).map(drop).boxed());
        let sent = SentRequest { id, shared: self.clone(), abort, is_over: false };
        let answer = match fate {
            RequestFate::Proxy(after) => match select(&mut answer, self.clock.sleep_until(self.now() + after)).await {
                Either::Left((answer, _)) => answer.ok(),
                Either::Right(_) => {
                    self.account.give_up(id);
                    self.lose_contact();
                    sent.end();
                    return Err(NoAnswer::Lost { is_broken: false });
                }
            },
            RequestFate::Silence => {
                self.stay_silent(&request);
                std::future::pending().await
            }
            RequestFate::ArrivesLate(late) | RequestFate::AnsweredLate(late) => {
                self.stay_silent(&request);
                self.excuse(late);
                answer.await.ok()
            }
            _ => answer.await.ok(),
        };
        sent.end();
        match answer {
            Some(answer) if !matches!(fate, RequestFate::AnswerIsLost) => Ok(match fate {
                RequestFate::Page => Reply::Page,
                _ => Reply::Answer(answer),
            }),
            _ => {
                self.lose_contact();
                Err(NoAnswer::Lost { is_broken: true })
            }
        }
    }

    /// Allows the time that a request takes without an answer.
    fn stay_silent(&self, request: &AppRequest) {
        self.lose_contact();
        self.excuse(request.expires.since(self.now()) + AFTER_SILENCE);
    }
}

/// Serves a request in the app's process.
async fn serve<T>(
    shared: Arc<Shared>,
    id: u64,
    fate: RequestFate,
    served: BoxFuture<'static, T>,
    reply: oneshot::Sender<T>,
) {
    if let RequestFate::ArrivesLate(late) = fate {
        shared.clock.sleep_until(shared.now() + late).await;
    }
    let left = if let RequestFate::Killed(times) = fate { times } else { u64::MAX };
    let answer = ServedRequest { id, shared: shared.clone(), served, left }.await;
    if let RequestFate::AnsweredLate(late) = fate {
        shared.clock.sleep_until(shared.now() + late).await;
    }
    if let Some(answer) = answer {
        drop(reply.send(answer));
    }
}

/// A request that the app is working on. The bodies that it executes belong to it. Dropping it ends
/// them.
struct ServedRequest<T> {
    id: u64,
    shared: Arc<Shared>,
    served: BoxFuture<'static, T>,
    /// How often the app may still work on it before its process ends.
    left: u64,
}

impl<T> Future for ServedRequest<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(left) = self.left.checked_sub(1) else {
            let (id, shared) = (self.id, self.shared.clone());
            shared.tell(|| format!("the app's process ends during request {id}"));
            return Poll::Ready(None);
        };
        self.left = left;
        let (id, account, now) = (self.id, self.shared.account.clone(), self.shared.now());
        account.enter_request(Some(id), now);
        let polled = self.served.as_mut().poll(cx).map(Some);
        account.enter_request(None, now);
        polled
    }
}

impl<T> Drop for ServedRequest<T> {
    fn drop(&mut self) {
        self.shared.account.close_request(self.id);
    }
}

/// A request that waits for its answer. If its worker dies, the app goes on, unless the seed says
/// that it does not outlive the worker.
struct SentRequest {
    id: u64,
    shared: Arc<Shared>,
    abort: AbortHandle,
    is_over: bool,
}

impl SentRequest {
    fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for SentRequest {
    fn drop(&mut self) {
        if !self.is_over && !self.shared.outlives_workers {
            self.shared.account.give_up(self.id);
            self.abort.abort();
        }
    }
}
