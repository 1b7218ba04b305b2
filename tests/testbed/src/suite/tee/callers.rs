//! Domains that call OP-TEE: dom0, and guests whose calls are mediated.

use super::super::document::Document;
use super::super::{Context, Failed, Outcome};
use crate::artefacts::Workshop;
use crate::artefacts::tee::{Abi, signed, userland};
use agent::client::Remote;
use clap::ValueEnum;
use std::time::Duration;

/// Who carries out guests' calls: `tee.mode` in a platform document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// Xen's mediator for OP-TEE's own SMCs.
    Hypervisor,
    /// Xen's mediator for FF-A, on a machine where dom0's calls are FF-A's, too.
    Ffa,
    /// avps-tee, in dom0.
    Mediated,
}

impl Mode {
    /// Guests that there is room for. OP-TEE is built for two domains, and dom0 is one; avps-tee needs no other.
    pub(super) fn most(self) -> u8 {
        match self {
            Mode::Hypervisor | Mode::Ffa => 1,
            Mode::Mediated => 4,
        }
    }

    /// How the firmware of the machine is called.
    pub(super) fn abi(self) -> Abi {
        match self {
            Mode::Hypervisor | Mode::Mediated => Abi::Smc,
            Mode::Ffa => Abi::Ffa,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Mode::Hypervisor => "hypervisor",
            Mode::Ffa => "ffa",
            Mode::Mediated => "mediated",
        }
    }
}

/// Where applications are that are loaded.
const LOADED: &str = "/lib/optee_armtz";
/// Applications that OP-TEE's tests call without bringing them along (optee_test: host/xtest): those of the core's own tests, of
/// its statistics, of the list of devices, of attestation, of storage, and a TPM, which is not there.
const BUILT_IN: [&str; 6] = [
    "d96a5b40-c3e5-21e3-8794-1002a5d5c61b",
    "d96a5b40-e2c7-b1af-8794-1002a5d5c61b",
    "7011a688-ddde-4053-a5a9-7b3c4ddf13b8",
    "39800861-182a-4720-9b67-2bcd622bc0b5",
    "6e256cba-fc4d-4941-ad09-2ca1860342dd",
    "bc50d971-d4c9-42c4-82cb-343fb7f37896",
];
/// The mediator's log in dom0.
pub(super) const LOG: &str = "/var/log/avps-tee.log";
/// Where secure storage lies, sealed, in each domain.
const STORAGE: &str = "/var/lib/tee";
/// What a mediated guest may share with the secure world.
pub(super) const SHARED_MEMORY_MIB: u64 = 16;
/// Longest time of `avpsctl up` and `down`.
pub(super) const TIME: Duration = Duration::from_secs(120);

/// Makes a domain ready to call: OP-TEE has it load applications and keep files. One that is ready stays so.
pub(super) fn prepare(caller: &Remote) -> Outcome {
    // Some tests speak to themselves over the network.
    supplicant(caller, "ip link set lo up &&")
}

/// Starts a supplicant, if none runs, with this before its command, and waits until it serves: it goes to the background before that.
pub(super) fn supplicant(caller: &Remote, before: &str) -> Outcome {
    let line = format!(
        "pidof tee-supplicant > /dev/null || {{ mkdir -p {STORAGE} && {before} tee-supplicant -d --fs-parent-path {STORAGE}; }} || exit 1; \
         for i in $(seq 100); do ls -l /proc/$(pidof tee-supplicant)/fd | grep -q teepriv && exit 0; sleep 0.1; done; \
         echo tee-supplicant does not open its device >&2; exit 1"
    );
    caller.shell(&line).text().map(drop).map_err(Failed::from)
}

/// Guests that run.
pub(super) struct Callers {
    document: Document,
}

impl Callers {
    /// Starts so many, whose calls are all carried out alike.
    pub(super) fn start(context: &Context, guests: u8, mode: Mode) -> Result<Self, Failed> {
        Self::with(context, &vec![mode; guests.into()])
    }

    /// Starts one for each of these.
    pub(super) fn with(context: &Context, modes: &[Mode]) -> Result<Self, Failed> {
        Self::given(context, modes, &[])
    }

    /// Starts so many whose calls are mediated, and of which each has applications of its own: no other guest meets its objects.
    pub(super) fn apart(context: &Context, guests: u8) -> Result<Self, Failed> {
        let signed = signed::artefact(&Workshop::open())?;
        let own = signed::applications(&signed)?;
        let dom0 = context.dom0();
        for number in signed::NUMBERS.take_while(|number| *number <= guests) {
            for application in &own {
                let file = signed.file(&signed::file(application, number));
                let uuid = signed::uuid(application, number);
                dom0.put_file(&file, &format!("{LOADED}/{uuid}.ta"))?;
            }
        }
        Self::given(context, &vec![Mode::Mediated; guests.into()], &own)
    }

