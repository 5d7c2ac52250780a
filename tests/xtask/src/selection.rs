//! Which tests run on other kernels.

use crate::{kernels::Form, machine::Errand, outcome, suite::TestProgram};

/// Test programs that make packets, ports and switches with the kernel's help.
const PROGRAMS: &[&str] = &["portcullis-lab", "portcullis root", "portcullis-switch live"];

/// Those for which the kernel matters most: a closed port, an enforced rule, a revocation, a new
/// daemon, segmentation and checksums.
const SHORT: &[(&str, &[&str])] = &[
    ("portcullis-switch live", &["restart::filtering_outlives_the_process"]),
    ("portcullis-lab closed", &["nothing_passes_before_a_policy_names_the_guest"]),
    ("portcullis-lab apply", &["revocation_cuts_one_stream_and_spares_the_other"]),
    ("portcullis-lab offload", &["from_tap_to_veth_through_the_gateway"]),
];

/// Tests that say nothing about the product in a virtual machine without hardware help.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("portcullis root", "size::validation_is_fast_enough_to_be_always_on", TIMES),
    ("portcullis-lab lane", "it_opens_for_small_frames_and_closes_for_large_ones", FRAMES),
    ("portcullis-lab lane", "it_closes_again_for_checksums_that_are_not_finished", FRAMES),
    ("portcullis-lab limits", "a_guest_hits_its_own_limits", RATES),
    ("portcullis-lab limits", "a_scan_is_slowed_down", RATES),
    ("portcullis-lab limits", "bandwidth_is_what_was_said_and_the_neighbour_has_its_own", RATES),
    ("portcullis-lab limits", "a_flood_takes_nothing_from_a_neighbour", RATES),
    ("portcullis-lab doors", "qemu::the_helper_attaches_and_passes_the_tap", QEMU),
    ("portcullis-lab doors", "qemu::a_tap_is_opened_by_name", QEMU),
    ("portcullis-lab doors", "discover::qemus_guest_is_found_by_the_tap_that_it_holds", QEMU),
];
const QEMU: &str = "starts QEMU, and its system has none";
const TIMES: &str = "compares milliseconds with those of a processor";
const FRAMES: &str = "a lane opens for 10,000 frames a second, more than a simulated stack sends";
const RATES: &str = "counts what a rate lets through in the time that the test itself takes";

/// When a test program of the whole form is ended, seconds.
const PROGRAM_SECONDS: u32 = 3600;

/// What runs besides the probe.
pub fn errands(form: Form, tests: &[TestProgram]) -> Vec<Errand> {
    let inside = |name: &str| PROGRAMS.iter().any(|program| name.starts_with(program));
    let tests = tests.iter().filter(|test| inside(&test.name));
    let errands = tests.filter_map(|test| {
        let (name, arguments) = (test.name.as_str(), arguments(form, &test.name)?);
        Some(Errand {
            name: name.to_owned(),
            executable: test.executable.clone(),
            directory: test.directory.clone(),
            arguments,
            seconds: PROGRAM_SECONDS,
        })
    });
    errands.collect()
}

/// Arguments for the test harness; none if the form has nothing of this program.
fn arguments(form: Form, program: &str) -> Option<Vec<String>> {
    let mut words = ["--test-threads=1", "--exact", outcome::SHOW].map(str::to_owned).to_vec();
    match form {
        Form::Programs => return None,
        Form::Short => {
            let (_, tests) = SHORT.iter().find(|(name, _)| *name == program)?;
            words.extend(tests.iter().map(|test| (*test).to_owned()));
        }
        Form::Whole => {
            for (_, test, _) in LEFT_OUT.iter().filter(|(name, _, _)| *name == program) {
                words.extend(["--skip".to_owned(), (*test).to_owned()]);
            }
        }
    }
    Some(words)
}

/// Says which tests of these errands are left out and why; returns how many.
pub fn say_left_out(errands: &[Errand]) -> u32 {
    let here = |program: &str| errands.iter().any(|errand| errand.name == program);
    let left_out = LEFT_OUT.iter().filter(|(program, _, _)| here(program));
    left_out.clone().for_each(|(program, test, reason)| {
        println!("      left out: {program} {test}: {reason}");
    });
    left_out.count() as u32
}
