//! One QEMU for one layout.

use super::console::Console;
use super::qmp::Qmp;
use super::{Content, Error, Layout, Result, tree};
use crate::artefacts::oracle::Oracle as Media;
use crate::run::folder::Folder;
use crate::run::qemu::{self, Qemu, comma};
use std::ffi::OsString;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// QEMU connects before it does anything else.
const CONNECT: Duration = Duration::from_secs(10);
/// Where QEMU loads Xen: RAM's start and the 2 MiB that it takes for an image without a wish.
pub(super) const XEN_AT: u64 = 0x4020_0000;

/// A running machine. Dropped, it ends.
pub(super) struct Running {
    pub(super) qemu: Qemu,
    pub(super) console: Console,
    pub(super) qmp: Qmp,
    /// For memory that is read.
    pub(super) dump: PathBuf,
    log: PathBuf,
}

impl Running {
    /// Starts the layout; its files in the run's folder begin with `name`.
    pub(super) fn start(
        layout: &Layout,
        media: &Media,
        folder: &Folder,
        name: &str,
    ) -> Result<Self> {
        let socket = |kind: &str| folder.socket(&format!("{name}.{kind}"));
        let (serial, control) = (socket("serial"), socket("qmp"));
        let listen = |path: &Path| UnixListener::bind(path).map_err(Error::io("listen at", path));
        let listeners = (listen(&serial)?, listen(&control)?);
        let mut arguments = fixed(layout, media);
        for (name, value) in files(layout, media, folder, name)?.arguments() {
            arguments.extend([name.to_owned(), value]);
        }
        let chardev = |id: &str, path: &Path| {
            let path = comma(path);
            ["-chardev".to_owned(), format!("socket,id={id},path={path}")]
        };
        let log = comma(&folder.log(&format!("{name}.console.log")));
        let [option, value] = chardev("serial", &serial);
        arguments.extend([option, format!("{value},logfile={log}")]);
        arguments.extend(["-serial".to_owned(), "chardev:serial".to_owned()]);
        arguments.extend(chardev("qmp", &control));
        arguments.extend(["-mon".to_owned(), "chardev=qmp,mode=control".to_owned()]);
        let arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
        let qemu = Qemu::launch(name, &media.qemu, arguments, folder)?;
        let log = folder.log(&format!("{name}.log"));
        let console = accept(&listeners.0, &serial, &qemu, name, &log)?;
        let control_stream = accept(&listeners.1, &control, &qemu, name, &log)?;
        Ok(Self {
            console: Console::new(console).map_err(Error::io("read", &serial))?,
            qmp: Qmp::new(control_stream, &control).map_err(|error| {
                if qemu.wait(Duration::from_millis(500)) {
                    ended(&qemu, name, &log)
                } else {
                    error
                }
            })?,
            dump: folder.socket(&format!("{name}.memory")),
            qemu,
            log,
        })
    }

    /// The error for a QEMU that ended by itself.
    pub(super) fn ended(&self, name: &str) -> Error {
        // It closed its console; its status comes a moment later.
        self.qemu.wait(Duration::from_secs(2));
        ended(&self.qemu, name, &self.log)
    }
}

fn ended(qemu: &Qemu, name: &str, log: &Path) -> Error {
    if crate::interrupt::interrupted() {
        return Error::Interrupted;
    }
    let said = std::fs::read_to_string(log).unwrap_or_default();
    Error::Ended {
        name: name.to_owned(),
        status: qemu
            .ended()
            .map_or_else(|| "still running".to_owned(), |status| status.to_string()),
        said: said.trim_end().to_owned(),
    }
}

fn accept(
    listener: &UnixListener,
    path: &Path,
    qemu: &Qemu,
    name: &str,
    log: &Path,
) -> Result<UnixStream> {
    let failed = || Error::io("listen at", path);
    listener.set_nonblocking(true).map_err(failed())?;
    let end = Instant::now() + CONNECT;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(failed())?;
                return Ok(stream);
            }
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(failed()(error));
            }
            Err(_) if qemu.ended().is_some() || Instant::now() > end => {
                return Err(ended(qemu, name, log));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn fixed(layout: &Layout, media: &Media) -> Vec<String> {
    let machine = &layout.machine;
    let mut arguments = vec!["-M".to_owned(), machine.kind()];
    arguments.extend(machine.arguments());
    let xen = media.xen.display().to_string();
    let more = [
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-kernel",
        &xen,
    ];
    let more = machine.clock().iter().chain(&more);
    arguments.extend(more.map(|argument| (*argument).to_owned()));
    arguments
}

/// Writes what is no file yet, and gives what QEMU loads.
pub(super) fn files(
    layout: &Layout,
    media: &Media,
    folder: &Folder,
    name: &str,
) -> Result<qemu::Layout> {
    let dtb = folder.log(&format!("{name}.dtb"));
    std::fs::write(&dtb, &layout.dtb).map_err(Error::io("write", &dtb))?;
    let mut modules = Vec::new();
    for (index, module) in layout.modules.iter().enumerate() {
        let file = match &module.content {
            Content::Guest => media.guest.clone(),
            Content::File(path) => path.clone(),
            Content::Bytes(bytes) => {
                let path = folder.socket(&format!("{name}.module-{index}"));
                std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
                path
            }
            Content::Source(text) => {
                let name = format!("{name}.module-{index}");
                let path = folder.log(&format!("{name}.dtb"));
                tree::compile_text(&name, text, folder.logs())?;
                path
            }
        };
        modules.push((file, module.address));
    }
    Ok(qemu::Layout { dtb, modules })
}
