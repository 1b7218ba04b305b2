//! `cargo xtask bed …`: a bed that stays, to try things in.

use super::media::Media;
use super::qemu::Machine;
use super::secure::{self, Secure};
use super::session::{self, Session};
use super::{Error, folder};
use crate::artefacts::rust::Profile;
use crate::artefacts::tee::Abi;
use crate::failure::Failure;
use crate::paths;
use crate::progress::duration;
use agent::frame::Kind;
use clap::{Args, Subcommand};
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A bed that stays, to try things in.
#[derive(Args)]
pub(crate) struct BedCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Boot a bed and leave it running.
    Start(Start),
    /// Run a program in dom0, or in a guest; its exit code becomes this command's.
    Exec(Exec),
    /// Copy a file into dom0.
    Put {
        /// Here.
        local: PathBuf,
        /// Path in dom0.
        remote: String,
        /// Guest instead of dom0; over its console, so keep it small.
        #[arg(long)]
        guest: Option<String>,
    },
    /// Copy a file out of dom0; to standard output without a second path.
    Get {
        /// Path in dom0.
        remote: String,
        /// Here.
        local: Option<PathBuf>,
        /// Guest instead of dom0.
        #[arg(long)]
        guest: Option<String>,
    },
    /// Say whether a bed is running.
    Status,
    /// Switch it off.
    Stop,
    /// The process that owns it.
    #[command(hide = true)]
    Own(Own),
}

/// What to boot, and how.
#[derive(Args, Clone, Debug)]
struct Boot {
    /// Hypervisor to boot instead of the bed's.
    #[arg(long, value_name = "FILE")]
    xen: Option<PathBuf>,
    /// dom0's kernel instead of the bed's.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// dom0's initial file system instead of the bed's.
    #[arg(long, value_name = "FILE")]
    initramfs: Option<PathBuf>,
    /// Appended to Xen's command line.
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "",
        allow_hyphen_values = true
    )]
    xen_options: String,
    /// The machine's RAM in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 3072)]
    memory: u32,
    /// With a secure world that is called so, and programs in dom0 that call it.
    #[arg(
        long,
        value_enum,
        value_name = "ABI",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "smc"
    )]
    tee: Option<Abi>,
}

impl Boot {
    /// What is booted, on which machine.
    fn media_and_machine(&self) -> Result<(Media, Machine), Failure> {
        if let Some(abi) = self.tee {
            let (own, machine) = secure::machine(self.machine(), abi, Profile::Bed)?;
            return Ok((self.instead_of(own), machine));
        }
        Ok((self.media()?, self.machine()))
    }

    fn media(&self) -> Result<Media, Failure> {
        if let (Some(xen), Some(kernel), Some(initramfs)) =
            (&self.xen, &self.kernel, &self.initramfs)
        {
            let [xen, kernel, initramfs] = [xen, kernel, initramfs].map(Clone::clone);
            return Ok(Media {
                xen,
                kernel,
                initramfs,
                qemu: "qemu-system-aarch64".into(),
                policy_source: None,
            });
        }
        Ok(self.instead_of(Media::get()?))
    }

    /// The bed's own, as far as nothing else was named.
    fn instead_of(&self, own: Media) -> Media {
        Media {
            xen: self.xen.clone().unwrap_or(own.xen),
            kernel: self.kernel.clone().unwrap_or(own.kernel),
            initramfs: self.initramfs.clone().unwrap_or(own.initramfs),
            qemu: own.qemu,
            policy_source: own.policy_source,
        }
    }

    fn machine(&self) -> Machine {
        Machine {
            xen_options: self.xen_options.clone(),
            memory_mib: self.memory,
            ..Machine::default()
        }
    }
}

#[derive(Args)]
struct Start {
    #[command(flatten)]
    boot: Boot,
    /// Switched off by itself after so many minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 120)]
    life: u64,
}

#[derive(Args)]
struct Own {
    #[arg(long)]
    xen: PathBuf,
    #[arg(long)]
    kernel: PathBuf,
    #[arg(long)]
    initramfs: PathBuf,
    #[arg(long)]
    qemu: PathBuf,
    #[arg(long, allow_hyphen_values = true)]
    xen_options: String,
    #[arg(long)]
    memory: u32,
    #[arg(long)]
    life: u64,
    #[arg(long, requires = "tree")]
    firmware: Option<PathBuf>,
    #[arg(long)]
    tree: Option<PathBuf>,
}

#[derive(Args)]
struct Exec {
    /// Guest instead of dom0.
    #[arg(long)]
    guest: Option<String>,
    /// Seconds until it is killed.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Pass on standard input, to its end.
    #[arg(long)]
    stdin: bool,
    /// Program and arguments; one argument with spaces is a line for the shell.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<String>,
}

impl BedCommand {
    /// Does it.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.what {
            What::Start(start) => start.run(),
            What::Exec(exec) => exec.run(),
            What::Put {
                local,
                remote,
                guest,
            } => {
                let target = Session::need()?.remote(guest.as_deref())?;
                target.put_file(&local, &remote).map_err(Error::from)?;
                Ok(ExitCode::SUCCESS)
            }
            What::Get {
                remote,
                local,
                guest,
            } => {
                let source = Session::need()?.remote(guest.as_deref())?;
                let bytes = source.get(&remote).map_err(Error::from)?;
                let written = match &local {
                    Some(path) => std::fs::write(path, bytes),
                    None => std::io::stdout().write_all(&bytes),
                };
                written
                    .map_err(|e| Failure::new(format!("cannot write what {remote} holds: {e}")))?;
                Ok(ExitCode::SUCCESS)
            }
            What::Status => status(),
            What::Stop => stop(),
            What::Own(own) => own.run(),
        }
    }
}

