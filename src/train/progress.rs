//! The progress bar of a run, on stderr. There is none if stderr is not a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::trainer::StepReport;

/// A run's bar.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `steps` steps, of which `done` are done; hidden if `quiet`, or if stderr is not a terminal.
    pub fn new(steps: u64, done: u64, quiet: bool) -> Self {
        let bar = match quiet || !std::io::stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(steps),
        };
        // The template is a constant. If it were wrong, the bar would be plain.
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} steps  {msg}  eta {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        // Steps before a resumption count towards the position, not the speed.
        let bar = bar.with_position(done);
        bar.reset_eta();
        Progress { bar }
    }

    /// Shows what happens before the first step.
    pub fn waiting(&self, what: &str) {
        self.bar.set_message(what.to_string());
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// Shows a step.
    pub fn step(&self, report: &StepReport) {
        self.bar.disable_steady_tick();
        self.bar.set_position(report.step);
        self.bar.set_message(format!(
            "loss {:.4}  grad norm {:.3}  {:.0} tokens/s",
            report.loss, report.grad_norm, report.tokens_per_second
        ));
    }

    /// Runs `work`, which prints, with the bar out of the way.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
