//! The one suite that every adapter passes: each sentence of the [ports](stepladder_engine::ports) as a check.
//!
//! An adapter runs it with [`conformance!`](macro@crate::conformance), which makes each check a test of its own, named by its
//! outcome. One whose process is the only one, on memory or a file, promises more and runs
//! [`conformance_local!`](macro@crate::conformance_local) too. Time stands still unless a check moves it: an adapter under
//! test measures its queue's delays with the [`VirtualClock`] of its [`Subject`], or has its servers
//! [follow](Subject::following_time) that clock.

mod commits;
mod events;
mod given;
mod intake;
mod journals;
mod listings;
mod local;
mod notes;
mod queue;
mod races;
mod slots;
mod starts;
mod timers;
mod waiters;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::clock::VirtualClock;
use stepladder_engine::ports::{Backend, Delivery, StoreResult};

/// Takes up to so many wakes, for so long, and waits for none.
pub type Look = Box<dyn Fn(usize, Duration) -> BoxFuture<'static, StoreResult<Vec<Delivery>>> + Send + Sync>;
/// Moves other clocks to where the subject's is.
pub type Moved = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// An adapter to be checked, empty.
pub struct Subject {
    /// The adapter.
    pub backend: Arc<dyn Backend>,
    /// The clock that it was given.
    pub clock: Arc<VirtualClock>,
    /// Whatever has to live as long: a folder, a server.
    pub keep: Box<dyn Any + Send>,
    /// How to see what is visible in its queue, where asking once does not tell.
    pub look: Option<Look>,
    /// What follows every move of the clock.
    pub moved: Option<Moved>,
}

impl Subject {
    /// An adapter, and the clock that it was given.
    pub fn new(backend: impl Backend + 'static, clock: Arc<VirtualClock>) -> Self {
        Self::of(Arc::new(backend), clock)
    }

    /// The same for an adapter that is shared.
    pub fn of(backend: Arc<dyn Backend>, clock: Arc<VirtualClock>) -> Self {
        Self { backend, clock, keep: Box::new(()), look: None, moved: None }
    }

    /// The same, with something that has to live as long.
    pub fn keeping(mut self, keep: impl Any + Send) -> Self {
        self.keep = Box::new(keep);
        self
    }

    /// The same, with a look at the queue that says what is visible right now. For an adapter over a network, whose
    /// [`receive`](stepladder_engine::ports::Queue::receive) is not answered in an instant. The look takes up to so many wakes (10
    /// at most), which then stay invisible for so long, and waits for none: only an empty answer means that none is left.
    pub fn looking<F>(mut self, look: impl Fn(usize, Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = StoreResult<Vec<Delivery>>> + Send + 'static,
    {
        self.look = Some(Box::new(move |max, visibility| Box::pin(look(max, visibility))));
        self
    }

    /// The same, with something that is awaited after every move of the clock: a server's clock that is moved along.
    pub fn following_time<F>(mut self, moved: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.moved = Some(Box::new(move || Box::pin(moved())));
        self
    }

    /// Moves the clock on, and all that follow it.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        if let Some(moved) = &self.moved {
            moved().await;
        }
    }
}

/// A subject as `make` makes it; the macros' way to take an `async fn` or a closure alike.
#[doc(hidden)]
pub async fn made(make: impl AsyncFnOnce() -> Subject) -> Subject {
    make().await
}

/// The moment at which the clock of a [`Subject`] stands at first: a minute's beginning.
pub fn start() -> stepladder_core::Timestamp {
    given::START
}

