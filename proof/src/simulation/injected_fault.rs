//! The faults that are injected into calls of the store.

use stepladder_engine::ports::Commit;

/// A fault that is injected into a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InjectedFault {
    /// The process dies before the call does anything.
    DieBefore,
    /// The process dies after the call has taken full effect.
    DieAfter,
    /// The call is executed, and its reply is lost.
    LoseReply,
    /// The call fails without any effect.
    Refuse,
    /// The call fails without any effect, and repeating it fails as well (rule 34).
    Deny,
    /// The call reaches the store this many milliseconds late. Of a commit, the first part arrives
    /// in time.
    DelayRequest(u64),
    /// The call is executed, and its reply is this many milliseconds late.
    DelayReply(u64),
    /// The process dies within a commit, after this many of the commit's five parts, as on a store
    /// without transactions. In any other call, the process dies before the call.
    Tear(u8),
}

/// The faults that never kill a process.
pub(super) const GENTLE: &[InjectedFault] = &[
    InjectedFault::LoseReply,
    InjectedFault::Refuse,
    InjectedFault::DelayRequest(LATE),
    InjectedFault::DelayReply(LATE),
];

/// Maximum delay of a request or a reply, in milliseconds.
const LATE: u64 = 60_000;

/// All faults of a random choice.
pub(super) const FAULTS: &[InjectedFault] = &[
    InjectedFault::DieBefore,
    InjectedFault::DieAfter,
    InjectedFault::LoseReply,
    InjectedFault::Refuse,
    InjectedFault::DelayRequest(LATE),
    InjectedFault::DelayReply(LATE),
    InjectedFault::Tear(1),
    InjectedFault::Tear(2),
    InjectedFault::Tear(3),
    InjectedFault::Tear(4),
];

/// The faults that kill a process.
pub(super) const DEATHS: &[InjectedFault] = &[
    InjectedFault::DieBefore,
    InjectedFault::DieAfter,
    InjectedFault::Tear(2),
    InjectedFault::Tear(3),
    InjectedFault::Tear(4),
];

/// Returns the first `parts` parts of a commit, in the order in which a store without transactions
/// writes them.
pub(super) fn torn_commit(commit: Commit, parts: u8) -> Commit {
    let Commit { before, append, after, wakes, acks } = commit;
    Commit {
        before,
        append: append.filter(|_| parts > 1),
        after: if parts > 2 { after } else { Vec::new() },
        wakes: if parts > 3 { wakes } else { Vec::new() },
        acks: if parts > 4 { acks } else { Vec::new() },
    }
}
