//! Effects: what the shell of a hop carries out, in their order.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::ReadyStep;
use crate::journal::{Entry, NewRun};
use crate::slot::{Holder, Limit, QueueKey};
use crate::state::{RevealedOutcome, RunEnd};
use crate::waiting::Subscription;
use crate::wake::Timer;
use crate::{Event, EventId, RunId, RunOrStep, Status, StepId, Timestamp, Wake};

use super::input::StoreFault;

/// An effect of a transition. A question is answered by exactly one input, the one that its variant
/// names. A transition has at most one question, as its last effect.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Load the run of the wake: [`Input::Loaded`](super::Input::Loaded).
    Load,
    /// Create the run of a cron tick: [`Input::Done`](super::Input::Done).
    CreateTick {
        /// The tick's minute, counted from the epoch.
        minute: i64,
    },
    /// Write, in the order of the parts: [`Input::Written`](super::Input::Written).
    Write(Write),
    /// Wake as many tickets of each queue as there are free slots (rule 24):
    /// [`Input::Done`](super::Input::Done).
    Promote(Vec<Limit>),
    /// Read the entries that other hops have written: [`Input::Entries`](super::Input::Entries).
    ReadOn,
    /// Is the function paused? Then the run is enqueued: [`Input::Paused`](super::Input::Paused).
    AskIfPaused,
    /// Ask flow control to admit the run: [`Input::Admission`](super::Input::Admission).
    AskFlowControl,
    /// Cancel the run that this run replaces. The engine then returns
    /// [`Input::Done`](super::Input::Done).
    CancelReplaced,
    /// Find a run and its end: [`Input::Found`](super::Input::Found).
    FindRun(RunId),
    /// Which of these limits' queues have the run's ticket? [`Input::Tickets`](super::Input::Tickets).
    FindTickets {
        /// The limits.
        limits: Vec<Limit>,
        /// Where to look.
        place: TicketSearch,
    },
    /// Which slots of these limits do attempts of the run hold?
    /// [`Input::Holders`](super::Input::Holders).
    FindHolders(Vec<Limit>),
    /// Acquire a slot of each limit, or a place in a wait queue: [`Input::Slots`](super::Input::Slots).
    Acquire(SlotRequest),
    /// Pass on the lease wakes of queues after slots were acquired (rule 23):
    /// [`Input::Done`](super::Input::Done).
    PassOnLeaseWakes(Vec<Limit>),
    /// Release the slots of ended runs: [`Input::Done`](super::Input::Done).
    ReleaseEnded(Vec<Limit>),
    /// Read the run's inbox: [`Input::Inbox`](super::Input::Inbox).
    ReadInbox,
    /// Open an execution of the function: [`Input::Opened`](super::Input::Opened).
    Open(Opening),
    /// Reveal these outcomes, and poll the function until it waits or ends:
    /// [`Input::Polled`](super::Input::Polled).
    Poll(Vec<RevealedOutcome>),
    /// Accept these events and start their runs: [`Input::Sent`](super::Input::Sent).
    Send(Vec<Event>),
    /// Create a run if it does not exist: [`Input::Done`](super::Input::Done).
    StartRun(Box<(RunId, NewRun)>),
    /// Cancel these runs unless they have ended: [`Input::Done`](super::Input::Done).
    CancelRuns {
        /// The runs.
        runs: Vec<RunId>,
        /// Why.
        reason: Arc<str>,
    },
    /// Send the events of the run's end: [`Input::Done`](super::Input::Done).
    AnnounceEnd(RunEnd),
    /// Wait for attempts to end, until this time: [`Input::Finished`](super::Input::Finished) or
    /// [`Input::TimeIs`](super::Input::TimeIs).
    AwaitAttempts(Timestamp),
    /// Make the wake visible again at this time, if the queue can:
    /// [`Input::PutBack`](super::Input::PutBack).
    PutBack(Timestamp),
    /// Execute these attempts. No answer: they end while [`Effect::AwaitAttempts`] waits.
    Run(Vec<Attempt>),
    /// Stop an attempt at its time-out. It then ends with an error that says so. No answer.
    Stop {
        /// The step.
        step: StepId,
        /// The time-out.
        timeout: Duration,
    },
    /// Close the open execution: the run is replayed, or has ended. No answer.
    Close,
    /// Leave these releases and promotions to the next hop of this process. No answer.
    Defer {
        /// Slots that were not released.
        releases: Vec<(Limit, Holder)>,
        /// Limits with tickets that were not promoted.
        promote: Vec<Limit>,
    },
    /// Write to the process's log. No answer.
    Log(LogEvent),
}

