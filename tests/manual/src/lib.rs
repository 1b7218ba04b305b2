//! The command lines of the programs that users run, and manual pages made of them.
//!
//! The programs themselves do not carry the code that writes manual pages, except `avpsctl man`.
#![forbid(unsafe_code)]

use std::path::Path;

use clap::{Command, CommandFactory};

/// Each program's name and command line.
pub fn programs() -> [(&'static str, Command); 3] {
    [
        ("avpsctl", avpsctl::cli::Cli::command()),
        ("avps-backend", avps_backend::command()),
        ("avps-tee", avps_tee::command()),
    ]
}

/// Writes the pages of all programs into a folder; returns how many.
pub fn write(folder: &Path) -> avpsctl::Result<usize> {
    let mut count = 0;
    for (_, command) in programs() {
        count += avpsctl::manual::write(folder, command)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_program_and_each_of_its_commands_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("man1");
        let count = write(&folder).unwrap();
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        assert_eq!(fs::read_dir(&folder).unwrap().count(), count);
        assert!(read("avpsctl-up.1").contains(".TH avpsctl-up 1"));
        assert!(read("avps-tee.1").contains("\\-\\-threads"));
        assert!(read("avps-backend-vhost-user.1").contains("avps\\-backend vhost\\-user"));
        // What is no command for users has no page.
        assert!(!folder.join("avps-backend-worker.1").exists());
        assert!(!folder.join("avps-tee-help.1").exists());
    }
}
