//! What code says and what its bodies used, until the session asks for it.
//!
//! Memory is bounded here; what a run keeps in all is the engine's to count.

use stepladder_core::StepId;
use stepladder_core::report::{Line, Placed, Report, Room, Usage};

use super::{Board, Place};

/// What the handler says, and where it is with it.
#[derive(Default)]
pub(super) struct Saying {
    /// Outcomes that were revealed so far.
    after: u64,
    /// Lines since the last.
    nth: u32,
    lines: Vec<Placed>,
    room: Room,
}

impl Saying {
    /// One more outcome is revealed.
    pub(super) fn go_on(&mut self) {
        (self.after, self.nth) = (self.after + 1, 0);
    }

    fn say(&mut self, line: Line) {
        if !self.room.is_full() {
            self.room.add(&line);
            self.lines.push(Placed { after: self.after, nth: self.nth, line });
            self.nth += 1;
        }
    }
}

/// What a body reports while it runs.
#[derive(Default)]
pub(super) struct Reporting {
    report: Report,
    room: Room,
}

impl Board {
    /// The code says something: the handler, or the body that is running.
    pub(crate) fn say(&self, line: Line) {
        let mut inner = self.lock();
        match inner.place {
            Place::Handler(_) => inner.saying.say(line),
            Place::Body(_, at) => {
                let Reporting { report, room } = &mut inner.ops[at].report;
                if !room.is_full() {
                    room.add(&line);
                    report.lines.push(line);
                }
            }
            // a value that is dropped with the handler, whenever that happens: no replay would say the same
            Place::Outside => {}
        }
    }

    /// The body of a step used something that is paid for.
    pub(crate) fn use_up(&self, at: usize, usage: Usage) {
        let mut inner = self.lock();
        if let Some(op) = inner.ops.get_mut(at) {
            usage.add_to(&mut op.report.report.usage);
        }
    }

    /// What a step's body has reported; once.
    pub(crate) fn take_report(&self, step: &StepId) -> Report {
        let mut inner = self.lock();
        match inner.index.get(step).copied() {
            Some(at) => std::mem::take(&mut inner.ops[at].report).report,
            None => Report::default(),
        }
    }

    /// What the handler has said since the last call.
    pub(crate) fn take_said(&self) -> Vec<Placed> {
        std::mem::take(&mut self.lock().saying.lines)
    }
}
