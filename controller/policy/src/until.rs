//! When a rule ends, as it is written: a date, a date with a time, or a duration.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// An end as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At a moment, seconds of Unix time.
    At(u64),
    /// So many seconds after the rule was first in force.
    After(u64),
}

/// Why an end cannot be read, and what may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEnd {
    /// What is wrong with it.
    pub why: &'static str,
    /// What to write instead.
    pub help: Option<String>,
}

/// Units of durations, and their seconds.
const UNITS: &[(char, u64)] = &[('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
/// Words that people write for the units.
const LONG_UNITS: &[(&str, char)] = &[
    ("second", 's'),
    ("sec", 's'),
    ("minute", 'm'),
    ("min", 'm'),
    ("hour", 'h'),
    ("hr", 'h'),
    ("day", 'd'),
    ("week", 'w'),
];
/// Ten years: who means longer means for ever.
const LONGEST_S: u64 = 3653 * 86_400;
const EXAMPLES: &str = "write a date (`2026-12-01`), a date and time (`2026-12-01T18:00Z`) or a \
                        duration (`90m`, `8h`, `7d`, `2w`)";

/// Reads an end.
pub fn read(text: &str) -> Result<End, BadEnd> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match &text[digits..] {
        rest if digits > 0 && is_unit(rest) => duration(&text[..digits], rest),
        rest if digits == 4 && rest.starts_with('-') => moment(text),
        rest => Err(unreadable(&text[..digits], rest)),
    }
}

fn is_unit(text: &str) -> bool {
    UNITS.iter().any(|(unit, _)| text.chars().eq([*unit]))
}

/// `90m`.
fn duration(number: &str, unit: &str) -> Result<End, BadEnd> {
    let seconds = UNITS.iter().find(|(u, _)| unit.starts_with(*u)).map_or(0, |u| u.1);
    let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(seconds));
    match total {
        Some(0) => bad("it would be over before it begins", None),
        Some(total) if total <= LONGEST_S => Ok(End::After(total)),
        _ => bad(
            "it is longer than ten years",
            Some("leave `until` out for a rule that is to stay".to_owned()),
        ),
    }
}

/// A date is the beginning of that day in UTC; a time says its offset.
fn moment(text: &str) -> Result<End, BadEnd> {
    let Some((date, time)) = text.split_once(['T', 't', ' ']) else {
        let midnight = day(text)?.to_zoned(TimeZone::UTC).map(|z| z.timestamp());
        return midnight.map_or_else(|_| bad("there is no such day", None), at);
    };
    day(date)?;
    if !text.contains('T') {
        let help = format!("write `{date}T{}`", time.trim());
        return bad("date and time are joined by a `T`", Some(help));
    }
    let (clock, offset) = time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len()));
    if offset.is_empty() && is_clock(clock) {
        let help = format!("write `{text}Z` for UTC, or the offset as in `{text}+01:00`");
        return bad("it does not say in which time zone", Some(help));
    }
    if !is_clock(clock) || !is_offset(offset) {
        return bad("a time looks like `18:00Z` or `18:00:00+01:00`", None);
    }
    match text.parse::<Timestamp>() {
        Ok(moment) => at(moment),
        Err(_) => bad("there is no such time of day", Some("hours go from 00 to 23".to_owned())),
    }
}

/// `2026-12-01`, and nothing else that a library would take for a date.
fn day(text: &str) -> Result<Date, BadEnd> {
    if !has_shape(text, "0000-00-00") {
        let parts: Vec<&str> = text.split('-').collect();
        let help = match parts[..] {
            [year, month, day] if [month, day].iter().all(|p| is_short_number(p)) => {
                Some(format!("write `{year}-{month:0>2}-{day:0>2}`"))
            }
            _ => None,
        };
        return bad("a date is written year-month-day, as in `2026-12-01`", help);
    }
    text.parse::<Date>().or_else(|_| {
        let (month, day) = (&text[5..7], &text[8..]);
        if (1..=12).contains(&month.parse().unwrap_or(0)) {
            return bad("that month has no such day", None);
        }
        let swapped = format!("{}-{day}-{month}", &text[..4]);
        let help = swapped.parse::<Date>().ok();
        bad("months go from 01 to 12", help.map(|_| format!("did you mean `{swapped}`?")))
    })
}

fn at(moment: Timestamp) -> Result<End, BadEnd> {
    match u64::try_from(moment.as_second()) {
        Ok(second) if second > 0 => Ok(End::At(second)),
        _ => bad("it lies before 1970", None),
    }
}

fn is_clock(text: &str) -> bool {
    has_shape(text, "00:00") || has_shape(text, "00:00:00")
}

fn is_offset(text: &str) -> bool {
    text == "Z" || has_shape(text, "+00:00") || has_shape(text, "-00:00")
}

