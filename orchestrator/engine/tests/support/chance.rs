//! Random numbers, and random functions.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::{Operation, StepOptions};
use stepladder_core::retry::Backoff;
use stepladder_core::spec::Concurrency;
use stepladder_core::{NewEvent, json};
use stepladder_engine::clock::Entropy;
use stepladder_testkit::clock::SeededEntropy;

use super::script::{ScriptedFunction, retryable_failure};

/// A seeded source of small random numbers.
#[derive(Clone)]
pub struct SeededDice(Arc<SeededEntropy>);

impl SeededDice {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(SeededEntropy::new(seed)))
    }

    /// Returns the source of random bits.
    pub fn bits(&self) -> Arc<SeededEntropy> {
        self.0.clone()
    }

    pub fn below(&self, n: u64) -> u64 {
        self.0.bits() as u64 % n
    }

    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Returns a random function with at least two and fewer than `most` steps, and the number of slots
/// of the function's limit; 0 means no limit.
pub fn random_graph(dice: &SeededDice, most: u64) -> (ScriptedFunction, usize) {
    let mut script = ScriptedFunction::new("main");
    let limit = dice.below(3) as u32;
    if limit > 0 {
        script = script.spec(|spec| spec.concurrency.push(Concurrency::steps(limit)));
    }
    let mut ids: Vec<String> = Vec::new();
    for n in 0..2 + dice.below(most - 2) {
        let id = format!("s{n}");
        let after: Vec<&str> = ids.iter().filter(|_| dice.one_in(2)).map(String::as_str).collect();
        script = match dice.below(8) {
            0 => script.request(&id, &after, Operation::SleepFor(Duration::from_secs(dice.below(3_000)))),
            1 => script.request(&id, &after, Operation::Send(vec![NewEvent::new("told", json::empty_object())])),
            2 => script.request(
                &id,
                &after,
                Operation::Invoke {
                    function: "helper".into(),
                    input: json::empty_object(),
                    bound: false,
                    timeout: None,
                    user: None,
                },
            ),
            _ => {
                let backoff = Some(Backoff::Fixed(Duration::from_secs(dice.below(30))));
                // a failure happens again if a crash loses its entry, so there are a few more
                // retries than failures
                let options = StepOptions { backoff, retries: Some(50), ..StepOptions::default() };
                let (fails, yields) = (dice.below(3) as u32, dice.below(4));
                script.body_with(&id, &after, options, move |n| async move {
                    for _ in 0..yields {
                        tokio::task::yield_now().await;
                    }
                    if n <= fails { Err(retryable_failure("by chance")) } else { Ok(()) }
                })
            }
        };
        ids.push(id);
    }
    (script, limit as usize)
}
