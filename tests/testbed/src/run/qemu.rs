//! One QEMU: its command line, its process, and its certain end.
//!
//! QEMU must never outlive its run. It dies when [`Qemu`] is dropped (also by a panic), at Ctrl-C (its process
//! group is registered), at the caller's time limit, and when xtask itself is killed: it is started through
//! [`super::helper`], which asks the kernel to kill it together with the thread that started it. That thread
//! lives as long as QEMU does.

use super::board::Board;
use super::folder::Folder;
use super::media::Media;
use super::secure::{self, Secure};
use super::{Error, Result, helper};
use crate::{interrupt, paths};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Begins the names of its log and of the file with its process id.
pub(super) const NAME: &str = "qemu";
/// Name of the file in the run's folder that holds QEMU's process id while it runs.
pub(crate) const PID_FILE: &str = "qemu.pid";
/// The console of Xen and dom0.
pub(crate) const SERIAL_LOG: &str = "xen-console.log";
/// What QEMU itself says.
pub(crate) const QEMU_LOG: &str = "qemu.log";

/// `virt` has its RAM at 1 GiB, QEMU puts the device tree at +128 MiB: a module there would be overwritten.
pub(super) const KERNEL_AT: u64 = 0x4a00_0000;
pub(super) const INITRAMFS_AT: u64 = 0x5400_0000;

/// How the machine is to be.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// RAM in MiB.
    pub(crate) memory_mib: u32,
    /// RAM of dom0 in MiB; guests get the rest.
    pub(crate) dom0_mib: u32,
    /// CPUs.
    pub(crate) cpus: u8,
    /// A shell on dom0's console; its end is the machine's.
    pub(crate) shell: bool,
    /// Appended to Xen's command line.
    pub(crate) xen_options: String,
    /// As [`Board::counted`].
    pub(crate) counted: bool,
    /// Everything that Xen boots, laid out by a platform document; then the fields above but memory and CPUs say nothing.
    pub(crate) layout: Option<Layout>,
    /// A secure world beside Xen's. OP-TEE drives four CPUs at most; a machine with a layout has none.
    pub(crate) secure: Option<Secure>,
}

/// A device tree with Xen's command line and all domains in it, and what has to be in memory for them.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The device tree.
    pub(crate) dtb: PathBuf,
    /// Files and their host physical addresses.
    pub(crate) modules: Vec<(PathBuf, u64)>,
}

impl Layout {
    /// What QEMU is given for it.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = (&'static str, String)> {
        let loader = |(path, at): &(PathBuf, u64)| {
            let path = comma(path);
            (
                "-device",
                format!("loader,file={path},addr={at:#x},force-raw=on"),
            )
        };
        let tree = ("-dtb", self.dtb.display().to_string());
        std::iter::once(tree).chain(self.modules.iter().map(loader))
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            memory_mib: 3072,
            dom0_mib: 1024,
            cpus: 2,
            shell: false,
            xen_options: String::new(),
            counted: false,
            layout: None,
            secure: None,
        }
    }
}

impl Machine {
    pub(super) fn board(&self) -> Board {
        let options = self.secure.as_ref().map_or("", |_| secure::OPTIONS);
        Board {
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            options: options.to_owned(),
            counted: self.counted,
        }
    }

    fn arguments(&self, media: &Media, folder: &Folder) -> Result<Vec<OsString>> {
        let board = self.board();
        let xen = format!(
            "dom0_mem={}M dom0_max_vcpus={} console=dtuart dtuart=serial0 bootscrub=0 {}",
            self.dom0_mib, self.cpus, self.xen_options
        );
        let linux = format!(
            "console=hvc0 rdinit=/init loglevel={} panic=1{}",
            if self.shell { 3 } else { 4 },
            if self.shell { " bed.shell" } else { "" }
        );
        let socket = |id: &str| {
            format!(
                "socket,id={id},server=on,wait=off,path={}",
                folder.socket(id).display()
            )
        };
        let serial = format!(
            "{},logfile={}",
            socket("serial"),
            comma(&folder.log(SERIAL_LOG))
        );
        let guest_loader = "guest-loader,addr=";
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |name: &str, value: String| {
            arguments.push(name.into());
            arguments.push(value.into());
        };
        add("-name", "avps-bed".into());
        add("-M", board.kind());
        add("-display", "none".into());
        add("-monitor", "none".into());
        add("-chardev", serial);
        add("-serial", "chardev:serial".into());
        if let Some(secure) = &self.secure {
            let log = folder.log(secure::LOG);
            add("-serial", format!("file:{}", log.display()));
            add("-bios", secure.firmware.display().to_string());
            let layout = secure.layout(media, xen.trim(), &linux, folder)?;
            layout
                .arguments()
                .for_each(|(name, value)| add(name, value));
        } else if let Some(layout) = &self.layout {
            add("-kernel", media.xen.display().to_string());
            layout
                .arguments()
                .for_each(|(name, value)| add(name, value));
        } else {
            let (kernel, initramfs) = (comma(&media.kernel), comma(&media.initramfs));
            add("-kernel", media.xen.display().to_string());
            add("-append", xen.trim().into());
            add(
                "-device",
                format!("{guest_loader}{KERNEL_AT:#x},kernel={kernel},bootargs={linux}"),
            );
            add(
                "-device",
                format!("{guest_loader}{INITRAMFS_AT:#x},initrd={initramfs}"),
            );
        }
        add("-global", "virtio-mmio.force-legacy=false".into());
        add("-device", "virtio-serial-device".into());
        add("-chardev", socket("control"));
        add(
            "-device",
            format!("virtserialport,chardev=control,name={}", agent::PORT_NAME),
        );
        arguments.extend(board.arguments().into_iter().map(OsString::from));
        arguments.extend(board.clock().iter().map(OsString::from));
        arguments.push("-nodefaults".into());
        arguments.push("-no-reboot".into());
        Ok(arguments)
    }
}

