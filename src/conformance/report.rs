//! What came out of the checks.

use std::fmt;

use super::{Check, Failure, Outcome};

/// What came out of a run: which checks passed, and why the others did not.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    passed: Vec<&'static str>,
    failed: Vec<Failed>,
}

/// A check that a store did not pass.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The check.
    pub check: &'static Check,
    /// What the store did, and what it should have done.
    pub why: Failure,
}

impl Report {
    pub(super) fn add(&mut self, check: &'static Check, outcome: Outcome) {
        match outcome {
            Ok(()) => self.passed.push(check.name),
            Err(why) => self.failed.push(Failed { check, why }),
        }
    }

    /// The names of the checks that passed.
    #[must_use]
    pub fn passed(&self) -> &[&'static str] {
        &self.passed
    }

    /// The checks that did not pass.
    #[must_use]
    pub fn failed(&self) -> &[Failed] {
        &self.failed
    }

    /// Whether there were checks, and all of them passed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && !self.passed.is_empty()
    }

    /// Ends the test unless all checks passed.
    ///
    /// # Panics
    /// With the report as its message, if one did not, or if none was chosen.
    #[track_caller]
    #[expect(clippy::panic, reason = "that is how a test fails")]
    pub fn assert_passes(&self) {
        if !self.is_clean() {
            panic!("{self}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} checks passed, {} failed", self.passed.len(), self.failed.len())?;
        for Failed { check, why } in &self.failed {
            write!(f, "\n{}: {}:\n    {}", check.name, check.promise, why)?;
        }
        Ok(())
    }
}