/// Digits where the shape has `0`, the same characters elsewhere.
fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(t, s): (u8, u8)| if s == b'0' { t.is_ascii_digit() } else { t == s };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

fn is_short_number(text: &str) -> bool {
    (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// A number with something behind it that is no unit of ours, or no number at all.
fn unreadable(number: &str, rest: &str) -> BadEnd {
    let word = rest.trim().to_ascii_lowercase();
    let long = LONG_UNITS.iter().find(|(long, _)| *long == word.trim_end_matches('s'));
    let short = UNITS.iter().find(|(unit, _)| word.chars().eq([*unit]));
    let meant = long.map(|l| l.1).or(short.map(|s| s.0));
    match meant {
        Some(unit) if !number.is_empty() => BadEnd {
            why: "a duration is a number and one letter",
            help: Some(format!("write `{number}{unit}`")),
        },
        _ if !number.is_empty() && rest.is_empty() => BadEnd {
            why: "the unit is missing",
            help: Some(format!(
                "say of what: `{number}m`, `{number}h`, `{number}d` or `{number}w`"
            )),
        },
        _ if !number.is_empty() && word.starts_with("month") => BadEnd {
            why: "months are not all of one length",
            help: Some("say it in days or weeks, or write the date".to_owned()),
        },
        _ if ["never", "forever", "none", "always"].contains(&word.as_str()) => BadEnd {
            why: "it is neither a date nor a duration",
            help: Some("leave `until` out for a rule that is to stay".to_owned()),
        },
        _ => BadEnd { why: "it is neither a date nor a duration", help: Some(EXAMPLES.to_owned()) },
    }
}

fn bad<T>(why: &'static str, help: Option<String>) -> Result<T, BadEnd> {
    Err(BadEnd { why, help })
}

/// A moment for people: `2026-12-01T18:00:00Z`.
pub fn show(unix_s: u64) -> String {
    let moment = i64::try_from(unix_s).ok().and_then(|s| Timestamp::from_second(s).ok());
    moment.map_or_else(|| format!("second {unix_s}"), |m| m.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-12-01T00:00:00Z.
    const DAY: u64 = 1_796_083_200;

    #[test]
    fn reads_moments() {
        assert_eq!(read("2026-12-01"), Ok(End::At(DAY)));
        assert_eq!(read("2026-12-01T00:00Z"), Ok(End::At(DAY)));
        assert_eq!(read("2026-12-01T18:00:00+01:00"), Ok(End::At(DAY + 17 * 3600)));
        assert_eq!(read("2026-12-01T18:00-05:30"), Ok(End::At(DAY + 23 * 3600 + 1800)));
        assert_eq!(read("2028-02-29"), Ok(End::At(1_835_395_200)));
        assert_eq!(show(DAY), "2026-12-01T00:00:00Z");
    }

    #[test]
    fn reads_durations() {
        assert_eq!(read("45s"), Ok(End::After(45)));
        assert_eq!(read("90m"), Ok(End::After(5400)));
        assert_eq!(read("8h"), Ok(End::After(28_800)));
        assert_eq!(read("7d"), Ok(End::After(604_800)));
        assert_eq!(read("2w"), Ok(End::After(1_209_600)));
    }

    #[test]
    fn says_what_was_meant() {
        let help = |text| read(text).expect_err(text).help.unwrap_or_default();
        assert_eq!(help("5 minutes"), "write `5m`");
        assert_eq!(help("3 h"), "write `3h`");
        assert_eq!(help("2hours"), "write `2h`");
        assert_eq!(help("5M"), "write `5m`");
        assert_eq!(help("2026-13-01"), "did you mean `2026-01-13`?");
        assert_eq!(help("2026-1-5"), "write `2026-01-05`");
        assert_eq!(
            help("2026-12-01T18:00"),
            "write `2026-12-01T18:00Z` for UTC, or the offset as in `2026-12-01T18:00+01:00`"
        );
        assert_eq!(help("2026-12-01 18:00Z"), "write `2026-12-01T18:00Z`");
        assert_eq!(help("30"), "say of what: `30m`, `30h`, `30d` or `30w`");
        assert_eq!(help("tomorrow"), EXAMPLES);
        assert_eq!(help("01.12.2026"), EXAMPLES);
        for text in ["2026-02-30", "2026-12-01T25:00Z", "1969-12-31", "0d", "9999w", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,24}|[0-9TZ:+-]{0,24}") {
            let _ = read(&text);
        }

        #[test]
        fn a_shown_moment_is_read_again(second in 1u64..253_000_000_000) {
            prop_assert_eq!(read(&show(second)), Ok(End::At(second)));
        }
    }
}
