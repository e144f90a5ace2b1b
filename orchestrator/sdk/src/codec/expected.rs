//! Which encoded values may be at a place of a run. A value that was moved to another place was not
//! written by the function.

use std::sync::Arc;

use stepladder_core::encrypted::{PayloadContext, PayloadPlace};
use stepladder_core::{RunId, StepId};

/// The encoded value that a place of a run may contain.
pub(super) enum Expected<'a> {
    /// The result of this step. A rerun may contain that of the original run.
    Step { id: &'a StepId, is_carried: bool },
    /// The result of a called function.
    Output,
    /// The data of an error, or the state of a poll.
    Error,
    /// The data of an event of this name, or the input of the function.
    Event(&'a str),
    /// Anything but the result of a step.
    NotStep,
}

impl Expected<'_> {
    /// Checks whether a value that was encoded for `context` may be here.
    pub(super) fn check(&self, context: &PayloadContext, run: RunId, function: &Arc<str>) -> Result<(), String> {
        let PayloadContext { place, name, function: of, run: by } = context;
        let is_own = of.as_ref() == Some(function);
        let fits = match self {
            Self::Step { id, is_carried } => {
                let is_of_step = *place == PayloadPlace::Step && name.as_deref() == Some(&***id);
                is_of_step && is_own && (*is_carried || *by == Some(run))
            }
            Self::Output => *place == PayloadPlace::Output,
            Self::Error => *place == PayloadPlace::Error,
            Self::Event(event) => match place {
                PayloadPlace::Event => name.as_deref() == Some(*event),
                PayloadPlace::Input => is_own,
                PayloadPlace::Step | PayloadPlace::Output | PayloadPlace::Error => false,
            },
            Self::NotStep => *place != PayloadPlace::Step,
        };
        if fits {
            return Ok(());
        }
        let origin = String::from_utf8(context.to_bytes()).unwrap_or_default();
        Err(format!("it was encrypted for another place and moved here: {origin}"))
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::Timestamp;

    use super::*;

    #[test]
    fn the_result_of_a_step_is_that_of_its_own_run_function_and_step() {
        let [own, other] = [1, 2].map(|n| RunId::new(Timestamp::from_millis(1), n));
        let (id, function): (StepId, Arc<str>) = ("charge".into(), "pay".into());
        let of = |name: &str, function: &str, run| PayloadContext {
            place: PayloadPlace::Step,
            name: Some(name.into()),
            function: Some(function.into()),
            run: Some(run),
        };
        let output = PayloadContext { place: PayloadPlace::Output, ..of("charge", "pay", own) };
        for (context, fits, fits_carried) in [
            (of("charge", "pay", own), true, true),
            (of("charge", "pay", other), false, true),
            (of("refund", "pay", own), false, false),
            (of("charge", "ship", own), false, false),
            (output, false, false),
        ] {
            for (is_carried, fits) in [(false, fits), (true, fits_carried)] {
                let checked = Expected::Step { id: &id, is_carried }.check(&context, own, &function);
                assert_eq!(checked.is_ok(), fits, "{context:?} {is_carried}");
            }
        }
    }

    #[test]
    fn other_values_are_of_their_kind_and_events_of_their_name() {
        let run = RunId::new(Timestamp::from_millis(1), 1);
        let function: Arc<str> = "pay".into();
        let fits = |expected: Expected<'_>| {
            let of = |place, name: &str, function: &str| PayloadContext {
                place,
                name: Some(name.into()),
                function: Some(function.into()),
                run: None,
            };
            [
                of(PayloadPlace::Event, "order/paid", "other"),
                of(PayloadPlace::Event, "order/sent", "other"),
                of(PayloadPlace::Input, "", "pay"),
                of(PayloadPlace::Input, "", "other"),
                of(PayloadPlace::Output, "", "other"),
                of(PayloadPlace::Error, "", "other"),
                of(PayloadPlace::Step, "charge", "pay"),
            ]
            .map(|context| u8::from(expected.check(&context, run, &function).is_ok()))
        };
        assert_eq!(fits(Expected::Event("order/paid")), [1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(fits(Expected::Output), [0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(fits(Expected::Error), [0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(fits(Expected::NotStep), [1, 1, 1, 1, 1, 1, 0]);
    }
}
