//! Guests of a few instructions: how they begin, speak, and end.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use portcullis_lab::tiny::{HALT, TRIPLE_FAULT, kernel, off, out, say};
use portcullis_vmm::{Config, End, Error, Machine};

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
        kernel: kernel.into(),
        initramfs: None,
        command_line: "console=ttyS0".into(),
        processors: 2,
        memory_mib: 16,
        nics: Vec::new(),
        disks: Vec::new(),
    }
}

/// Runs a guest to its end: what it wrote, and how it ended. `None` on a machine without KVM.
fn run(code: &[u8], pvh: bool) -> Option<(String, End)> {
    if !Path::new("/dev/kvm").exists() {
        println!("nothing is tested: there is no /dev/kvm");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kernel");
    fs::write(&file, kernel(code, pvh)).unwrap();
    let paper = Paper::default();
    let machine = Machine::new(config(&file), Box::new(paper.clone())).unwrap().start().unwrap();
    machine.resume();
    let end = machine.wait();
    drop(machine);
    let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    Some((text, end))
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
        assert!(matches!(refused(config(&file)), Error::Kernel { .. }));
        let missing = refused(config(&directory.path().join("missing"))).to_string();
        assert!(missing.contains("No such file"), "{missing}");
        fs::write(&file, kernel(HALT, false)).unwrap();
        let large = directory.path().join("large");
        fs::File::create(&large).unwrap().set_len(17 << 20).unwrap();
        let large = refused(Config { initramfs: Some(large), ..config(&file) }).to_string();
        assert!(large.contains("give it more"), "{large}");
    }
}
