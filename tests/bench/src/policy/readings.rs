//! The rows of the table.

use std::{fs, time::Instant};

use anyhow::Context;
use portcullis_policy::{Compiler, Moment, Sources, compile, compile_unproved, read};

use super::{
    child,
    text::{self, Size},
};
use crate::{
    rows::{Aim, Row},
    stats::Spread,
};

const SMALL: Size = Size { guests: 1_000, rules: 10_000 };
const LARGE: Size = Size { guests: 10_000, rules: 100_000 };

/// Measures everything.
pub fn readings(count: u32) -> anyhow::Result<Vec<Row>> {
    let (small, large) = (text::policy(SMALL), text::policy(LARGE));
    let directory = Scratch::new()?;
    let file = directory.0.join("small.yaml");
    fs::write(&file, &small).with_context(|| file.display().to_string())?;
    let command = child::command()?;
    let mut rows = Rows { rows: Vec::new(), count };
    let size = |s: Size| format!("{} guests, {} rules", s.guests, s.rules);
    let compiled = compile(&sources(&small))?;
    let classes = compiled.image.classes;
    drop(compiled);
    rows.whole(&format!("{}, {classes} classes", size(SMALL)), &small, Aim::Under(50.0), count)?;
    rows.changes(&small)?;
    rows.whole(&size(LARGE), &large, Aim::Under(2_000.0), count.min(5))?;
    rows.add("peak memory of the first", "MiB", Some(Aim::Under(200.0)), 1, || {
        child::peak_mib(&file)
    })?;
    let check = || child::check_ms(&command, &file);
    rows.add("`portcullis check` of the first", "ms", Some(Aim::Under(300.0)), count, check)?;
    Ok(rows.rows)
}

fn sources(text: &str) -> Sources {
    Sources::new([("bench.yaml", text)])
}

/// How long something takes, ms; what it gives is dropped afterwards.
fn ms<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let done = work();
    (started.elapsed().as_secs_f64() * 1e3, done)
}

struct Rows {
    rows: Vec<Row>,
    count: u32,
}

impl Rows {
    fn add(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        aim: Option<Aim>,
        count: u32,
        mut reading: impl FnMut() -> anyhow::Result<f64>,
    ) -> anyhow::Result<()> {
        let readings = (0..count).map(|_| reading()).collect::<Result<Vec<_>, _>>()?;
        let spread = Spread::of(readings).context("no readings")?;
        self.rows.push(Row { what: what.into(), unit, spread, aim });
        Ok(())
    }

    /// Text to proved image, and what of it goes where.
    fn whole(&mut self, size: &str, text: &str, aim: Aim, count: u32) -> anyhow::Result<()> {
        let mut parts: [Vec<f64>; 3] = Default::default();
        self.add(format!("{size}: text to proved image"), "ms", Some(aim), count, || {
            let (all, done) = ms(|| compile(&sources(text)));
            done?;
            let (unproved, done) = ms(|| compile_unproved(&sources(text)));
            done?;
            let (reading, done) = ms(|| read(&sources(text)));
            done?;
            parts[0].push(reading);
            parts[1].push(unproved - reading);
            parts[2].push(all - unproved);
            Ok(all)
        })?;
        let names = ["reading the YAML", "compiling it", "proofs and warnings"];
        for (what, readings) in names.into_iter().zip(parts) {
            let spread = Spread::of(readings).context("no readings")?;
            self.rows.push(Row { what: format!("  {what}"), unit: "ms", spread, aim: None });
        }
        Ok(())
    }

    /// Small changes of a policy, each of a compiler that knows the policy before it.
    fn changes(&mut self, text: &str) -> anyhow::Result<()> {
        let middle = SMALL.rules / 2;
        let rule = text::rule(middle);
        let with = |line: &str| text.replacen(&rule, line, 1);
        let other = text::rule(middle + 11).replacen(&format!("rule{}", middle + 11), "x", 1);
        let name = format!("name: rule{middle}");
        let edits = [
            ("one changed rule", with(&other.replacen("name: x", &name, 1))),
            (
                "one changed rule, a new port",
                with(&rule.replacen("for: ", "for: tcp/7777 } } #", 1)),
            ),
            ("one rule more", with(&format!("{rule}\n{other}"))),
            ("one rule less", text.replacen(&format!("{rule}\n"), "", 1)),
        ];
        for (what, changed) in edits {
            self.change(what, Some(Aim::Under(5.0)), text, &changed)?;
        }
        let last = text::guest(SMALL.guests - 1);
        let started = format!("{last}\n{}", text::guest(SMALL.guests));
        self.change("one guest more", None, text, &text.replacen(&last, &started, 1))
    }

    /// There and back again: both ways are readings.
    fn change(
        &mut self,
        what: &str,
        aim: Option<Aim>,
        before: &str,
        after: &str,
    ) -> anyhow::Result<()> {
        let moment = Moment::default();
        let mut compiler = Compiler::new();
        compiler.compile(&sources(before), &moment)?;
        let mut texts = [after, before].into_iter().cycle();
        self.add(what, "ms", aim, 2 * self.count, || {
            let next = sources(texts.next().unwrap_or_default());
            let (took, done) = ms(|| compiler.compile(&next, &moment).map(drop));
            done?;
            Ok(took)
        })
    }
}

/// A directory that goes when it is not needed any more.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let name = format!("portcullis-bench-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed from the temporary directory, the system will.
        let _ = fs::remove_dir_all(&self.0);
    }
}