impl Effect {
    /// Returns whether an input answers this effect.
    pub fn is_question(&self) -> bool {
        match self {
            Self::Run(_) | Self::Stop { .. } | Self::Close | Self::Defer { .. } | Self::Log(_) => false,
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

/// One write of a hop, in the order in which its parts may become visible.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// Written before the journal: later wakes (rule 11) and subscriptions (rule 18).
    pub before: Vec<EarlyWrite>,
    /// The entries for the run's journal.
    pub entries: Vec<Entry>,
    /// Written after the journal: what holds only once the entries exist.
    pub after: Vec<LateWrite>,
    /// Wakes that are due at once.
    pub wakes: Vec<Wake>,
    /// Whether the write acknowledges the hop's wake.
    pub acknowledges: bool,
    /// Until when the write is repeated while the store is unavailable; `None` for as often as any
    /// other call.
    pub repeat_until: Option<Timestamp>,
}

/// What is written before its entry: wakes for later, subscriptions and inbox events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum EarlyWrite {
    /// A wake through the queue, due within its longest delay.
    Wake { wake: Wake, due: Timestamp },
    /// A wake through the sweep.
    Timer(Timer),
    /// Adds a subscription to the index, or replaces its expiry.
    Subscribe(Subscription),
    /// Puts an event into the run's inbox, because its subscription is in the index and not yet in
    /// the journal. An event is in an inbox at most once.
    PutInInbox { run: RunId, event: EventId },
    /// Lists the run among the event's runs, although another event created it.
    LinkEvent { run: RunId, event: EventId },
}

/// What is written after its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum LateWrite {
    /// Marks the run's row as ended.
    MarkEnded { run: RunId, at: Timestamp, status: Status },
    /// Releases a slot. Nothing happens if the holder does not have it.
    Release { limit: Limit, holder: Holder },
    /// Removes the ticket of the run or of its step, or all tickets of the run if `of` is `None`.
    /// Nothing happens if there is none.
    Dequeue { limit: Limit, run: RunId, of: Option<RunOrStep> },
    /// Removes the ticket of the run from the wait queue of its paused function. Nothing happens if
    /// there is none.
    DequeuePaused { queue: QueueKey, run: RunId },
    /// Removes a subscription from the index. Nothing happens if it is not there.
    Unsubscribe(Subscription),
    /// Removes an event from the run's inbox. Nothing happens if it is not there.
    TakeFromInbox { run: RunId, event: EventId },
}

/// A request for a slot of each limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRequest {
    /// The limits.
    pub limits: Vec<Limit>,
    /// The holder of the slots.
    pub holder: Holder,
    /// When the lease ends at the latest.
    pub lease_until: Timestamp,
    /// Whether the step has a wake of its own, and so a ticket of its own.
    pub by_itself: bool,
}

/// Where to look for the run's tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketSearch {
    /// Any ticket of the run.
    OfRun,
    /// Any ticket of the run, and first among the queue's first tickets: the ticket was promoted, and
    /// the journal may not show it.
    AtHeadOrOfRun,
    /// This ticket of the run.
    Own(RunOrStep),
    /// This ticket of the run, among the queue's first tickets.
    OwnAtHead(RunOrStep),
}

/// What an execution of a function begins with.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The function.
    pub function: Arc<str>,
    /// The version of the function.
    pub version: Option<Arc<str>>,
    /// The handler's attempt, from 1.
    pub attempt: u32,
}

/// An attempt to execute.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The step, its attempt, its failures so far and its retries.
    pub ready: ReadyStep,
    /// The holder of the attempt's slots.
    pub holder: Holder,
    /// When the attempt's time-out ends.
    pub expires: Timestamp,
}

/// What a hop reports. The run and its function are those of the hop.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum LogEvent {
    /// The function ran for the first time.
    RunStarted,
    /// The run ended.
    RunEnded(RunEnd),
    /// An attempt starts.
    AttemptStarted { step: StepId, attempt: u32 },
    /// An attempt ended as this entry says, after this time.
    AttemptEnded { entry: Box<Entry>, took: Duration },
    /// A step waits for a slot of the limit with this key.
    Enqueued { step: StepId, attempt: u32, limit: Arc<str> },
    /// These entries record log lines of users.
    Lines(Vec<Entry>),
    /// The journal has outcomes that the code does not ask for (rule 6).
    Orphans(Vec<StepId>),
    /// The run's own version is not registered.
    OtherVersion { own: Option<Arc<str>>, now: Option<Arc<str>> },
    /// The run's function is not registered here.
    Unregistered,
    /// A called run's function is not registered here.
    UnregisteredChild { child: RunId, function: Arc<str> },
    /// The wake's run does not exist.
    NoSuchRun,
    /// Another hop was faster; the run is decided again.
    Overtaken,
    /// Starts were not written; the outcomes before them are kept.
    StartsFailed(StoreFault),
    /// Outcomes could not be written; their steps run again.
    OutcomesLost(StoreFault),
    /// The executor cannot be reached to open or poll the function. It is tried again at `due`.
    Unreachable { why: Arc<str>, due: Timestamp },
    /// The storage failed. The queue delivers the wake again.
    StoreFailed(StoreFault),
    /// The copy of the wake could not be sent either. The queue delivers the wake again.
    SendFailed(StoreFault),
}
