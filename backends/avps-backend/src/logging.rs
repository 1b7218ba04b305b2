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
    // A console that nobody has described is no place for colours: that of a domain is kept in a file.
    let colors = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some();
    daemon::log::start(filter, colors);
}
