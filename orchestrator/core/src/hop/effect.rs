//! Effects: what the shell of a hop must do, in order.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::ReadyStep;
use crate::journal::{Entry, NewRun};
use crate::slot::{Holder, Limit, QueueKey};
use crate::state::{RevealedOutcome, RunEnd};
use crate::waiting::Subscription;
use crate::wake::Timer;
use crate::{Event, EventId, Label, RunId, RunOrStep, Status, StepId, Timestamp, Wake};

use super::input::StoreFault;

/// An effect of a transition. Some effects are questions: the shell answers with exactly one input,
/// which the effect's description names. A transition has at most one question, which is its last
/// effect.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Loads the run of the wake. Answer: [`Input::Loaded`](super::Input::Loaded).
    Load,
    /// Creates the run of a cron tick. Answer: [`Input::Done`](super::Input::Done).
    CreateTick {
        /// The minute of the tick, counted from the epoch.
        minute: i64,
    },
    /// Writes the parts of a write in their order. Answer:
    /// [`Input::Written`](super::Input::Written).
    Write(Box<Write>),
    /// In each queue, wakes as many tickets as slots are free (rule 24). Answer:
    /// [`Input::Done`](super::Input::Done).
    Promote(Vec<Limit>),
    /// Reads the entries that other hops have written. Answer:
    /// [`Input::Entries`](super::Input::Entries).
    ReadOn,
    /// Checks whether the function is paused, and if so, enqueues the run. Answer:
    /// [`Input::Paused`](super::Input::Paused).
    AskIfPaused,
    /// Lets flow control decide whether the run is admitted. Answer:
    /// [`Input::Admission`](super::Input::Admission).
    AskFlowControl,
    /// Cancels the run that this run replaces. Answer: [`Input::Done`](super::Input::Done).
    CancelReplaced,
    /// Finds a run and its end. Answer: [`Input::Found`](super::Input::Found).
    FindRun(RunId),
    /// Finds the limits with the run's ticket in their queues. Answer:
    /// [`Input::Tickets`](super::Input::Tickets).
    FindTickets {
        /// The limits of the queues that are searched.
        limits: Vec<Limit>,
        /// Which tickets are searched, and where in the queues.
        place: TicketSearch,
    },
    /// Finds the slots of these limits that attempts of the run hold. Answer:
    /// [`Input::Holders`](super::Input::Holders).
    FindHolders(Vec<Limit>),
    /// Acquires a slot of each limit, or else enqueues a ticket. Answer:
    /// [`Input::Slots`](super::Input::Slots).
    Acquire(Box<SlotRequest>),
    /// Gives the new first tickets of these queues a lease wake, after slots were acquired (rule
    /// 23). Answer: [`Input::Done`](super::Input::Done).
    PassOnLeaseWakes(Vec<Limit>),
    /// Releases the slots of ended runs. Answer: [`Input::Done`](super::Input::Done).
    ReleaseEnded(Vec<Limit>),
    /// Reads the inbox of the run. Answer: [`Input::Inbox`](super::Input::Inbox).
    ReadInbox,
    /// Opens an execution of the function, or continues one that an earlier hop of this process
    /// left ([`HopEnd::seen`](super::HopEnd::seen)). Answer:
    /// [`Input::Opened`](super::Input::Opened).
    Open(Opening),
    /// Reveals these outcomes, and polls the function until it waits or ends. Answer:
    /// [`Input::Polled`](super::Input::Polled).
    Poll(Vec<RevealedOutcome>),
    /// Accepts these events and starts the runs that they trigger. Answer:
    /// [`Input::Sent`](super::Input::Sent).
    Send(Vec<Event>),
    /// Creates a run if it does not exist. Answer: [`Input::Done`](super::Input::Done).
    StartRun(Box<(RunId, NewRun)>),
    /// Cancels these runs unless they have ended. Answer: [`Input::Done`](super::Input::Done).
    CancelRuns {
        /// The runs to cancel.
        runs: Vec<RunId>,
        /// The reason that the cancelled runs record.
        reason: Arc<str>,
    },
    /// Sends the events that report the end of the run. Answer:
    /// [`Input::Done`](super::Input::Done).
    AnnounceEnd(Box<RunEnd>),
    /// Waits for attempts to end, at most until this time. Answer:
    /// [`Input::Finished`](super::Input::Finished) or [`Input::TimeIs`](super::Input::TimeIs).
    AwaitAttempts(Timestamp),
    /// Makes the wake visible again at this time, if the queue supports this. Answer:
    /// [`Input::PutBack`](super::Input::PutBack).
    PutBack(Timestamp),
    /// Reveals outcomes that the last poll has recorded by itself. The attempts that start next
    /// were requested after them. This is not a question.
    RevealRecorded(Vec<RevealedOutcome>),
    /// Executes these attempts. This is not a question: the attempts end while
    /// [`Effect::AwaitAttempts`] waits.
    Run(Vec<Attempt>),
    /// Stops an attempt at its timeout. The attempt then ends with an error that says so. This is
    /// not a question.
    Stop {
        /// The step of the attempt.
        step: StepId,
        /// The timeout of the attempt.
        timeout: Duration,
    },
    /// Closes the open execution, because the run is replayed or has ended. This is not a question.
    Close,
    /// Leaves these releases and promotions to the next hop of this process. This is not a
    /// question.
    Defer {
        /// The slots that were not released.
        releases: Vec<(Limit, Holder)>,
        /// The limits of the tickets that were not promoted.
        promote: Vec<Limit>,
    },
    /// Writes to the log of the process. This is not a question.
    Log(LogEvent),
}

