//! The middle of a hop: poll the handler, write down what it wants, start bodies.

use stepladder_core::ErrorCode;
use stepladder_core::decide::{self, Want};
use stepladder_core::journal::{Entry, Fact, Failure};
use stepladder_core::limits::NAME_CHARS;
use stepladder_core::sentence::shortened;

use super::{Ack, Hop, Next};
use crate::ports::StoreError;
use crate::program::{PollResult, Session};
use crate::runs::Appended;

impl Hop<'_> {
    /// Polls the handler, writes down what needs no body, starts or hands over the rest, and waits
    /// for bodies.
    pub(crate) async fn settle(&mut self, session: &mut dyn Session) -> Result<Next, StoreError> {
        if self.pending.is_empty() && self.must_check_inbox() {
            if !self.deliver_from_inbox().await? {
                return self.keep_outcomes(session, Vec::new()).await;
            }
            self.reveal_recorded(session);
        }
        let advance = session.advance().await;
        self.said.hear(session);
        let mut entries = std::mem::take(&mut self.pending);
        self.abandon(session, &mut entries);
        match advance {
            PollResult::Ended(result) => {
                self.abandon_the_rest(session, &mut entries);
                self.end(session, result, entries).await
            }
            PollResult::Wanted(wants) => {
                let plan = decide::plan(&self.state, &wants, self.situation(&entries));
                self.notice(&plan);
                if let Some(error) = wants.iter().find_map(name_fault) {
                    entries.push(Fact::RunFailed { error }.at(self.now()));
                    return self.append_and_show(session, entries).await;
                }
                let before = entries.len();
                if let Err(error) = self.write_down(&plan, &mut entries).await {
                    entries.truncate(before);
                    return Err(self.save_outcomes(session, entries, error).await);
                }
                let frees = !self.limits.is_empty() && !plan.ready.is_empty() && !self.commit.after.is_empty();
                if entries.len() > before || frees {
                    // outcomes among these change what the handler wants, so show them first. A
                    // slot is also released before the next one is acquired.
                    return self.append_and_show(session, entries).await;
                }
                self.start(session, plan, entries).await
            }
        }
    }

    /// Abandons bodies that the handler dropped while they ran (`select!`).
    pub(crate) fn abandon(&mut self, session: &mut dyn Session, entries: &mut Vec<Entry>) {
        for step in session.take_dropped() {
            if let Some(running) = self.running.remove(&step) {
                let attempt = running.ready.attempt;
                self.release_attempt(&step, attempt);
                let report = session.take_report(&step);
                entries.push(Fact::StepAbandoned { step, attempt, report }.at(self.now()));
            }
        }
    }

    /// Abandons the bodies of a handler that has returned: it has not seen their outcomes.
    fn abandon_the_rest(&mut self, session: &mut dyn Session, entries: &mut Vec<Entry>) {
        for (step, running) in std::mem::take(&mut self.running) {
            let attempt = running.ready.attempt;
            self.release_attempt(&step, attempt);
            let report = session.take_report(&step);
            entries.push(Fact::StepAbandoned { step, attempt, report }.at(self.now()));
        }
    }

    /// Appends entries, then shows the session the outcomes that it has not seen.
    async fn append_and_show(&mut self, session: &mut dyn Session, entries: Vec<Entry>) -> Result<Next, StoreError> {
        match self.append(entries.clone(), Ack::Later).await? {
            Appended::Done => {
                self.shown += revealed_ahead(&entries);
                self.reveal_recorded(session);
                self.start_children(&entries).await?;
                Ok(Next::Advance)
            }
            Appended::Conflict | Appended::Refused => self.keep_outcomes(session, entries).await,
        }
    }

    /// Gives the session the journal's outcomes that it has not received.
    pub(crate) fn reveal_recorded(&mut self, session: &mut dyn Session) {
        for revealed in &self.state.outcomes[self.shown..] {
            session.reveal(revealed.clone());
        }
        self.shown = self.state.outcomes.len();
    }
}

/// Returns why a step's name is not allowed, for any front end. An id may be a name and a number.
fn name_fault(want: &Want) -> Option<Failure> {
    let most = NAME_CHARS + 16;
    let is_good = want.step.len() <= most || want.step.chars().nth(most).is_none();
    let code = Some(ErrorCode::BadStepName);
    (!is_good).then(|| Failure { message: format!("the step `{}` has too long a name", shortened(&want.step)), code })
}

/// Returns how many outcomes among `entries` the session saw ahead of the journal: those of bodies.
pub(crate) fn revealed_ahead(entries: &[Entry]) -> usize {
    let of_body = |e: &&Entry| matches!(e.fact, Fact::StepSucceeded { .. } | Fact::StepFailed { retry_at: None, .. });
    entries.iter().filter(of_body).count()
}
