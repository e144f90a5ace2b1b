//! Checkpoints: outcomes that an app records while it executes further steps of the same call.

use serde::Deserialize;
use stepladder_core::hop::Checkpoint;
use stepladder_core::sentence::shortened;
use stepladder_core::{RunId, json};

use crate::operation::{Requested, WireOperation};

/// The body of a checkpoint. SDKs add fields of their own, which have no meaning here.
#[derive(Deserialize)]
struct WireCheckpoint {
    run_id: String,
    /// What the call had as its `qi_id`: the number of the call.
    qi_id: String,
    steps: Vec<WireOperation>,
}

/// Reads the body of a checkpoint.
///
/// # Errors
/// A sentence that names the field or the step.
pub(crate) fn decode(run: RunId, body: &[u8]) -> Result<Checkpoint, String> {
    let wire: WireCheckpoint = serde_json::from_slice(body).map_err(|error| format!("the checkpoint: {error}"))?;
    if wire.run_id != run.to_string() {
        return Err(format!("`run_id` is `{}`, and the address has the run {run}", shortened(&wire.run_id)));
    }
    let call = wire.qi_id.parse().map_err(|_| {
        let id = shortened(&wire.qi_id);
        format!("`qi_id` is `{id}`; send the `qi_id` of the call that executes the steps")
    })?;
    let mut steps = Vec::with_capacity(wire.steps.len());
    for operation in &wire.steps {
        let Requested::Executed { want, result: Ok(value) } = operation.requested()? else {
            let (step, op) = (operation.step(), shortened(&operation.op));
            return Err(format!("step `{step}` has the operation `{op}`, which cannot be recorded during a call"));
        };
        json::check(value.get()).map_err(|problem| format!("the value of step `{}` {problem}", want.step))?;
        steps.push((want.step, value));
    }
    Ok(Checkpoint { call, steps })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepladder_core::Timestamp;

    use super::*;

    fn run() -> RunId {
        RunId::new(Timestamp::from_millis(1_700_000_000_000), 7)
    }

    #[test]
    fn a_checkpoint_has_the_call_and_the_steps_with_their_values() {
        let step = json!({"id": "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "op": "StepRun", "displayName": "a", "data": {"n": 1}});
        let body = json!({"run_id": run().to_string(), "fn_id": "f", "qi_id": "3", "ts": 1, "steps": [step]});
        let checkpoint = decode(run(), body.to_string().as_bytes()).unwrap();
        let steps: Vec<_> = checkpoint.steps.iter().map(|(step, value)| (&**step, value.get())).collect();
        assert_eq!((checkpoint.call, steps), (3, vec![("a", r#"{"n":1}"#)]));
    }

    #[test]
    fn a_checkpoint_that_cannot_be_recorded_is_refused_by_name() {
        let id = run().to_string();
        let sleep =
            json!({"id": "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "op": "Sleep", "displayName": "a", "name": "1s"});
        let failed = json!({"id": "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "op": "StepError", "displayName": "a"});
        for (body, says) in [
            (json!({"run_id": "x", "qi_id": "1", "steps": []}), "`run_id` is `x`"),
            (json!({"run_id": id, "qi_id": "a/b", "steps": []}), "`qi_id` is `a/b`"),
            (json!({"run_id": id, "qi_id": "1"}), "missing field `steps`"),
            (json!({"run_id": id, "qi_id": "1", "steps": [sleep]}), "step `a` has the operation `Sleep`"),
            (json!({"run_id": id, "qi_id": "1", "steps": [failed]}), "step `a` has the operation `StepError`"),
        ] {
            let problem = decode(run(), body.to_string().as_bytes()).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }
}