impl Effect {
    /// Returns whether this effect is a question, which an input answers.
    pub fn is_question(&self) -> bool {
        match self {
            Self::RevealRecorded(_)
            | Self::Run(_)
            | Self::Stop { .. }
            | Self::Close
            | Self::Defer { .. }
            | Self::Log(_) => false,
            Self::Load
            | Self::CreateTick { .. }
            | Self::Write(_)
            | Self::Promote(_)
            | Self::ReadOn
            | Self::AskIfPaused
            | Self::AskFlowControl
            | Self::CancelReplaced
            | Self::FindRun(_)
            | Self::FindTickets { .. }
            | Self::FindHolders(_)
            | Self::Acquire(_)
            | Self::PassOnLeaseWakes(_)
            | Self::ReleaseEnded(_)
            | Self::ReadInbox
            | Self::Open(_)
            | Self::Poll(_)
            | Self::Send(_)
            | Self::StartRun(_)
            | Self::CancelRuns { .. }
            | Self::AnnounceEnd(_)
            | Self::AwaitAttempts(_)
            | Self::PutBack(_) => true,
        }
    }
}

/// The parts of a write of a hop, in the order in which they may become visible.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// What is written before the journal entries: later wakes (rule 11) and subscriptions (rule
    /// 18).
    pub before: Vec<EarlyWrite>,
    /// The entries to append to the run's journal.
    pub entries: Vec<Entry>,
    /// What is written after the journal entries, because it is true only once the entries exist.
    pub after: Vec<LateWrite>,
    /// Wakes that are due immediately.
    pub wakes: Vec<Wake>,
    /// Whether the write also acknowledges the wake of the hop.
    pub acknowledges: bool,
    /// Until when the write is repeated if the store is unavailable. With `None`, it is repeated as
    /// often as any other call.
    pub repeat_until: Option<Timestamp>,
}

/// A write that comes before the journal entries: a wake for later, a subscription or an inbox
/// event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum EarlyWrite {
    /// A delayed wake in the queue. The delay is within the queue's maximum.
    Wake { wake: Wake, due: Timestamp },
    /// A timer, which the sweep turns into a wake.
    Timer(Timer),
    /// Adds a subscription to the index, or changes the expiry of an existing one.
    Subscribe(Subscription),
    /// Puts an event into the run's inbox, because the run's subscription is in the index but not
    /// yet in the journal. An inbox contains an event at most once.
    PutInInbox { run: RunId, event: EventId },
    /// Adds the run to the runs of the event, although another event created the run.
    LinkEvent { run: RunId, event: EventId },
    /// Notes in the index that the event was delivered to the run.
    NoteDelivery { run: RunId, event: EventId },
    /// Adds a label to the index. The run has it once the entries are written.
    AddLabel { run: RunId, label: Label },
}

