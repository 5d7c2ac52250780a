//! Guests of a few instructions: how they begin, speak, and end.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use portcullis_lab::{
    process::wait_for,
    tiny::{HALT, KEPT, TRIPLE_FAULT, WAIT_FOR_A_KEY, kernel, off, out, say},
};
use portcullis_vmm::{
    Config, End, Error, Machine, Running, Snapshot,
    config::{Image, Kernel, Start},
    snapshot::State,
};

/// What a guest has written.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn config(kernel: &Path) -> Config {
    Config {
        start: Start::Kernel(Kernel {
            image: Image::File(kernel.into()),
            initramfs: None,
            command_line: "console=ttyS0".into(),
        }),
        processors: 2,
        memory_mib: 16,
        nics: Vec::new(),
        disks: Vec::new(),
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A guest of this code that runs. `None` on a machine without KVM.
fn running(code: &[u8], pvh: bool) -> Option<(Paper, Running)> {
    if !Path::new("/dev/kvm").exists() {
        println!("nothing is tested: there is no /dev/kvm");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kernel");
    fs::write(&file, kernel(code, pvh)).unwrap();
    Some(resumed(config(&file)))
}

fn resumed(config: Config) -> (Paper, Running) {
    let paper = Paper::default();
    let machine = Machine::new(config, Box::new(paper.clone())).unwrap().start().unwrap();
    machine.resume();
    (paper, machine)
}

/// Runs a guest to its end: what it wrote, and how it ended.
fn run(code: &[u8], pvh: bool) -> Option<(String, End)> {
    let (paper, machine) = running(code, pvh)?;
    let end = machine.wait();
    drop(machine);
    Some((paper.text(), end))
}

/// One that waits for a key, and has said so.
fn waiting() -> Option<(Paper, Running)> {
    let waiting = running(&[WAIT_FOR_A_KEY, &off(), HALT].concat(), false)?;
    wait_for("its first letter", 20, || waiting.0.text() == "a").unwrap();
    Some(waiting)
}

/// A guest's state and memory, and what it is to go on with.
fn snapshot(machine: &Running) -> (Vec<u8>, File) {
    let (mut state, memory) = (Vec::new(), tempfile::tempfile().unwrap());
    machine.state().unwrap().write(&mut state).unwrap();
    machine.save_memory(&memory).unwrap();
    (state, memory)
}

fn restored(state: &[u8], memory: &File) -> portcullis_vmm::Result<Config> {
    let (state, memory) = (State::read(state)?, memory.try_clone().unwrap());
    let start = Start::Snapshot(Box::new(Snapshot { state, memory }));
    Ok(Config { start, ..config(Path::new("")) })
}

#[test]
fn a_machine_goes_on_where_another_one_stood() {
    let Some((paper, machine)) = waiting() else { return };
    let (state, memory) = snapshot(&machine);
    let (second_paper, second) = resumed(restored(&state, &memory).unwrap());
    assert_eq!(second.type_in(b"x"), 1);
    assert_eq!((second.wait(), second_paper.text()), (End::Off, "xrm".into()));
    // The first one stands still until it may go on, and knows of nothing.
    assert_eq!(paper.text(), "a");
    machine.resume();
    assert_eq!(machine.type_in(b"y"), 1);
    assert_eq!((machine.wait(), paper.text()), (End::Off, "ayrm".into()));
}

#[test]
fn a_snapshot_is_looked_at_before_it_runs() {
    let Some((_, machine)) = waiting() else { return };
    let (state, memory) = snapshot(&machine);
    let refused = |state: &[u8], change: fn(&mut Config)| {
        let made = restored(state, &memory).and_then(|mut config| {
            change(&mut config);
            Machine::new(config, Box::new(io::sink()))
        });
        made.err().expect("it was made").to_string()
    };
    let edited = |edit: fn(&mut serde_json::Value)| {
        let mut value = serde_json::from_slice(&state).unwrap();
        edit(&mut value);
        serde_json::to_vec(&value).unwrap()
    };
    type Case = (Vec<u8>, fn(&mut Config), &'static str);
    let cases: [Case; 8] = [
        (edited(|v| v["version"] = 7.into()), |_| (), "version 7"),
        (edited(|v| v["more"] = 1.into()), |_| (), "unknown field"),
        (edited(|v| v["devices"][0]["kind"] = 1.into()), |_| (), "another one here"),
        (edited(|v| v["devices"][0]["features"] = 1.into()), |_| (), "does not have here"),
        (edited(|v| v["devices"][0]["queues"][0]["size"] = 3.into()), |_| (), "a queue"),
        (state[..state.len() / 2].to_vec(), |_| (), "cannot be read"),
        (state.clone(), |c| c.memory_mib = 32, "16 MiB of memory, and here are 32"),
        (state.clone(), |c| c.processors = 1, "2 processors, and here are 1"),
    ];
    for (state, change, why) in cases {
        let said = refused(&state, change);
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn pages_that_are_written_are_known() {
    let Some((_, machine)) = waiting() else { return };
    machine.track().unwrap();
    assert!(!machine.written().unwrap().contains(&KEPT), "it was written before");
    machine.type_in(b"x");
    assert_eq!(machine.wait(), End::Off);
    assert_eq!(machine.written().unwrap(), [KEPT]);
    assert!(machine.written().unwrap().is_empty());
}

#[test]
fn a_guest_speaks_and_switches_itself_off() {
    for pvh in [false, true] {
        let code = [say("good day\n"), off(), HALT.to_vec()].concat();
        if let Some(ended) = run(&code, pvh) {
            assert_eq!(ended, ("good day\n".into(), End::Off), "PVH: {pvh}");
        }
    }
}

#[test]
fn a_guest_starts_anew_in_every_way() {
    let (reset, keyboard) = (out(0x608, 1), out(0x64, 0xfe));
    for code in [reset, keyboard, TRIPLE_FAULT.to_vec()] {
        if let Some((_, end)) = run(&[&code, HALT].concat(), false) {
            assert_eq!(end, End::Reboot, "{code:x?}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kernel");
    fs::write(&file, b"no kernel at all").unwrap();
    let refused = |config| match Machine::new(config, Box::new(io::sink())) {
        Err(error) => error,
        Ok(_) => panic!("it was made"),
    };
    let processors = refused(Config { processors: 0, ..config(&file) }).to_string();
    assert_eq!(processors, "0 processors: say 1 to 254");
    let memory = refused(Config { memory_mib: 0, ..config(&file) }).to_string();
    assert!(memory.contains("1 to 1048576"), "{memory}");
    if Path::new("/dev/kvm").exists() {
        let none = refused(config(&file));
        assert!(none.advice().unwrap().contains("bzImage"), "{none}");
        assert!(matches!(none, Error::Kernel { .. }));
        // A kernel that says what it is, and is longer than the memory.
        let long = fs::File::options().write(true).open(&file).unwrap();
        std::os::unix::fs::FileExt::write_at(&long, b"HdrS", 0x202).unwrap();
        long.set_len(20 << 20).unwrap();
        let long = refused(config(&file));
        assert!(long.to_string().contains("needs 21 MiB, and there are 16"), "{long}");
        assert!(long.advice().unwrap().contains("--memory"));
        let missing = refused(config(&directory.path().join("missing"))).to_string();
        assert!(missing.contains("No such file"), "{missing}");
        fs::write(&file, kernel(HALT, false)).unwrap();
        let large = directory.path().join("large");
        fs::File::create(&large).unwrap().set_len(17 << 20).unwrap();
        let mut config = config(&file);
        if let Start::Kernel(kernel) = &mut config.start {
            kernel.initramfs = Some(large);
        }
        let large = refused(config).to_string();
        assert!(large.contains("give it more"), "{large}");
    }
}
