//! Translation validation: is what was loaded what was compiled? Before a generation is put in
//! force its slot is read back, the decision function that the bytes make is compared with the
//! image over all classes, and the loaded program itself is asked about a packet for each of them.

mod agree;
mod difference;
mod held;
mod people;
mod purposes;
mod question;
mod read;

use std::{panic::resume_unwind, thread, time::Instant};

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use portcullis_image::Image;
use portcullis_pipeline::policy::Cell;

pub use self::{agree::Wanted, difference::Difference, held::Held as SlotCopy, read::Reader};
use self::{difference::Judgement, question::Question};
use crate::{
    error::{Error, Result},
    maps::Maps,
    status::Validation,
};

/// Bytes of `struct __sk_buff`, and where its control block stands (linux/bpf.h).
const CONTEXT: usize = 192;
const CONTROL_AT: usize = 48;

/// Compares a slot that no packet reads yet with what it is to hold.
pub fn validate(maps: &Maps, probe: &SchedClassifier, wanted: &Wanted<'_>) -> Result<Validation> {
    let begin = Instant::now();
    // Neither changes anything, so the program is asked while the tables are read.
    let (read_us, packets) = thread::scope(|scope| {
        let asked = scope.spawn(|| ask_all(probe, wanted));
        let read = read(maps, wanted).map(|()| begin.elapsed().as_micros() as u64);
        (read, asked.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let (read_us, packets) = (read_us?, packets?);
    Ok(Validation { packets, read_us, total_us: begin.elapsed().as_micros() as u64 })
}

/// Reads everything back and compares it.
fn read(maps: &Maps, wanted: &Wanted<'_>) -> Result<()> {
    let held = Reader::new(maps, wanted.generation).read(wanted.image)?;
    wanted.agrees(&held).map_err(differs)
}

/// Asks the program; how many packets it was asked about.
fn ask_all(probe: &SchedClassifier, wanted: &Wanted<'_>) -> Result<usize> {
    let questions = question::questions(wanted.image, wanted.host_addrs);
    for question in &questions {
        let got = ask(probe, wanted.generation & 1, question)?;
        answered(wanted.image, question, got).map_err(differs)?;
    }
    Ok(questions.len())
}

fn differs(difference: Difference) -> Error {
    Error::Differs { difference: Box::new(difference) }
}

fn answered(
    image: &Image,
    question: &Question,
    got: std::result::Result<(Cell, Cell), u32>,
) -> std::result::Result<(), Difference> {
    if got == Ok(question.expected) {
        return Ok(());
    }
    let expected = Judgement::new(image, question.expected);
    let got = match got {
        Ok(cells) => Judgement::new(image, cells),
        Err(word) => Judgement::none(&format!("word {word:#x}")),
    };
    Err(Difference::Packet { packet: question.to_string(), expected, got })
}

/// The program's verdict and shadow; or the word that says why there is none.
fn ask(
    probe: &SchedClassifier,
    slot: u32,
    question: &Question,
) -> Result<std::result::Result<(Cell, Cell), u32>> {
    let context = context([slot, question.network()]);
    let mut left = [0_u8; CONTEXT];
    let frame = question.frame();
    let options = TestRunOptions {
        data_in: Some(&frame),
        ctx_in: Some(&context),
        ctx_out: Some(&mut left),
        ..TestRunOptions::new()
    };
    probe.test_run(options).map_err(Error::program("ask the loaded program"))?;
    let answer = match get(&left, 4) {
        0 => Ok((Cell(get(&left, 0)), Cell(get(&left, 1)))),
        word => Err(word),
    };
    Ok(answer)
}

/// `struct __sk_buff` with these words at the beginning of the control block.
pub fn context(words: [u32; 2]) -> [u8; CONTEXT] {
    let mut context = [0_u8; CONTEXT];
    for (at, word) in words.into_iter().enumerate() {
        context[place(at)].copy_from_slice(&word.to_ne_bytes());
    }
    context
}

fn place(word: usize) -> std::ops::Range<usize> {
    CONTROL_AT + 4 * word..CONTROL_AT + 4 * word + 4
}

fn get(context: &[u8; CONTEXT], word: usize) -> u32 {
    u32::from_ne_bytes(context[place(word)].try_into().expect("four bytes"))
}
