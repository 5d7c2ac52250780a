//! Other programs: `ip`, `nft`, `bridge`, `iperf3`.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use crate::error::Error;

/// Programs that the peers need, each with its Debian package.
pub const TOOLS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("bridge", "iproute2"), ("nft", "nftables"), ("iperf3", "iperf3")];

/// The Debian package of a program.
fn package(program: &str) -> &'static str {
    TOOLS.iter().find(|(name, _)| *name == program).map_or("coreutils", |(_, package)| package)
}

/// An error for a program that does not start.
pub fn missing(program: &'static str, cause: std::io::Error) -> Error {
    Error::MissingTool { program, package: package(program), cause }
}

/// Runs a program with `input` on its standard input, in the namespaces of this thread.
pub fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, Error> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| missing(program, e))?;
    let mut stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A second thread feeds it: with one, two full pipes would wait for each other. A program
        // that ends before it has read everything says why itself.
        scope.spawn(move || stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes())));
        child.wait_with_output()
    });
    let output = output.map_err(|e| Error::system(format!("waiting for {program}"), e))?;
    checked(program, args, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `Err` when the program said that it failed.
pub fn checked(program: &str, args: &[&str], output: &Output) -> Result<(), Error> {
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::Command {
        command: format!("{program} {}", args.join(" ")),
        status: output.status,
        stderr: stderr.lines().take(5).collect::<Vec<_>>().join("; "),
    })
}

/// `Err` naming the package when a tool is missing.
pub fn require_all() -> Result<(), Error> {
    for (program, _) in TOOLS {
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|e| missing(program, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_reaches_a_program_and_its_output_comes_back() {
        assert_eq!(run("cat", &[], "one\ntwo\n").unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error = run("ip", &["nonsense"], "").unwrap_err().to_string();
        assert!(error.contains("ip nonsense") && error.contains("nonsense"), "{error}");
    }

    #[test]
    fn a_missing_tool_names_its_package() {
        let error = missing("nft", std::io::ErrorKind::NotFound.into()).to_string();
        assert!(error.contains("`nftables`"), "{error}");
    }
}