/// QEMU's option parser ends a value at a comma; a doubled one stands for itself.
pub(crate) fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// A running QEMU.
#[derive(Debug)]
pub(crate) struct Qemu {
    group: Pid,
    ended: Mutex<Receiver<()>>,
    status: Arc<Mutex<Option<ExitStatus>>>,
    pid_file: PathBuf,
}

impl Qemu {
    /// Starts it; what it says goes to the run's `qemu.log`.
    pub(crate) fn start(machine: &Machine, media: &Media, folder: &Folder) -> Result<Self> {
        let arguments = machine.arguments(media, folder)?;
        Self::launch(NAME, &media.qemu, arguments, folder)
    }

    /// Starts another program that must never outlive its run either; `name` is that of its log.
    pub(crate) fn launch(
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        folder: &Folder,
    ) -> Result<Self> {
        let log_path = folder.log(&format!("{name}.log"));
        let log = File::create(&log_path).map_err(Error::io("create", &log_path))?;
        let second = log.try_clone().map_err(Error::io("open", &log_path))?;
        let mut command = paths::this_program();
        command
            .arg(helper::NAME)
            .arg(std::process::id().to_string())
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second)
            .process_group(0);
        let (started, start) = channel();
        let (over, ended) = channel();
        let status = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&status);
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(e) => return drop(started.send(Err(e))),
                };
                let _registration = interrupt::register(&child);
                let told = started.send(Ok(Pid::from_child(&child)));
                if told.is_err() {
                    // Whoever wanted it is gone: it must not stay.
                    let _ = child.kill();
                }
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = child.wait().ok();
                drop(over);
            })
            .map_err(Error::Start)?;
        let group = start
            .recv()
            .map_err(|e| Error::Start(std::io::Error::other(e)))?
            .map_err(Error::Start)?;
        let pid_file = folder.log(&format!("{name}.pid"));
        let qemu = Self {
            group,
            ended: Mutex::new(ended),
            status,
            pid_file,
        };
        std::fs::write(&qemu.pid_file, format!("{}\n", group.as_raw_nonzero()))
            .map_err(Error::io("write", &qemu.pid_file))?;
        Ok(qemu)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its end.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(ended.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }

    /// Asks it to end, as a person would.
    pub(crate) fn terminate(&self) {
        if self.ended().is_none() {
            // It may be ending at this moment.
            let _ = kill_process_group(self.group, Signal::TERM);
        }
    }

    /// Ends it now.
    pub(crate) fn kill(&self) {
        if self.ended().is_none() {
            // It may be ending at this moment.
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
        if !self.wait(Duration::from_secs(20)) {
            eprintln!(
                "error: QEMU (process {}) did not end after SIGKILL",
                self.group.as_raw_nonzero()
            );
        }
        // Missing when it could not be written.
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_share_no_file_and_modules_keep_clear_of_the_device_tree() {
        let media = Media {
            xen: "xen".into(),
            kernel: "Image".into(),
            initramfs: "a,b".into(),
            qemu: "qemu".into(),
            policy_source: None,
        };
        let line = |logs: &Path| {
            let folder = Folder::at(logs.to_path_buf()).unwrap();
            let arguments = Machine::default().arguments(&media, &folder).unwrap();
            arguments
                .iter()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join("\n")
        };
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (line(&dir.path().join("1")), line(&dir.path().join("2")));
        let sockets = |text: &str| -> Vec<String> {
            text.split([',', '\n'])
                .filter(|part| part.starts_with("path="))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(sockets(&one).len(), 2);
        assert!(sockets(&one).iter().all(|socket| !two.contains(socket)));
        assert!(one.contains("initrd=a,,b"), "{one}");
        assert!(!one.contains("0x48000000"), "{one}");
    }
}
