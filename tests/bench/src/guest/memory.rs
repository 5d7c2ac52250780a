//! What a monitor takes of the machine's memory beside its guest's.

use std::fs;

use anyhow::Context;

const KIB: f64 = 1024.0;

/// MiB of a process, as its share of what it has in common with others (`Pss`), without the mapping
/// that is as large as its guest's memory.
pub fn beside(pid: u32, guest_mib: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    Ok(parse(&text, guest_mib) as f64 / KIB)
}

/// The same in KiB.
fn parse(smaps: &str, guest_mib: u32) -> u64 {
    let (mut sum, mut is_guest) = (0, false);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
        match words.next() {
            Some("Size:") => is_guest = number(words.next()) == Some(u64::from(guest_mib) << 10),
            Some("Pss:") if !is_guest => sum += number(words.next()).unwrap_or(0),
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_guests_own_memory_is_not_counted() {
        let text = "7f00-7f01 r-xp 00 08:01 1 /bin/x\nSize:  100 kB\nRss:  80 kB\nPss:  60 kB\n\
                    7f10-7f20 rw-p 00 00:00 0\nSize: 4096 kB\nRss: 900 kB\nPss: 900 kB\n\
                    7f30-7f31 rw-p 00 00:00 0\nSize: 8 kB\nPss: 8 kB\n";
        assert_eq!(super::parse(text, 4), 68);
    }
}
