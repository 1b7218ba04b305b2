//! The log: to standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;

use crate::cli::LogLevel;

/// Starts the log of this process.
pub(crate) fn start(level: LogLevel) {
    let filter = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Fails only when a log was started before: then that one goes on.
    let _ = tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_writer(std::io::stderr)
        // A console that nobody has described is no place for colours: that of a domain is kept in a file.
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some())
        .with_target(false)
        .try_init();
}
