//! The story of a simulation: what happened, in order.

use stepladder_engine::clock::Clock;

use super::Simulation;
use super::invariants::{journal, rows};

impl Simulation {
    pub(super) fn add_to_story(&mut self, what: String) {
        let at = self.clock.now().since(self.begun);
        self.story.push(format!("{:>10.3} s  {what}", at.as_secs_f64()));
    }

    /// Appends the store calls since the last call to the story.
    pub(super) fn record_calls(&mut self) {
        for call in self.shared.take_log() {
            self.add_to_story(call);
        }
    }

    /// Returns the story, followed by all journals.
    pub(super) fn whole_story(&mut self) -> Vec<String> {
        self.record_calls();
        let mut story = std::mem::take(&mut self.story);
        for row in rows(&self.memory) {
            story.push(format!("{} {}", row.run, row.function));
            for entry in journal(&self.memory, row.run) {
                let at = entry.at.since(self.begun).as_secs_f64();
                story.push(format!("{at:>10.3} s    {:.160}", format!("{:?}", entry.fact)));
            }
        }
        story
    }
}