macro_rules! suite {
    ($(#[$about:meta])* $name:ident, $checks:ident { $($file:ident: $($check:ident),+ $(,)?;)+ }) => {
        /// The checks by name, each taking a fresh [`Subject`]. A check panics when the adapter fails it.
        pub mod $checks {
            $(pub use super::$file::{$($check),+};)+
        }

        $(#[$about])*
        #[macro_export]
        macro_rules! $name {
            ($make:expr) => {
                $($(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $check() {
                        $crate::conformance::$checks::$check($crate::conformance::made($make).await).await;
                    }
                )+)+
            };
        }
    };
}

suite! {
    /// Makes every check of the suite a `#[tokio::test]`. Takes an `async fn`, or a closure that returns a future, which
    /// makes an empty [`Subject`](crate::conformance::Subject).
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use stepladder_testkit::clock::VirtualClock;
    /// use stepladder_testkit::conformance::{self, Subject};
    /// use stepladder_testkit::memory::Memory;
    ///
    /// async fn memory() -> Subject {
    ///     let clock = Arc::new(VirtualClock::new(conformance::start()));
    ///     Subject::new(Memory::new(clock.clone()), clock)
    /// }
    ///
    /// stepladder_testkit::conformance!(memory);
    /// // what only the sole process on its storage can promise
    /// stepladder_testkit::conformance_local!(memory);
    /// # fn main() {}
    /// ```
    conformance, checks {
        journals:
            an_unknown_run_has_no_records,
            records_come_back_as_they_were_written,
            records_are_read_from_a_number_on,
            a_large_value_is_kept;
        commits:
            an_append_at_a_taken_number_conflicts,
            rule_1_ones_own_token_is_no_conflict,
            rule_1_ones_own_token_is_found_below_later_records,
            nothing_after_the_append_happens_on_a_conflict,
            a_commit_without_entries_is_carried_out,
            an_end_shows_in_the_row,
            a_commit_may_be_repeated;
        events:
            events_come_back_in_order,
            an_event_is_found_by_its_id,
            rule_15_a_repeated_sender_id_gives_the_first_event,
            duplicates_in_one_batch_are_one_event,
            after_24_hours_a_sender_id_is_new,
            an_event_under_a_known_id_is_that_event,
            events_without_a_sender_id_are_never_repeats,
            a_sender_id_stands_for_the_latest_event;
        starts:
            a_start_creates_everything_of_a_run,
            a_start_keeps_what_a_rerun_takes_over,
            rule_16_a_run_starts_once,
            a_batch_starts_what_is_new,
            a_start_takes_its_places_in_line,
            a_repeated_start_gives_up_no_progress;
        notes:
            a_note_changes_only_from_what_was_seen,
            notes_are_read_and_changed_many_at_a_time,
            rule_16_a_runs_notes_change_with_its_beginning,
            the_starts_of_a_call_happen_in_their_order,
            of_many_that_change_a_note_one_does,
            an_event_is_linked_to_a_run_that_another_created,
            a_note_is_there_until_its_time;
        intake:
            taken_events_are_stored_with_all_their_runs_or_none,
            rule_15_a_repeated_event_is_taken_without_its_runs;
        listings:
            runs_are_listed_newest_first,
            listings_are_filtered,
            pages_follow_each_other,
            a_listing_ends_where_it_is_told_to,
            events_are_listed_newest_first,
            runs_of_an_event_come_oldest_first;
        slots:
            a_free_slot_is_taken,
            a_full_limit_says_when_a_lease_ends,
            rule_20_only_the_holder_gives_back,
            a_holder_keeps_its_slot_with_the_new_lease,
            dead_holders_are_reaped_by_who_asks,
            rule_25_who_is_first_in_line_is_first_to_take,
            rule_25_nobody_passes_a_line,
            who_takes_leaves_the_line,
            an_arrivals_place_serves_the_first_step,
            the_place_of_the_step_goes_before_that_of_the_arrival,
            a_step_is_not_behind_the_arrival_of_its_run,
            rule_20_hops_of_one_attempt_hold_a_slot_each,
            rule_25_slots_of_several_limits_are_taken_together,
            a_place_in_line_is_kept,
            the_first_place_of_a_run_is_found,
            lines_are_served_by_time_then_by_event,
            leaving_gives_up_one_place_or_all,
            limits_of_other_keys_are_other_slots;
        waiters:
            nobody_waits_at_first,
            who_is_registered_is_found_in_his_bucket_alone,
            rule_18_a_commit_registers_who_waits,
            who_is_registered_twice_is_there_once,
            who_waits_no_more_is_forgotten,
            waiters_are_read_in_pages,
            an_inbox_keeps_each_event_until_it_is_taken,
            waiters_and_inboxes_bear_any_text;
        timers:
            timers_are_in_the_bucket_of_their_minute,
            a_timer_is_set_once,
            timers_are_set_by_a_commit,
            the_oldest_timer_is_found,
            rule_26_a_cursor_moves_only_from_where_it_is_expected;
        queue:
            a_wake_is_received_once_while_it_is_invisible,
            a_delayed_wake_waits_for_its_time,
            a_wake_comes_again_until_it_is_acknowledged,
            a_late_receipt_takes_nothing_from_the_newer_delivery,
            receiving_takes_no_more_than_asked_for;
        races:
            of_many_appends_at_one_number_one_succeeds,
            of_many_starts_of_one_run_one_is_new,
            of_many_that_take_no_more_hold_than_there_are_slots,
            of_many_receivers_each_wake_has_one,
            of_many_repeats_of_an_event_one_is_stored,
            of_many_that_move_the_cursor_one_does;
    }
}

suite! {
    /// Makes a `#[tokio::test]` of every further promise of an adapter whose process is the only one on its storage. Takes
    /// what [`conformance!`](macro@crate::conformance) takes, beside which it stands.
    conformance_local, local_checks {
        intake:
            new_events_are_taken_with_their_runs;
        local:
            an_append_past_the_end_conflicts,
            an_append_within_a_record_conflicts,
            rule_16_a_repeated_start_sends_no_wake,
            of_many_starts_of_one_run_one_sends_its_wake,
            wakes_come_in_the_order_of_their_time,
            a_delayed_wake_comes_to_the_millisecond,
            receiving_takes_what_is_longest_due,
            a_receiver_that_waits_is_told_of_a_new_wake,
            the_backlog_is_what_is_due_and_not_received,
            a_backlog_counts_the_places_in_line,
            a_delivery_that_is_put_back_comes_at_its_time;
    }
}
