//! The suite that every adapter must pass. It checks each guarantee of the
//! [ports](stepladder_engine::ports).
//!
//! An adapter runs the suite with [`conformance!`](macro@crate::conformance), which turns each
//! check into a test. An adapter that is the only process on its storage guarantees more, and also
//! runs [`conformance_local!`](macro@crate::conformance_local).
//!
//! Time stands still unless a check moves it. The adapter under test measures the delays of its
//! queue with the [`VirtualClock`] of its [`TestedAdapter`]. If the adapter uses servers with their
//! own clocks, [`TestedAdapter::on_advance`] moves those clocks too.

mod commits;
mod events;
mod fixtures;
mod flow_state;
mod intake;
mod journals;
mod listings;
mod local;
mod queue;
mod races;
mod registrations;
mod retention;
mod slots;
mod starts;
mod subscriptions;
mod timers;
mod wait_queues;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::clock::VirtualClock;
use stepladder_engine::ports::{Backend, Delivery, StoreResult};

/// A function that receives at most this many wakes without waiting, and makes them invisible for
/// this long.
pub type ReceiveNowFn = Box<dyn Fn(usize, Duration) -> BoxFuture<'static, StoreResult<Vec<Delivery>>> + Send + Sync>;
/// A function that moves other clocks to the time of the subject's clock.
pub type FollowClockFn = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// An empty adapter, and what a check needs to use it.
pub struct TestedAdapter {
    /// The adapter.
    pub backend: Arc<dyn Backend>,
    /// The clock of the adapter.
    pub clock: Arc<VirtualClock>,
    /// A resource that must live as long as the adapter, such as a folder or a server.
    pub keep: Box<dyn Any + Send>,
    /// Receives wakes in place of the port's `receive`, if that takes time to return.
    pub receive_now: Option<ReceiveNowFn>,
    /// A function that is called and awaited after every move of the clock.
    pub follow_clock: Option<FollowClockFn>,
}

impl TestedAdapter {
    /// Creates a subject from an adapter and the adapter's clock.
    pub fn new(backend: impl Backend + 'static, clock: Arc<VirtualClock>) -> Self {
        Self::of(Arc::new(backend), clock)
    }

    /// Creates a subject from a shared adapter and the adapter's clock.
    pub fn of(backend: Arc<dyn Backend>, clock: Arc<VirtualClock>) -> Self {
        Self { backend, clock, keep: Box::new(()), receive_now: None, follow_clock: None }
    }

    /// Adds a resource that must live as long as the adapter.
    pub fn keeping(mut self, keep: impl Any + Send) -> Self {
        self.keep = Box::new(keep);
        self
    }

    /// Adds a function that receives the wakes that are visible now. An adapter over a network
    /// needs this function, because its [`receive`](stepladder_engine::ports::Queue::receive) takes
    /// time to return.
    ///
    /// The function receives at most the given number of wakes (10 or fewer) without waiting, and
    /// makes them invisible for the given time. The suite calls the function again until it returns
    /// no wake.
    pub fn receive_now<F>(mut self, receive: impl Fn(usize, Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = StoreResult<Vec<Delivery>>> + Send + 'static,
    {
        self.receive_now = Some(Box::new(move |max, visibility| Box::pin(receive(max, visibility))));
        self
    }

    /// Adds a function that is called and awaited after every move of the clock, to move a server's
    /// clock as well.
    pub fn on_advance<F>(mut self, follow: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.follow_clock = Some(Box::new(move || Box::pin(follow())));
        self
    }

    /// Moves the clock forward, together with the clocks that follow it.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        if let Some(follow) = &self.follow_clock {
            follow().await;
        }
    }
}

/// Creates a subject. The macros call this function so that they accept an `async fn` as well as a
/// closure.
#[doc(hidden)]
pub async fn make_subject(make: impl AsyncFnOnce() -> TestedAdapter) -> TestedAdapter {
    make().await
}

