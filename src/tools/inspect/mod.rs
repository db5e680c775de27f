//! `tidemill inspect`: what is in a data directory, without a node.
//!
//! Owns: reading the files as they lie there, and saying what is wrong with them. In: a path. Out: tables for people or
//! one JSON document for scripts, on standard output; damage with its file and position, and then an exit code that is
//! not zero. Changes nothing, starts no runtime. The formats are read by the code that the broker reads them with.
//!
//! ```text
//! segments    batches of .log files          index    .index, .timeindex and .txnindex against their .log
//! journal     files, groups, the live range   checkpoint   what recovery starts from      metadata   the image
//! ```
//!
//! What a crash leaves is not damage: bytes behind a checkpoint's position, a torn last group. They are notes.

mod checkpoint;
mod index;
mod journal;
mod locate;
mod metadata;
mod segments;

use std::io::Write;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::Failure;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  tidemill inspect segments tidemill-data\n  tidemill inspect segments \
    tidemill-data/greetings-0 --records\n  tidemill inspect journal tidemill-data --json")]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// The batches of segments: offsets, sizes, codecs, producers, checksums
    Segments {
        /// A data directory, a partition's directory, or one .log file
        path: PathBuf,
        /// Print every record too
        #[arg(long)]
        records: bool,
    },
    /// The indexes of offsets, times and aborted transactions, checked against their segments
    Index {
        /// A data directory, a partition's directory, or one .log file
        path: PathBuf,
    },
    /// The journals: files, groups, and what a recovery would replay
    Journal {
        /// A data directory
        path: PathBuf,
        /// Where the journals are, when the node runs with journal.dir
        #[arg(long, value_name = "DIR")]
        journal_dir: Option<PathBuf>,
        /// Print every live group too
        #[arg(long)]
        groups: bool,
    },
    /// The shards' checkpoints
    Checkpoint {
        /// A data directory, or one checkpoint file
        path: PathBuf,
    },
    /// The metadata log and the image at its end
    Metadata {
        /// A data directory
        path: PathBuf,
    },
}

/// Something that should not be so, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Damage {
    file: PathBuf,
    position: u64,
    what: String,
}

/// What an inspection found.
#[derive(Default)]
struct Report {
    /// The document's own fields, in order.
    fields: Vec<(&'static str, Value)>,
    tables: Vec<(String, Table)>,
    notes: Vec<String>,
    damage: Vec<Damage>,
}

impl Report {
    fn damage(&mut self, file: &Path, position: u64, what: impl ToString) {
        self.damage.push(Damage { file: file.to_owned(), position, what: what.to_string() });
    }

    fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
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
            json!({"file": damage.file.display().to_string(), "position": damage.position, "what": damage.what})
        });
        document.insert("damage".into(), damage.collect());
        Value::Object(document)
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        for (title, table) in &self.tables {
            writeln!(out, "{title}\n{table}\n")?;
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for damage in &self.damage {
            writeln!(out, "DAMAGE: {} at byte {}: {}", damage.file.display(), damage.position, damage.what)?;
        }
        Ok(())
    }
}

/// A table whose columns from `numbers_from` on are numbers.
fn table(header: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(numbers_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cannot_read(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot read {}: {error}", path.display()))
}

pub fn run(args: Args) -> Result<(), Failure> {
    let mut report = Report::default();
    match &args.what {
        What::Segments { path, records } => segments::inspect(path, *records, &mut report)?,
        What::Index { path } => index::inspect(path, &mut report)?,
        What::Journal { path, journal_dir, groups } => {
            journal::inspect(path, journal_dir.as_deref(), *groups, &mut report)?
        }
        What::Checkpoint { path } => checkpoint::inspect(path, &mut report)?,
        What::Metadata { path } => metadata::inspect(path, &mut report)?,
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