    fn given(context: &Context, modes: &[Mode], own: &[String]) -> Result<Self, Failed> {
        let mut all = Vec::new();
        if modes.contains(&Mode::Mediated) {
            mediator(context)?;
            all = userland::applications(&userland::artefact(&Workshop::open())?)?;
            all.extend(BUILT_IN.map(str::to_owned));
        }
        let document = Document::put(context, "tee", &document(modes, &all, own), TIME)?;
        document.up(context)?;
        Ok(Self { document })
    }

    /// Each, ready to call.
    pub(super) fn all(&self, context: &Context) -> Result<Vec<Remote>, Failed> {
        let guests = self.document.plan.domains.iter();
        guests
            .map(|domain| {
                let guest = context.guest(&domain.name)?;
                prepare(&guest)?;
                Ok(guest)
            })
            .collect()
    }

    /// Has each do something, all at once.
    pub(super) fn at_once<T: Send>(
        &self,
        context: &Context,
        body: impl Fn(&Remote) -> Result<T, Failed> + Sync,
    ) -> Result<Vec<T>, Failed> {
        let (guests, body) = (self.all(context)?, &body);
        std::thread::scope(|scope| {
            let threads: Vec<_> = guests
                .iter()
                .map(|guest| scope.spawn(move || body(guest)))
                .collect();
            let end = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                let panicked = |_| Err(Failed("its thread panicked".into()));
                thread.join().unwrap_or_else(panicked)
            };
            threads.into_iter().map(end).collect()
        })
    }

    /// Ends them, whatever `outcome` is.
    pub(super) fn end(&self, context: &Context, outcome: Outcome) -> Outcome {
        self.document.down(context, outcome)
    }
}

/// The mediator runs in dom0, which is ready to call itself.
pub(super) fn mediator(context: &Context) -> Outcome {
    let dom0 = context.dom0();
    prepare(&dom0)?;
    dom0.shell(&format!(
        "pidof avps-tee > /dev/null || {{ avps-tee > {LOG} 2>&1 & }}; \
         for i in $(seq 100); do [ \"$(xenstore-read data/avps-tee/ready 2>/dev/null)\" = 1 ] && exit 0; sleep 0.1; done; \
         cat {LOG}; exit 1"
    ))
    .text()?;
    Ok(())
}

/// Ends the mediator in order, and starts it again; guests go on.
pub(super) fn restart_mediator(context: &Context) -> Outcome {
    // It is told by way of the process that looks after the daemon.
    context.sh(
        "kill $(cut -d ' ' -f 4 /proc/$(xenstore-read data/avps-tee/pid)/stat); \
         for i in $(seq 100); do pidof avps-tee > /dev/null || exit 0; sleep 0.1; done; exit 1",
    )?;
    mediator(context)
}

/// A document with a guest for each mode; `all` are the applications that there are, and of `own` each but the first guest has
/// one that was signed for it.
fn document(modes: &[Mode], all: &[String], own: &[String]) -> String {
    let mut text = "schema = \"avps/1\"\n[platform]\nname = \"tee\"\n".to_owned();
    for (number, mode) in (1..).zip(modes) {
        let word = mode.word();
        let rights = match mode {
            Mode::Hypervisor | Mode::Ffa => String::new(),
            Mode::Mediated => {
                let own = if signed::NUMBERS.contains(&number) {
                    own
                } else {
                    &[]
                };
                let shared = all.iter().filter(|application| !own.contains(application));
                let shared: Vec<&String> = shared.collect();
                format!(
                    ", sessions = 64, shared_memory = \"{SHARED_MEMORY_MIB}MiB\", concurrency = 8, \
                     applications = {shared:?}, stand_in = [{}]",
                    stand_ins(own, number)
                )
            }
        };
        let rights = format!("tee = {{ mode = \"{word}\"{rights} }}");
        text += &guest(&format!("{word}-{number}"), "256MiB", &rights);
    }
    text
}

fn stand_ins(own: &[String], number: u8) -> String {
    let one = |application: &String| {
        let opens = signed::uuid(application, number);
        format!("{{ application = \"{application}\", opens = \"{opens}\" }}")
    };
    own.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A guest in a document that has the programs which call OP-TEE; `more` are further keys, and tables of its own.
pub(super) fn guest(name: &str, memory: &str, more: &str) -> String {
    format!(
        "[[domain]]\nname = \"{name}\"\nkernel = \"/usr/lib/avps/guest/Image\"\n\
         ramdisk = \"/usr/lib/avps/tee/initramfs.cpio\"\ncmdline = \"console=hvc0 quiet\"\nmemory = \"{memory}\"\n{more}\n"
    )
}
