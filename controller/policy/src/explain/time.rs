//! Spans of time, for people.

/// How long a number of seconds is, in its largest unit: `3 days`.
pub fn show_span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_it() {
        let shown = [59, 60, 7200, 86_400, 259_200].map(show_span);
        assert_eq!(shown, ["59 seconds", "1 minute", "2 hours", "24 hours", "3 days"]);
    }
}