/// Returns the time at which the clock of a [`TestedAdapter`] must start. It is the start of a
/// minute.
pub fn start() -> stepladder_core::Timestamp {
    fixtures::START
}

macro_rules! suite {
    ($(#[$about:meta])* $name:ident, $checks:ident { $($file:ident: $($check:ident),+ $(,)?;)+ }) => {
        /// The checks of the suite. Each takes a new [`TestedAdapter`], and panics if the adapter
        /// fails the check.
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
                        $crate::conformance::$checks::$check($crate::conformance::make_subject($make).await).await;
                    }
                )+)+
            };
        }
    };
}

suite! {
    /// Turns every check of the suite into a `#[tokio::test]`. Takes an `async fn`, or a closure
    /// that returns a future, which creates an empty
    /// [`TestedAdapter`](crate::conformance::TestedAdapter).
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use stepladder_testkit::clock::VirtualClock;
    /// use stepladder_testkit::conformance::{self, TestedAdapter};
    /// use stepladder_testkit::memory::Memory;
    ///
    /// async fn memory() -> TestedAdapter {
    ///     let clock = Arc::new(VirtualClock::new(conformance::start()));
    ///     let memory = Memory::new(clock.clone());
    ///     memory.set_exclusive();
    ///     TestedAdapter::new(memory, clock)
    /// }
    ///
    /// stepladder_testkit::conformance!(memory);
    /// // only if the process is the only one on its storage
    /// stepladder_testkit::conformance_local!(memory);
    /// # fn main() {}
    /// ```
    conformance, checks {
        journals:
            an_unknown_run_has_no_records,
            records_come_back_as_they_were_written,
            records_are_read_from_a_number_on,
            a_large_value_is_stored;
        commits:
            an_append_at_a_taken_number_conflicts,
            rule_1_a_repeated_append_is_not_a_conflict,
            rule_1_a_repeated_append_is_recognised_below_later_records,
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
            a_sender_id_resolves_to_its_latest_event;
        starts:
            a_start_writes_all_parts_of_a_run,
            a_start_stores_the_outcomes_that_a_rerun_carries_over,
            rule_16_a_run_is_created_once,
            a_batch_creates_only_new_runs,
            a_start_enqueues_its_tickets,
            a_repeated_start_keeps_the_progress_of_its_run;
        flow_state:
            flow_state_changes_only_from_the_state_that_was_read,
            many_flow_states_are_read_and_changed_in_one_call,
            rule_16_flow_state_changes_with_the_creation_of_a_run,
            the_starts_of_a_call_are_applied_in_order,
            one_of_many_concurrent_changes_of_flow_state_succeeds,
            an_event_is_linked_to_a_run_of_another_event,
            flow_state_is_kept_until_its_time;
        intake:
            accepted_events_are_stored_with_all_their_runs_or_none,
            rule_15_a_repeated_event_is_accepted_without_its_runs;
        listings:
            runs_are_listed_newest_first,
            listings_are_filtered,
            pages_follow_each_other,
            a_listing_ends_at_its_oldest_id,
            events_are_listed_newest_first,
            runs_are_found_by_a_label,
            runs_are_found_by_a_label_that_was_added_later,
            runs_that_received_an_event_are_found,
            trends_count_each_run_once,
            costs_add_each_ended_run_once,
            runs_of_an_event_come_oldest_first,
            runs_of_an_event_are_found_if_their_ids_derive_from_it,
            long_listings_are_in_one_order_over_all_functions;
        slots:
            a_free_slot_is_acquired,
            a_full_limit_reports_the_earliest_lease_end,
            rule_20_only_the_holder_releases_its_slot,
            a_holder_keeps_its_slot_with_the_new_lease,
            the_slot_of_an_expired_lease_can_be_acquired,
            rule_25_the_first_tickets_acquire_first,
            rule_25_a_step_without_a_ticket_waits_behind_the_queue,
            acquiring_a_slot_dequeues_the_ticket,
            the_ticket_of_a_runs_arrival_serves_its_first_step,
            the_ticket_of_a_step_is_used_before_that_of_the_arrival,
            a_step_is_not_behind_the_arrival_of_its_run,
            rule_20_hops_of_one_attempt_hold_a_slot_each,
            rule_25_slots_of_several_limits_are_acquired_together,
            a_ticket_keeps_its_position,
            the_first_ticket_of_a_run_is_found,
            tickets_are_ordered_by_time_then_by_event,
            one_ticket_or_all_tickets_of_a_run_are_dequeued,
            limits_with_different_keys_are_independent;
        wait_queues:
            a_refused_step_is_enqueued_once,
            rule_21_a_step_tries_again_after_it_was_enqueued,
            a_step_waits_in_one_queue_only,
            the_first_steps_of_a_run_share_a_ticket,
            a_call_does_not_wait_behind_a_step_of_its_run,
            rule_24_a_release_returns_the_tickets_to_promote,
            runs_of_a_paused_function_wait_without_slots;
        subscriptions:
            an_empty_store_has_no_subscriptions,
            a_subscription_is_found_in_its_bucket_only,
            rule_18_a_commit_registers_a_subscription,
            a_repeated_subscription_is_stored_once,
            a_removed_subscription_is_not_found,
            subscriptions_are_read_in_pages,
            an_inbox_keeps_each_event_until_it_is_removed,
            subscriptions_accept_any_text;
        timers:
            timers_are_in_the_bucket_of_their_minute,
            a_timer_is_set_once,
            timers_are_set_by_a_commit,
            the_oldest_timer_is_found,
            rule_26_the_cursor_moves_only_from_the_expected_position;
        queue:
            a_wake_is_received_once_while_it_is_invisible,
            a_delayed_wake_is_delivered_when_it_is_due,
            a_wake_comes_again_until_it_is_acknowledged,
            a_late_receipt_does_not_acknowledge_a_newer_delivery,
            a_receiver_gets_at_most_the_requested_number;
        retention:
            rule_27_a_live_run_is_kept_with_its_event;
        registrations:
            an_empty_store_has_no_apps,
            apps_come_back_as_they_were_registered,
            a_later_registration_replaces_the_earlier_one,
            a_removed_app_is_gone_and_can_be_registered_again,
            a_change_of_another_version_is_refused,
            a_large_app_is_registered_replaced_and_removed,
            one_of_many_concurrent_registrations_wins;
        races:
            one_of_many_appends_at_the_same_number_succeeds,
            one_of_many_starts_of_a_run_is_new,
            many_acquisitions_never_exceed_the_slots,
            each_wake_goes_to_one_of_many_receivers,
            one_of_many_repetitions_of_an_event_is_stored,
            one_of_many_concurrent_moves_of_the_cursor_succeeds;
    }
}

suite! {
    /// Turns each check for an adapter that is the only process on its storage into a
    /// `#[tokio::test]`. Use it in addition to [`conformance!`](macro@crate::conformance), with the
    /// same argument.
    conformance_local, local_checks {
        intake:
            new_events_are_accepted_with_their_runs;
        local:
            an_append_past_the_end_conflicts,
            an_append_within_a_record_conflicts,
            rule_16_a_repeated_start_sends_no_wake,
            of_many_starts_of_one_run_one_sends_its_wake,
            wakes_come_in_the_order_of_their_time,
            a_delayed_wake_comes_to_the_millisecond,
            the_longest_due_wakes_are_received_first,
            a_waiting_receiver_gets_a_new_wake,
            the_backlog_counts_due_wakes_that_are_not_received,
            the_backlog_counts_tickets,
            a_delivery_that_is_put_back_returns_when_it_is_due;
        retention:
            old_ended_runs_are_pruned_with_their_events,
            a_local_store_is_exclusive;
    }
}
