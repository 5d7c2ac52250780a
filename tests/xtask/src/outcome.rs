//! What tests said, added up.

use std::{fmt, ops::AddAssign};

/// Lets the harness print what tests that pass have to say.
pub const SHOW: &str = "--show-output";
/// How the line begins with which a test says that it could not test, and why.
const UNTESTED: &str = "nothing is tested: ";

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed.
    pub failed: u32,
    /// Tests that did not run.
    pub skipped: u32,
}

impl Outcome {
    /// One check that is a test by itself.
    pub fn one(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into(), skipped: 0 }
    }

    /// Adds up the closing lines of the Rust test harness in `output`. A run that fails without a
    /// failed test (a crash, a harness of its own) is one failure; so is one without any closing
    /// line. A test that says that it tested nothing has not passed: the harness knows only tests
    /// that ignore themselves before they run (hence `--show-output`, [`SHOW`]).
    pub fn of_harness(output: &str, success: bool) -> Self {
        let mut sum = Self::default();
        let mut closed = false;
        for line in output.lines() {
            if let Some(one) = closing_line(line) {
                sum += one;
                closed = true;
            }
        }
        let untested = skips(output).count() as u32;
        sum.passed = sum.passed.saturating_sub(untested);
        sum.skipped += untested;
        if sum.failed == 0 && (!success || !closed) {
            sum.failed = 1;
        }
        sum
    }
}

/// The lines of `output` in which tests say that they tested nothing.
pub fn skips(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter(|line| line.starts_with(UNTESTED))
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1s`
fn closing_line(line: &str) -> Option<Outcome> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut outcome = Outcome::default();
    for part in counts.split(';') {
        match part.trim().split_once(' ') {
            Some((n, "passed")) => outcome.passed = n.parse().ok()?,
            Some((n, "failed")) => outcome.failed = n.parse().ok()?,
            Some((n, "ignored")) => outcome.skipped = n.parse().ok()?,
            _ => {}
        }
    }
    Some(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s";

    #[test]
    fn closing_lines_add_up() {
        let text = format!("running 4 tests\n{LINE}\nnoise\n{LINE}\n");
        assert_eq!(Outcome::of_harness(&text, true), Outcome { passed: 6, failed: 0, skipped: 2 });
    }

    #[test]
    fn a_test_that_tests_nothing_has_not_passed() {
        let text = format!("---- x stdout ----\nnothing is tested: there is no /dev/kvm\n\n{LINE}");
        assert_eq!(Outcome::of_harness(&text, true), Outcome { passed: 2, failed: 0, skipped: 2 });
        assert_eq!(skips(&text).collect::<Vec<_>>(), ["nothing is tested: there is no /dev/kvm"]);
    }

    #[test]
    fn a_crash_is_a_failure() {
        assert_eq!(Outcome::of_harness("running 4 tests\n", false).failed, 1);
        assert_eq!(Outcome::of_harness("", true).failed, 1);
        assert_eq!(Outcome::of_harness(LINE, false).failed, 1);
    }

    #[test]
    fn failures_are_counted_once() {
        let text = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Outcome::of_harness(text, false), Outcome { passed: 1, failed: 2, skipped: 0 });
    }

    #[test]
    fn the_last_line_is_the_one_that_runners_read() {
        let all = Outcome { passed: 12, failed: 0, skipped: 1 };
        assert_eq!(all.to_string(), "12 passed, 0 failed, 1 skipped");
    }
}
