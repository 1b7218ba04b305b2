//! Children: started in their own process group, output to a log file, ended by Ctrl-C.
//!
//! Build steps go through [`Run`]; it never shows a child's output unless the child fails, and
//! then only the last lines, with the log's path.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::interrupt;

/// How many lines of a log an error shows.
const TAIL: usize = 20;

thread_local! {
    /// Descriptors that children of this thread inherit.
    static INHERITED: RefCell<Vec<RawFd>> = const { RefCell::new(Vec::new()) };
}

/// A file that the children inherit which this thread starts by [`Run`]. Children of other threads, such as a machine that runs beside
/// a build, do not get it. It stays in its thread.
#[derive(Debug)]
pub(crate) struct Inherited {
    file: File,
    stays: PhantomData<*const ()>,
}

impl Inherited {
    /// From now on, until it is dropped.
    pub(crate) fn new(file: File) -> Self {
        INHERITED.with_borrow_mut(|all| all.push(file.as_raw_fd()));
        Self {
            file,
            stays: PhantomData,
        }
    }

    /// Lets a child inherit all of this thread.
    fn by(command: &mut Command) {
        let all = INHERITED.with_borrow(Vec::clone);
        if all.is_empty() {
            return;
        }
        let keep = move || {
            for fd in &all {
                // SAFETY: the file is open: its thread starts this child, and drops it later.
                let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
                fcntl_setfd(fd, FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls only; nothing is allocated.
        unsafe { command.pre_exec(keep) };
    }
}

impl Drop for Inherited {
    fn drop(&mut self) {
        INHERITED.with_borrow_mut(|all| all.retain(|fd| *fd != self.file.as_raw_fd()));
    }
}

/// Why a child did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The program is missing or may not be run.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// As it was to be started.
        program: String,
        /// From the operating system.
        source: std::io::Error,
    },
    /// The program ended with an error.
    #[error("`{program}` failed ({status}){}", at_log(log.as_deref(), tail))]
    Failed {
        /// Program and first arguments.
        program: String,
        /// `exit status: 2`, `signal: 9`.
        status: String,
        /// The last lines it wrote.
        tail: String,
        /// Where all of it is.
        log: Option<PathBuf>,
    },
    /// The log could not be written.
    #[error("cannot write the log {}: {source}", path.display())]
    Log {
        /// Its path.
        path: PathBuf,
        /// From the operating system.
        source: std::io::Error,
    },
}

fn at_log(log: Option<&Path>, tail: &str) -> String {
    let mut text = String::new();
    if !tail.is_empty() {
        text.push_str("; its last lines:\n");
        for line in tail.lines() {
            text.push_str("  | ");
            text.push_str(line);
            text.push('\n');
        }
    }
    if let Some(log) = log {
        text.push_str(&format!("The whole log: {}", log.display()));
    }
    text
}

/// A child to be run to its end.
pub(crate) struct Run {
    command: Command,
    log: Option<PathBuf>,
}

impl Run {
    /// A program from the user's path, with `LC_ALL=C` so that its output can be read by a program.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .process_group(0);
        Self { command, log: None }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes an environment variable.
    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets the working directory.
    pub(crate) fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Appends all output to this file.
    pub(crate) fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Runs to the end.
    pub(crate) fn run(self) -> Result<(), Error> {
        self.lines(|_line| ())
    }

    /// Runs to the end and hands each line of output (both streams) to `seen`.
    pub(crate) fn lines(mut self, mut seen: impl FnMut(&str)) -> Result<(), Error> {
        let program = self.describe();
        let start = |source| Error::Start {
            program: program.clone(),
            source,
        };
        let mut log = self
            .log
            .as_deref()
            .map(|path| open_log(path, &program))
            .transpose()?;
        let (reader, writer) = std::io::pipe().map_err(start)?;
        let second = writer.try_clone().map_err(start)?;
        self.command.stdout(writer).stderr(second);
        Inherited::by(&mut self.command);
        let mut child = self.command.spawn().map_err(start)?;
        let _registration = interrupt::register(&child);
        // The command keeps the pipe's writing end open until it is dropped: reading would never end.
        let Self {
            command,
            log: log_path,
        } = self;
        drop(command);

        let mut tail = std::collections::VecDeque::with_capacity(TAIL);
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if let (Some(file), Some(path)) = (&mut log, &log_path) {
                file.write_all(&line).map_err(|source| Error::Log {
                    path: path.clone(),
                    source,
                })?;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            seen(text);
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(text.to_owned());
        }
        let status = child.wait().map_err(|source| Error::Start {
            program: program.clone(),
            source,
        })?;
        if interrupt::interrupted() {
            return Err(Error::Interrupted);
        }
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            program,
            status: status.to_string(),
            tail: Vec::from(tail).join("\n"),
            log: log_path,
        })
    }

    /// Runs to the end and returns standard output; standard error goes into an error's text only.
    pub(crate) fn output(mut self) -> Result<String, Error> {
        let program = self.describe();
        let start = |source| Error::Start {
            program: program.clone(),
            source,
        };
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Inherited::by(&mut self.command);
        let child = self.command.spawn().map_err(start)?;
        let _registration = interrupt::register(&child);
        let output = child.wait_with_output().map_err(start)?;
        if interrupt::interrupted() {
            return Err(Error::Interrupted);
        }
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        Err(Error::Failed {
            program,
            status: output.status.to_string(),
            tail,
            log: None,
        })
    }

    fn describe(&self) -> String {
        let mut text = self.command.get_program().to_string_lossy().into_owned();
        for arg in self.command.get_args().take(4) {
            text.push(' ');
            text.push_str(&arg.to_string_lossy());
        }
        text
    }
}

fn open_log(path: &Path, program: &str) -> Result<File, Error> {
    let open = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "$ {program}")?;
        Ok(file)
    };
    open().map_err(|source| Error::Log {
        path: path.to_owned(),
        source,
    })
}

/// Whether a program of this name is in the user's path (or `/usr/sbin`, where some tools are).
pub(crate) fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::{Error, Run};

    #[test]
    fn a_failing_child_is_told_with_its_last_lines_and_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("logs/thing.log");
        let error = Run::new("sh")
            .args([
                "-c",
                "for i in $(seq 1 50); do echo line $i; done; echo at the end >&2; exit 7",
            ])
            .log(&log)
            .run()
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 7"), "{text}");
        assert!(
            text.contains("| at the end") && text.contains("| line 32"),
            "{text}"
        );
        assert!(!text.contains("| line 31\n"), "{text}");
        assert!(text.contains(&log.display().to_string()), "{text}");
        assert!(std::fs::read_to_string(&log).unwrap().contains("line 1\n"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Run::new("no-such-program-here").output().unwrap_err();
        assert!(matches!(&error, Error::Start { .. }));
        assert!(error.to_string().contains("no-such-program-here"));
    }
}
