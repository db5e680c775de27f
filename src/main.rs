//! The `tidemill` binary: parses the arguments and runs one subcommand.
//!
//! An error goes to standard error: as text, or with `--json` as one object for each problem.
//!
//! Exit code: 0 on success, 1 if the command fails, 2 if the arguments are invalid.

use clap::{CommandFactory, Parser};
use std::io::Write;
use tidemill::tools;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "tidemill", version, about = "A Kafka-wire-compatible streaming platform")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Serve(tidemill::serve::Args),
    /// List the settings of a node and of a topic
    Config(tools::config::Args),
    /// Create, list, describe, alter and delete topics, and delete their oldest records
    Topic(tools::topic::Args),
    /// List, describe and delete groups, and reset their committed offsets
    Group(tools::group::Args),
    /// Produce one record per input line
    Produce(tools::produce::Args),
    /// Print the records of a topic
    Consume(tools::consume::Args),
    /// List, describe and abort transactions
    Txn(tools::txn::Args),
    /// Show the brokers, the controller and the features of a cluster
    Cluster(tools::cluster::Args),
    /// Show the log directories of the brokers and the sizes of topics
    LogDirs(tools::log_dirs::Args),
    /// Print the content of a data directory: segments, indexes, journals, checkpoints, metadata
    Inspect(tools::inspect::Args),
    /// Generate load for a broker and measure it
    Perf(tools::perf::Args),
    /// Measure the machine for a node, and check and change the settings of its kernel
    Tune(tools::tune::Args),
    /// Find the faults of this host, and the remedies
    Doctor(tools::doctor::Args),
    /// Print a script that completes the arguments of this command in a shell
    Completion {
        /// For example: source <(tidemill completion bash)
        shell: clap_complete::Shell,
    },
}

fn main() -> std::process::ExitCode {
    let command = Cli::parse().command;
    // clap has accepted the arguments, so this argument can only be the flag.
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    let result = match command {
        Command::Serve(args) => tidemill::serve::run(args),
        Command::Config(args) => tools::config::run(args),
        Command::Topic(args) => tools::topic::run(args),
        Command::Group(args) => tools::group::run(args),
        Command::Produce(args) => tools::produce::run(args),
        Command::Consume(args) => tools::consume::run(args),
        Command::Txn(args) => tools::txn::run(args),
        Command::Cluster(args) => tools::cluster::run(args),
        Command::LogDirs(args) => tools::log_dirs::run(args),
        Command::Completion { shell } => print_completion(shell),
        Command::Inspect(args) => tools::inspect::run(args),
        Command::Perf(args) => tools::perf::run(args),
        Command::Tune(args) => tools::tune::run(args),
        Command::Doctor(args) => tools::doctor::run(args),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) if failure.is_pipe_closed => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", if is_json { failure.to_json_lines() } else { failure.to_lines() });
            std::process::ExitCode::FAILURE
        }
    }
}

fn print_completion(shell: clap_complete::Shell) -> Result<(), tools::Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidemill", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