impl Start {
    fn run(self) -> Result<ExitCode, Failure> {
        if let Some(session) = Session::find() {
            return Err(Failure::new(format!(
                "a bed is already running (process {}). End it first: cargo xtask bed stop",
                session.pid
            )));
        }
        let (media, machine) = self.boot.media_and_machine()?;
        let began = Instant::now();
        std::fs::create_dir_all(folder::all_logs())
            .map_err(|e| Failure::new(format!("{}: {e}", folder::all_logs().display())))?;
        let log = folder::all_logs().with_file_name("session.log");
        let open = || {
            std::fs::File::create(&log).map_err(|e| Failure::new(format!("{}: {e}", log.display())))
        };
        let out = open()?;
        let err = out.try_clone().map_err(|e| Failure::new(e.to_string()))?;
        let mut owner = paths::this_program()
            .args(["bed", "own", "--xen"])
            .arg(&media.xen)
            .arg("--kernel")
            .arg(&media.kernel)
            .arg("--initramfs")
            .arg(&media.initramfs)
            .arg("--qemu")
            .arg(&media.qemu)
            .arg(format!("--xen-options={}", machine.xen_options))
            .arg(format!("--memory={}", machine.memory_mib))
            .arg(format!("--life={}", self.life))
            .args(machine.secure.iter().flat_map(|secure| {
                [
                    "--firmware".as_ref(),
                    secure.firmware.as_os_str(),
                    "--tree".as_ref(),
                    secure.tree.as_os_str(),
                ]
            }))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| Failure::new(format!("cannot start the bed's process: {e}")))?;
        loop {
            if let Some(session) = Session::find() {
                println!(
                    "bed running (process {}, dom0 ready {:.1} s after QEMU's start), for {} minutes at most",
                    session.pid, session.boot_seconds, self.life
                );
                println!("logs: {}", session.logs.display());
                return Ok(ExitCode::SUCCESS);
            }
            match owner.try_wait() {
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    let said = std::fs::read_to_string(&log).unwrap_or_default();
                    return Err(Failure::new(format!(
                        "the bed did not start: {}",
                        said.trim()
                    )));
                }
            }
            if crate::interrupt::interrupted() {
                // It is in a session of its own: it must be told.
                let _ = owner.kill();
                let _ = owner.wait();
                return Err(Error::Interrupted.into());
            }
            if began.elapsed() > Duration::from_secs(180) {
                let _ = owner.kill();
                let _ = owner.wait();
                return Err(Failure::new(format!(
                    "the bed did not start in 180 s, see {}",
                    log.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Own {
    fn run(self) -> Result<ExitCode, Failure> {
        let media = Media {
            xen: self.xen,
            kernel: self.kernel,
            initramfs: self.initramfs,
            qemu: self.qemu,
            policy_source: None,
        };
        let secure = self.firmware.zip(self.tree);
        let machine = Machine {
            xen_options: self.xen_options,
            memory_mib: self.memory,
            secure: secure.map(|(firmware, tree)| Secure { firmware, tree }),
            ..Machine::default()
        };
        session::own(&media, &machine, Duration::from_secs(self.life * 60))
    }
}

impl Exec {
    fn run(self) -> Result<ExitCode, Failure> {
        let remote = Session::need()?.remote(self.guest.as_deref())?;
        let mut input = Vec::new();
        if self.stdin {
            std::io::stdin()
                .read_to_end(&mut input)
                .map_err(|e| Failure::new(format!("cannot read standard input: {e}")))?;
        }
        let command = match self.program.as_slice() {
            [line] if line.contains(' ') => remote.shell(line),
            program => remote.command(program.iter().cloned()),
        };
        let exit = command
            .input(input)
            .time(Duration::from_secs(self.time))
            .stream(|kind, bytes| {
                // Whoever closed our output does not want it.
                let _ = if kind == Kind::Output {
                    std::io::stdout()
                        .write_all(&bytes)
                        .and_then(|()| std::io::stdout().flush())
                } else {
                    std::io::stderr().write_all(&bytes)
                };
                Ok(())
            })
            .map_err(Error::from)?;
        if self.guest.is_some() {
            // The guest may have ended by this very program.
            let _ = remote.detach();
        }
        if let Some(code) = exit.code.and_then(|code| u8::try_from(code).ok()) {
            return Ok(ExitCode::from(code));
        }
        Err(Failure::new(format!("the program {exit}")))
    }
}

fn status() -> Result<ExitCode, Failure> {
    let Some(session) = Session::find() else {
        println!("no bed is running for this tree");
        return Ok(ExitCode::from(crate::failure::FAILED));
    };
    let answer = session
        .connect()?
        .dom0()
        .ping(Duration::from_secs(10))
        .map_err(Error::from)?;
    println!(
        "bed running (process {}), dom0 answers in {}",
        session.pid,
        duration(answer)
    );
    println!("logs: {}", session.logs.display());
    Ok(ExitCode::SUCCESS)
}

fn stop() -> Result<ExitCode, Failure> {
    let Some(session) = Session::find() else {
        if std::io::stderr().is_terminal() {
            eprintln!("no bed is running for this tree");
        }
        return Ok(ExitCode::SUCCESS);
    };
    if session.stop() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(format!(
        "the bed (process {}) did not end; end it with: kill {0}",
        session.pid
    )))
}
