//! Faults planted on purpose: each breaks exactly one rule of a durable run, so that the proof can show that it would
//! notice. Nothing is planted unless the feature `planted` is on and a test asks for it; without the feature, [`is`] is
//! the constant `false`, and the compiler takes the branches away.

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Plant {
    /// 1: one's own write, whose reply was lost, is taken for somebody else's.
    TokenIsNotLookedAt,
    /// 2: who is overtaken stops, and acknowledges.
    OvertakenStops,
    /// 3: an outcome is admitted for whatever attempt.
    OutcomesAreNotFenced,
    /// 3: the lease is not looked at again before the body starts.
    LeaseIsNotLookedAtAgain,
    /// 4: an overtaken write is sent again as it was, starts included.
    OvertakenStartsAnyway,
    /// 7: all outcomes are revealed at once.
    RevealedAtOnce,
    /// 8: the handler is polled again when the last sibling has ended.
    PolledAfterTheLast,
    /// 9: a fan-out is sent again by every wake.
    FansOutAgain,
    /// 10: who meets a live lease acknowledges, and nothing is left.
    LiveLeaseEndsTheMatter,
    /// 11: a wake that is due later goes out after its entry.
    LaterWakeAfterEntry,
    /// 12: no run has a watchdog.
    NoWatchdog,
    /// 13: a storage error is left to the queue.
    ErrorsAreTheQueues,
    /// 13: a tick whose run could not be begun comes again as any other wake.
    TicksAreForgotten,
    /// 14: a takeover happens under the old wake.
    TakeoverKeepsItsWake,
    /// 15: a repeated event is skipped.
    RepeatedEventIsSkipped,
    /// 15: what a repeated event was collected by is not noted.
    CollectedAgain,
    /// 16: notes change with a run's beginning whatever somebody else has made of them.
    NotesAreNotCompared,
    /// 17: an event enters a run as often as it comes.
    EventsEnterAgain,
    /// 17: a run takes further events when it has begun.
    JoinsAfterTheBeginning,
    /// 19: the child is started before the parent's entry, under an id of its own each time.
    ChildrenAreAnonymous,
    /// 19: only a completed child tells its parent.
    OnlySuccessIsTold,
    /// 20: who lost gives back the winner's slot.
    LoserFreesTheSlot,
    /// 21: who is refused joins the line, and asks no more.
    ParksWithoutAsking,
    /// 21: who joins does not look whether the step is done meanwhile.
    JoinsUnseeing,
    /// 22: a redelivered wake does not redo the release.
    ReleaseIsNotRedone,
    /// 22: a refused worker keeps its slot.
    RefusedKeepsItsSlot,
    /// 23: the head of a line has no wake at the lease's end.
    HeadHasNoWake,
    /// 24: a wake that cannot use its slot passes nothing on.
    NothingIsPassedOn,
    /// 25: whoever asks takes what is free.
    Barging,
    /// 26: the cursor is moved before the bucket is sent.
    CursorFirst,
    /// 28: cancelling an ended run wakes nobody.
    EndedIsLeftAlone,
    /// 7: a rerun takes over only the values before its step, not the failures.
    FailuresAreNotCarried,
    /// 31: an event enters a run, and cancels it, though it came before what created the run.
    EarlierEventsCount,
    /// 31: the starts of one request do not see each other, and give up after a hundred rounds.
    OneStartARound,
    /// 32: a run that missed its moment starts at once.
    OverdueStartsAtOnce,
    /// 32: starts that ask at the same time write the same note, and each takes it for its own.
    NotesHaveNoToken,
    /// 32: the run of a missed tick starts whatever its function wants.
    MissedTicksStart,
    /// 34: a permanent error is put off like a passing one.
    PermanentIsPassing,
    /// 34: a run is counted as started by each hop that finds it so.
    StartsAreCountedAgain,
}

impl Plant {
    /// All of them, in the order of their rules.
    pub const ALL: [Self; 39] = [
        Self::TokenIsNotLookedAt,
        Self::OvertakenStops,
        Self::OutcomesAreNotFenced,
        Self::LeaseIsNotLookedAtAgain,
        Self::OvertakenStartsAnyway,
        Self::RevealedAtOnce,
        Self::PolledAfterTheLast,
        Self::FansOutAgain,
        Self::LiveLeaseEndsTheMatter,
        Self::LaterWakeAfterEntry,
        Self::NoWatchdog,
        Self::ErrorsAreTheQueues,
        Self::TicksAreForgotten,
        Self::TakeoverKeepsItsWake,
        Self::RepeatedEventIsSkipped,
        Self::CollectedAgain,
        Self::NotesAreNotCompared,
        Self::EventsEnterAgain,
        Self::JoinsAfterTheBeginning,
        Self::ChildrenAreAnonymous,
        Self::OnlySuccessIsTold,
        Self::LoserFreesTheSlot,
        Self::ParksWithoutAsking,
        Self::JoinsUnseeing,
        Self::ReleaseIsNotRedone,
        Self::RefusedKeepsItsSlot,
        Self::HeadHasNoWake,
        Self::NothingIsPassedOn,
        Self::Barging,
        Self::CursorFirst,
        Self::EndedIsLeftAlone,
        Self::FailuresAreNotCarried,
        Self::EarlierEventsCount,
        Self::OneStartARound,
        Self::OverdueStartsAtOnce,
        Self::NotesHaveNoToken,
        Self::MissedTicksStart,
        Self::PermanentIsPassing,
        Self::StartsAreCountedAgain,
    ];
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Plant;

    thread_local! {
        static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    /// Breaks a rule in this thread, or none.
    pub fn plant(rule: Option<Plant>) {
        PLANTED.set(rule);
    }

    /// Whether this rule is broken here.
    pub fn is(rule: Plant) -> bool {
        PLANTED.get() == Some(rule)
    }
}

#[cfg(feature = "planted")]
pub use switch::{is, plant};

/// Whether this rule is broken here: never.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_: Plant) -> bool {
    false
}
