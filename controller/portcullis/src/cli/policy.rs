//! What can be said to the commands that read policies.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_policy::matrix::By;

use super::{Format, Output};

/// For whom `check` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON value.
    Json,
    /// For code review: SARIF 2.1.0.
    Sarif,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Policy files; a folder stands for all *.yaml in it, `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Warnings are errors, too
    #[arg(long)]
    pub strict: bool,
    /// For people, for programs (one JSON value), or for code review (SARIF 2.1.0)
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: CheckFormat,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Policy files; a folder stands for all *.yaml in it, `-` for standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Who opens the connection: guest, label, network, set, host, world, address or prefix;
    /// an address may have a source port (10.10.0.11:700)
    #[arg(long, value_name = "ENDPOINT", required_unless_present = "flow")]
    pub from: Option<String>,
    /// Whom it is for: guest, label, network, set, host, world, address or prefix
    #[arg(long, value_name = "ENDPOINT", required_unless_present = "flow")]
    pub to: Option<String>,
    /// The service: a name (https, smb, ping) or literally (tcp/8080, udp/53, icmp/8,
    /// "tcp/2049 from 600-1023")
    #[arg(long, value_name = "SERVICE", required_unless_present = "flow")]
    pub service: Option<String>,
    /// One connection instead: "tcp 10.10.0.11:40000 -> 10.20.0.5:443"
    #[arg(long, value_name = "FLOW", conflicts_with_all = ["from", "to", "service"])]
    pub flow: Option<String>,
    /// How it is printed.
    #[command(flatten)]
    pub output: Output,
}

/// `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// OLD and NEW: a file or a folder each; NEW alone is compared with the applied policy
    #[arg(value_names = ["OLD", "NEW"], num_args = 1..=2, required = true)]
    pub policies: Vec<PathBuf>,
    /// End with status 1 if something differs
    #[arg(long)]
    pub exit_code: bool,
    /// How it is printed.
    #[command(flatten)]
    pub output: Output,
}

/// For whom `matrix` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MatrixFormat {
    /// For people, in the terminal.
    #[default]
    Human,
    /// For programs: one JSON value.
    Json,
    /// For spreadsheets.
    Csv,
    /// For people, as a page with a picture that needs nothing else.
    Html,
}

/// What stands in the rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MatrixBy {
    /// Networks, labels, and guests without labels.
    All,
    /// Networks.
    Network,
    /// Labels, and guests without labels.
    Label,
    /// Guests.
    Guest,
}

impl From<MatrixBy> for By {
    fn from(by: MatrixBy) -> Self {
        match by {
            MatrixBy::All => Self::All,
            MatrixBy::Network => Self::Network,
            MatrixBy::Label => Self::Label,
            MatrixBy::Guest => Self::Guest,
        }
    }
}

/// `matrix`.
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// Policy files; a folder stands for all *.yaml in it, `-` for standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What stands in the rows and columns, with the host and the world [default: all of it that
    /// there is room for]
    #[arg(long, value_name = "WHAT")]
    pub by: Option<MatrixBy>,
    /// For people, for programs (one JSON value), for spreadsheets, or as a page with a picture
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: MatrixFormat,
    /// Write it to a file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl CheckArgs {
    /// For whom it prints, as other commands know it.
    pub const fn plain_format(&self) -> Format {
        match self.format {
            CheckFormat::Human => Format::Human,
            CheckFormat::Json | CheckFormat::Sarif => Format::Json,
        }
    }
}

impl MatrixArgs {
    /// For whom it prints, as other commands know it.
    pub const fn plain_format(&self) -> Format {
        match self.format {
            MatrixFormat::Json => Format::Json,
            _ => Format::Human,
        }
    }
}
