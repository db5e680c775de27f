//! `tidemill inspect`: prints and checks the files of a data directory without a running node.
//!
//! - Owns: the report of an inspection. The formats are parsed by the same code that the broker uses.
//! - Input: a path.
//! - Outputs: tables or one JSON document on standard output. If there is damage, the report names each file and
//!   position, and the exit code is 1.
//! - Invariant: it only reads. It writes no file and starts no runtime.
//! - Runs on the main thread of the process.
//!
//! ```text
//! segments    batches of .log files          index    .index, .timeindex and .txnindex against their .log
//! journal     files, groups, the live range   checkpoint   the start of recovery          metadata   the image
//! ```
//!
//! The traces of a crash are notes and not damage: bytes behind the position of a checkpoint, and a torn last group.

mod checkpoint;
mod index;
mod journal;
mod locate;
mod metadata;
mod segments;

use std::io::Write;
use std::path::{Path, PathBuf};

use comfy_table::Table;
use serde_json::{Value, json};

use super::Failure;
use super::output::table_of_numbers;

/// The arguments of `tidemill inspect`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  tidemill inspect segments tidemill-data\n  tidemill inspect segments \
    tidemill-data/greetings-0 --records\n  tidemill inspect journal tidemill-data --json")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Print the batches of segments: offsets, sizes, codecs, producers, checksums
    Segments {
        /// A data directory, the directory of a partition, or one .log file
        path: PathBuf,
        /// Print every record too
        #[arg(long)]
        records: bool,
    },
    /// Check the indexes of offsets, times and aborted transactions against their segments
    Index {
        /// A data directory, the directory of a partition, or one .log file
        path: PathBuf,
    },
    /// Print the journals: files, groups, and the groups that a recovery would replay
    Journal {
        /// A data directory
        path: PathBuf,
        /// The directory of the journals, if the node runs with journal.dir
        #[arg(long, value_name = "DIR")]
        journal_dir: Option<PathBuf>,
        /// Print every live group too
        #[arg(long)]
        groups: bool,
    },
    /// Print the checkpoints of the shards
    Checkpoint {
        /// A data directory, or one checkpoint file
        path: PathBuf,
    },
    /// Print the metadata log and the image at its end
    Metadata {
        /// A data directory
        path: PathBuf,
    },
}

/// A damaged place in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Damage {
    file: PathBuf,
    /// In bytes from the start of the file.
    position: u64,
    description: String,
}

/// The result of an inspection.
#[derive(Default)]
struct Report {
    /// The fields of the JSON document, in order.
    fields: Vec<(&'static str, Value)>,
    tables: Vec<(String, Table)>,
    notes: Vec<String>,
    damage: Vec<Damage>,
}

impl Report {
    fn damage(&mut self, file: &Path, position: u64, description: impl ToString) {
        self.damage.push(Damage { file: file.to_owned(), position, description: description.to_string() });
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn table(&mut self, title: impl Into<String>, table: Table) {
        self.tables.push((title.into(), table));
    }

    fn field(&mut self, name: &'static str, value: Value) {
        self.fields.push((name, value));
    }

    fn as_json(&self) -> Value {
        let mut document = serde_json::Map::new();
        for (name, value) in &self.fields {
            document.insert((*name).to_owned(), value.clone());
        }
        document.insert("notes".into(), json!(self.notes));
        let damage = self.damage.iter().map(|damage| {
            let (file, position) = (damage.file.display().to_string(), damage.position);
            json!({"file": file, "position": position, "what": damage.description})
        });
        document.insert("damage".into(), damage.collect());
        Value::Object(document)
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        for (title, table) in &self.tables {
            writeln!(out, "{title}\n{}\n", table.trim_fmt())?;
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for damage in &self.damage {
            writeln!(out, "DAMAGE: {} at byte {}: {}", damage.file.display(), damage.position, damage.description)?;
        }
        Ok(())
    }
}

fn cannot_read(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot read {}: {error}", path.display()))
}

/// Runs `tidemill inspect`. Fails if there is damage.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut report = Report::default();
    match &args.verb {
        Verb::Segments { path, records } => segments::inspect(path, *records, &mut report)?,
        Verb::Index { path } => index::inspect(path, &mut report)?,
        Verb::Journal { path, journal_dir, groups } => {
            journal::inspect(path, journal_dir.as_deref(), *groups, &mut report)?
        }
        Verb::Checkpoint { path } => checkpoint::inspect(path, &mut report)?,
        Verb::Metadata { path } => metadata::inspect(path, &mut report)?,
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", report.as_json())?;
    } else {
        report.print(&mut out)?;
    }
    match report.damage.as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::new(format!("{}: damaged at byte {}", one.file.display(), one.position))),
        several => Err(Failure::new(format!("{} places are damaged", several.len()))),
    }
}
