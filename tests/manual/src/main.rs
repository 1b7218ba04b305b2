//! `manual FOLDER` writes the manual pages of all programs; `cargo xtask man` calls it.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    let folder = PathBuf::from(folder);
    match manual::write(&folder) {
        Ok(count) => {
            println!("{count} pages in {}", folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: the manual pages could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}
