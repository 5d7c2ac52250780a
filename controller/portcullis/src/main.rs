//! The portcullis command and its daemon.

fn main() -> std::process::ExitCode {
    portcullis::commands::main()
}