/// A write that comes after the journal entries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum LateWrite {
    /// Marks the row of the run as ended.
    MarkEnded { run: RunId, at: Timestamp, status: Status },
    /// Releases a slot. Does nothing if the holder does not have the slot.
    Release { limit: Limit, holder: Holder },
    /// Removes the ticket of the run or of its step; if `of` is `None`, removes all tickets of the
    /// run. Does nothing if the run has no such ticket.
    Dequeue { limit: Limit, run: RunId, of: Option<RunOrStep> },
    /// Removes the ticket of the run from the wait queue of its paused function. Does nothing if
    /// the run has no ticket there.
    DequeuePaused { queue: QueueKey, run: RunId },
    /// Removes a subscription from the index. Does nothing if the index does not contain it.
    Unsubscribe(Subscription),
    /// Removes an event from the run's inbox. Does nothing if the inbox does not contain it.
    TakeFromInbox { run: RunId, event: EventId },
}

/// A request for a slot of each limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRequest {
    /// The limits of the requested slots.
    pub limits: Vec<Limit>,
    /// The holder that needs the slots.
    pub holder: Holder,
    /// The time at which the lease ends.
    pub lease_until: Timestamp,
    /// Whether a separate wake was sent for the step, so that the step needs its own ticket.
    pub by_itself: bool,
}

/// Which tickets of the run are searched, and where in the queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketSearch {
    /// Any ticket of the run.
    OfRun,
    /// Any ticket of the run. The first tickets of the queue are searched first, because the ticket
    /// was promoted and the journal may not mention it.
    AtHeadOrOfRun,
    /// The run's ticket with this owner.
    Own(RunOrStep),
    /// The run's ticket with this owner, if it is among the first tickets of the queue.
    OwnAtHead(RunOrStep),
}

/// What is needed to open an execution of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The id of the function.
    pub function: Arc<str>,
    /// The version of the function.
    pub version: Option<Arc<str>>,
    /// The number of the handler's attempt, from 1.
    pub attempt: u32,
    /// The number of outcomes in the journal. An execution that has seen more of them is not of
    /// this journal.
    pub outcomes: usize,
}

/// An attempt to execute, with its slots and its timeout.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The step with its attempt, its failures so far and its retries.
    pub ready: ReadyStep,
    /// The holder of the attempt's slots.
    pub holder: Holder,
    /// The time at which the attempt's timeout ends.
    pub expires: Timestamp,
    /// The end of the attempt's lease, as the journal records it.
    pub lease_until: Timestamp,
}

/// What a hop logs. The run and the function are those of the hop.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum LogEvent {
    /// The function was executed for the first time.
    RunStarted,
    /// The run ended.
    RunEnded(Box<RunEnd>),
    /// An attempt started.
    AttemptStarted { step: StepId, attempt: u32 },
    /// An attempt ended with this entry, after this execution time.
    AttemptEnded { entry: Box<Entry>, took: Duration },
    /// A step waits for a slot of the limit that has this key.
    Enqueued { step: StepId, attempt: u32, limit: Arc<str> },
    /// These entries contain log lines of user code.
    Lines(Vec<Entry>),
    /// The journal contains outcomes that the code does not request (rule 6).
    Orphans(Vec<StepId>),
    /// The version with which the run started is not registered.
    OtherVersion { own: Option<Arc<str>>, now: Option<Arc<str>> },
    /// The function of the run is not registered here.
    Unregistered,
    /// The function of a called run is not registered here.
    UnregisteredChild { child: RunId, function: Arc<str> },
    /// The run of the wake does not exist.
    NoSuchRun,
    /// Another hop was faster, so the run is decided again.
    Overtaken,
    /// The starts of attempts could not be written. The outcomes before them are kept.
    StartsFailed(StoreFault),
    /// Outcomes could not be written, so their steps will be executed again.
    OutcomesLost(StoreFault),
    /// The executor cannot be reached to open or poll the function. The hop after `due` tries
    /// again.
    Unreachable { why: Arc<str>, due: Timestamp },
    /// The storage failed, so the queue delivers the wake again.
    StoreFailed(StoreFault),
    /// The copy of the wake could not be sent, so the queue delivers the wake again.
    SendFailed(StoreFault),
}
