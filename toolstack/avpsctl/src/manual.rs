//! Manual pages, made of a command line.

use std::fs;
use std::path::Path;

use clap::Command;

use crate::error::{Error, Result};

/// Writes a page for a program and one for each of its commands, such as `avpsctl-platform-check.1`; returns how many.
///
/// Hidden commands have no page.
pub fn write(folder: &Path, mut command: Command) -> Result<usize> {
    fs::create_dir_all(folder).map_err(Error::io(format!("creating {}", folder.display())))?;
    command.build();
    let name = command.get_name().to_owned();
    pages(folder, &command, &name)
}

fn pages(folder: &Path, command: &Command, name: &str) -> Result<usize> {
    page(folder, command, name)?;
    let mut count = 1;
    for sub in command.get_subcommands() {
        if sub.get_name() != "help" && !sub.is_hide_set() {
            count += pages(folder, sub, &format!("{name}-{}", sub.get_name()))?;
        }
    }
    Ok(count)
}

fn page(folder: &Path, command: &Command, name: &str) -> Result<()> {
    let path = folder.join(format!("{name}.1"));
    let wanted = format!("writing {}", path.display());
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name)
        .render(&mut text)
        .and_then(|()| fs::write(&path, text))
        .map_err(Error::io(wanted))
}
