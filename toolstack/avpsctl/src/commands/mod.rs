//! One module per command, or per family of commands that differ in a word.

mod backend;
mod console;
mod create;
mod document;
mod down;
mod emit;
mod list;
mod platform;
mod policy;
mod power;
mod show;
mod supervisor;
mod tee;
mod text;
mod up;

use std::time::Duration;

use crate::cancel::Cancel;
use crate::cli::{Cli, Command};
use crate::error::{Error, Exit, Result};
use crate::machine::Machine;
use crate::ramdisks::Ramdisks;
use crate::rundir::RunDir;
use crate::ui::Ui;

/// What every command needs.
pub(crate) struct Context {
    /// How to talk.
    pub(crate) ui: Ui,
    /// Locks and supervisors.
    pub(crate) run: RunDir,
}

impl Context {
    /// The machine, or why there is none to control.
    fn machine(&self) -> Result<Machine> {
        Machine::open(self.ui.verbose > 1, self.ramdisks())
    }

    /// Where ramdisks of driver domains are made.
    fn ramdisks(&self) -> Ramdisks {
        Ramdisks::new(self.run.path())
    }
}

/// Carries out a command line; what went wrong has been shown when this returns.
pub fn run(cli: Cli) -> Exit {
    let context = Context {
        ui: Ui::new(&cli.global),
        run: RunDir::new(&cli.global.run_dir),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("starting the event loop"));
    let result = runtime.and_then(|runtime| {
        let result = runtime.block_on(dispatch(&context, cli.command));
        // A thread that still waits for an event must not hold up the end of the program.
        runtime.shutdown_timeout(Duration::ZERO);
        result
    });
    match result {
        Ok(()) => Exit::Fine,
        Err(error) => {
            context.ui.error(&error);
            error.exit()
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<()> {
    match command {
        Command::Up(args) => up::up(context, &args).await,
        Command::Down(args) => down::down(context, &args).await,
        Command::Diff(args) => up::diff(context, &args).await,
        Command::Create(args) => create::create(context, &args).await,
        Command::Destroy(args) => power::destroy(context, &args).await,
        Command::Pause(args) => power::pause(context, &args).await,
        Command::Unpause(args) => power::unpause(context, &args).await,
        Command::Shutdown(args) => power::shutdown(context, &args).await,
        Command::Reboot(args) => power::reboot(context, &args).await,
        Command::List(args) => list::list(context, &args).await,
        Command::Info(args) => show::info(context, &args).await,
        Command::Console(args) => console::console(context, &args).await,
        Command::Backend { command } => backend::backend(context, &command),
        Command::Tee { command } => tee::tee(context, &command).await,
        Command::Platform { command } => platform::platform(context, &command),
        Command::Policy { command } => policy::policy(context, &command),
        Command::Check(args) => document::check(context, &args),
        Command::Plan(args) => document::plan(context, &args),
        Command::Emit(args) => emit::emit(context, &args),
        Command::Explain { rule } => text::explain(context, rule.as_deref()),
        Command::Supervise(args) => supervisor::supervise(context, &args).await,
        Command::Completion { shell } => text::completion(context, shell),
        Command::Man { folder } => text::man(&folder),
    }
}

/// Ctrl-C and signals as something to wait for.
fn signals() -> Result<Cancel> {
    Cancel::on_signals().map_err(Error::io("catching signals"))
}
