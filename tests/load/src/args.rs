//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Load generator and verifier for block devices.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write a region in requests of mixed size and random order, flush, and read all of it back.
    Exercise(Exercise),
    /// Read a region back that an earlier `exercise` with the same seed wrote.
    Verify(Exercise),
    /// Read and write at random places at the same time, and check all that is read.
    Mixed(Mixed),
    /// Time requests of one kind.
    Bench(Bench),
}

#[derive(Args, Clone)]
pub(crate) struct Exercise {
    /// The block device (or file).
    pub(crate) device: PathBuf,
    /// Bytes to cover, from the start of the device; a multiple of the largest request.
    #[arg(long, default_value_t = 16 << 20)]
    pub(crate) bytes: u64,
    /// Smallest request in bytes; sizes double from here to `--max-request`.
    #[arg(long, default_value_t = 4096)]
    pub(crate) min_request: u64,
    /// Largest request in bytes.
    #[arg(long, default_value_t = 1 << 20)]
    pub(crate) max_request: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 32)]
    pub(crate) depth: usize,
    /// Decides sizes, order and contents.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Flush after this many writes of one thread (0: only at the end).
    #[arg(long, default_value_t = 0)]
    pub(crate) flush_every: u64,
    /// Start another pass, with new contents, until this many seconds have passed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seconds: u64,
    /// Start another pass, with new contents, until this file exists.
    #[arg(long, value_name = "FILE")]
    pub(crate) until: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Mixed {
    /// The block device (or file).
    pub(crate) device: PathBuf,
    /// Reads and writes at random places; writing the first contents and reading the last come on top.
    #[arg(long, default_value_t = 1000)]
    pub(crate) requests: u64,
    /// Bytes of the device to use, from its start.
    #[arg(long, default_value_t = 16 << 20)]
    pub(crate) bytes: u64,
    /// Smallest request in bytes; sizes double from here to `--max-request`, and places are multiples of it.
    #[arg(long, default_value_t = 512)]
    pub(crate) min_request: u64,
    /// Largest request in bytes.
    #[arg(long, default_value_t = 1 << 20)]
    pub(crate) max_request: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 16)]
    pub(crate) depth: usize,
    /// Decides sizes, places and contents.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Flush after this many requests of one thread (0: only before the end).
    #[arg(long, default_value_t = 16)]
    pub(crate) flush_every: u64,
}

#[derive(Args)]
pub(crate) struct Bench {
    /// The block device (or file).
    pub(crate) device: PathBuf,
    /// What to do.
    #[arg(long, value_enum, default_value_t = Kind::Randread)]
    pub(crate) kind: Kind,
    /// Bytes of one request.
    #[arg(long, default_value_t = 4096)]
    pub(crate) request: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 1)]
    pub(crate) depth: usize,
    /// Requests in all.
    #[arg(long, default_value_t = 1000)]
    pub(crate) requests: u64,
    /// Bytes of the device to use, from its start.
    #[arg(long, default_value_t = 16 << 20)]
    pub(crate) bytes: u64,
    /// Decides the order of random requests.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Sequential reads.
    Read,
    /// Sequential writes.
    Write,
    /// Reads in random order.
    Randread,
    /// Writes in random order.
    Randwrite,
}

impl Kind {
    pub(crate) fn writes(self) -> bool {
        matches!(self, Kind::Write | Kind::Randwrite)
    }

    pub(crate) fn random(self) -> bool {
        matches!(self, Kind::Randread | Kind::Randwrite)
    }
}
