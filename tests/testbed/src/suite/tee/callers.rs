//! Domains that call OP-TEE: dom0, and guests whose calls Xen's mediator carries out.

use super::super::document::Document;
use super::super::{Context, Failed, Outcome};
use agent::client::Remote;
use std::time::Duration;

/// Guests that OP-TEE has room for: it is built for two domains, and dom0 is one.
pub(super) const MOST: u8 = 1;
/// Where secure storage lies, sealed, in each domain.
const STORAGE: &str = "/var/lib/tee";
/// Longest time of `avpsctl up` and `down`.
const TIME: Duration = Duration::from_secs(120);

/// Makes a domain ready to call: OP-TEE has it load applications and keep files. One that is ready stays so.
pub(super) fn prepare(caller: &Remote) -> Outcome {
    // It goes to the background when it serves. Some tests speak to themselves over the network.
    caller
        .shell(&format!(
            "pidof tee-supplicant > /dev/null || \
             {{ ip link set lo up && mkdir -p {STORAGE} && tee-supplicant -d --fs-parent-path {STORAGE}; }}"
        ))
        .text()?;
    Ok(())
}

/// Guests that run.
pub(super) struct Callers {
    document: Document,
}

impl Callers {
    /// Starts so many.
    pub(super) fn start(context: &Context, guests: u8) -> Result<Self, Failed> {
        let document = Document::put(context, "tee", &document(guests), TIME)?;
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

    /// Ends them, whatever `outcome` is.
    pub(super) fn end(&self, context: &Context, outcome: Outcome) -> Outcome {
        self.document.down(context, outcome)
    }
}

fn document(guests: u8) -> String {
    let guest = |number: u8| {
        format!(
            "[[domain]]\nname = \"caller-{number}\"\nkernel = \"/usr/lib/avps/guest/Image\"\n\
             ramdisk = \"/usr/lib/avps/tee/initramfs.cpio\"\ncmdline = \"console=hvc0 quiet\"\nmemory = \"256MiB\"\n\
             tee = {{ mode = \"hypervisor\" }}\n"
        )
    };
    let head = "schema = \"avps/1\"\n[platform]\nname = \"tee\"\n".to_owned();
    (1..=guests)
        .map(guest)
        .fold(head, |text, guest| text + &guest)
}
