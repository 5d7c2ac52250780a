//! What `kernel-probe` says on one kernel.
//!
//! It prints one line for each program, `NAME INSTRUCTIONS`, lines that begin with `differential`,
//! other lines for people, and ends with 0 when all programs loaded and the short differential test found no difference.

use std::fmt;

/// Verified instructions that a program may cost on any kernel: a quarter of what the kernel allows
/// (BPF_COMPLEXITY_LIMIT_INSNS), so that one more header does not stop the project.
pub const VERIFIED_MAX: u64 = 250_000;

/// The report of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `uname -r`.
    pub kernel: String,
    /// Programs and what the verifier counted.
    pub programs: Vec<(String, u64)>,
    /// What it said besides.
    pub notes: Vec<String>,
    /// Its exit status; none when the kernel never came that far.
    pub status: Option<i32>,
}

impl Report {
    /// Reads what it printed on a kernel.
    pub fn parse(kernel: &str, output: &str, status: Option<i32>) -> Self {
        let mut report = Self { kernel: kernel.to_owned(), status, ..Self::default() };
        for line in output.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["differential", ..] => report.notes.push(line.to_owned()),
                [name, count] => {
                    if let Ok(count) = count.parse() {
                        report.programs.push((name.to_owned(), count));
                    }
                }
                _ => {}
            }
        }
        report
    }

    /// Did all programs load, within the limit, and agree?
    pub fn fine(&self) -> bool {
        self.status == Some(0) && !self.programs.is_empty() && self.over().next().is_none()
    }

    /// Programs over the limit.
    pub fn over(&self) -> impl Iterator<Item = &(String, u64)> {
        self.programs.iter().filter(|(_, count)| *count > VERIFIED_MAX)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.programs {
            let mark = if *count > VERIFIED_MAX { "  OVER THE LIMIT" } else { "" };
            writeln!(f, "{:<32} {name:<16} {count:>10}{mark}", self.kernel)?;
        }
        for note in &self.notes {
            writeln!(f, "{:<32} {note}", self.kernel)?;
        }
        if self.status != Some(0) {
            writeln!(f, "{:<32} kernel-probe failed: {:?}", self.kernel, self.status)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "ingress 151432\r\nflood 912\r\ndifferential 2000 packets, 0 differ\r\n";

    #[test]
    fn its_lines_are_read() {
        let report = Report::parse("6.1.0", OUTPUT, Some(0));
        assert_eq!(report.programs, [("ingress".to_owned(), 151_432), ("flood".to_owned(), 912)]);
        assert_eq!(report.notes, ["differential 2000 packets, 0 differ"]);
        assert!(report.fine());
    }

    #[test]
    fn a_kernel_that_never_came_up_is_a_failure() {
        assert!(!Report::parse("", "Kernel panic - not syncing", None).fine());
        assert!(!Report::parse("6.1.0", "", Some(0)).fine());
        assert!(!Report::parse("6.1.0", OUTPUT, Some(1)).fine());
    }

    #[test]
    fn over_the_limit_is_a_failure() {
        let report = Report::parse("6.1.0", "ingress 500001\n", Some(0));
        assert!(!report.fine());
        assert_eq!(report.over().count(), 1);
    }
}
