//! `avpsctl console`.

use std::fs::File;
use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::time::Instant;

use super::{Context, signals};
use crate::cli::ConsoleArgs;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::start::changed_before;
use crate::terminal::{self, End, RawMode, Signals};

/// How long the console daemon may take to give a new domain its terminal.
const CONSOLE_APPEARS: Duration = Duration::from_secs(5);

/// `avpsctl console`.
pub(super) async fn console(context: &Context, args: &ConsoleArgs) -> Result<()> {
    let machine = context.machine()?;
    let name = args.domain.clone();
    let info = machine.run(move |m| m.find(&name)).await?;
    let path = terminal_of(&machine, info.domid).await?;
    let file = rustix::fs::open(
        &path,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let console = file.map_err(|error| Error::Io {
        wanted: format!(
            "opening the console {} of \"{}\"",
            path.display(),
            info.name
        ),
        source: error.into(),
    })?;
    let interactive = stdin().is_terminal();
    if interactive {
        context.ui.note(&format!(
            "Console of {} (domain {}). Ctrl-] leaves.",
            info.name, info.domid
        ));
    }
    let linger = Duration::from_secs(args.linger);
    let joined = tokio::task::spawn_blocking(move || attach(&console, linger));
    let failed = |source| Error::Io {
        wanted: format!("talking to the console of \"{}\"", info.name),
        source,
    };
    let end = joined
        .await
        .map_err(|error| failed(error.into()))?
        .map_err(failed)?;
    if interactive {
        // The guest has left the cursor anywhere.
        context.ui.note("");
        match end {
            End::Escape => context.ui.note("Left the console; the guest goes on."),
            End::ConsoleClosed => context.ui.note("The console is gone."),
            End::InputEnded | End::Signal => {}
        }
    }
    // On a terminal Ctrl-C goes to the guest; elsewhere it ends this command.
    if end == End::Signal {
        return Err(Error::Interrupted);
    }
    Ok(())
}

fn attach(console: &OwnedFd, linger: Duration) -> std::io::Result<End> {
    let input = stdin();
    // Standard output's own buffer would hold back prompts: they end in no line end.
    let output = File::from(stdout().as_fd().try_clone_to_owned()?);
    let signals = Signals::catch()?;
    let _raw = RawMode::enter(input.as_fd())?;
    terminal::connect(console, input.as_fd(), output.as_fd(), &signals, linger)
}

/// The terminal of a domain's console: of the emulated UART where it has one; a new domain has it a moment after its creation.
async fn terminal_of(machine: &Machine, domid: u32) -> Result<PathBuf> {
    let cancel = signals()?;
    // libxl makes both folders so that the guest can only read them.
    let uart = format!("/local/domain/{domid}/vuart/0");
    let paths = vec![format!("/local/domain/{domid}/console"), uart.clone()];
    let mut changes = machine.run(move |m| m.store.watch(&paths)).await?;
    let deadline = Instant::now() + CONSOLE_APPEARS;
    loop {
        let uart = uart.clone();
        let terminal = move |m: &Machine| {
            if m.store.read(&format!("{uart}/type"))?.is_none() {
                return m.domains.console(domid);
            }
            let path = m.store.read(&format!("{uart}/tty"))?.unwrap_or_default();
            if path.is_empty() {
                return Err(Error::Xen(
                    "xenconsoled has not come to the domain's UART yet".into(),
                ));
            }
            Ok(PathBuf::from(path))
        };
        match machine.run(terminal).await {
            Ok(path) => return Ok(path),
            Err(error) => {
                if !changed_before(&mut changes, deadline, &cancel).await? {
                    return Err(error);
                }
            }
        }
    }
}
