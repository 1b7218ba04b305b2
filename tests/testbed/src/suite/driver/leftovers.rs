//! A guest that is destroyed leaves nothing, in the driver domains that served it neither.

use super::super::{Context, Failed, Outcome, Test, ensure};
use super::platform;
use std::time::{Duration, Instant};

/// How long the backends may take to let go.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "driver: a guest destroyed under load leaves no key, grant, ioreq server or process, in its driver domains neither",
        180,
        destroyed,
    )]
}

fn destroyed(context: &Context) -> Outcome {
    let document = platform::running(context)?;
    // Once as avpsctl does it, once by a toolstack that knows nothing of us and leaves a driver domain's folder to its backend.
    for line in ["avpsctl destroy alpha", "xl destroy alpha"] {
        let alpha = platform::domid(context, "alpha")?;
        context
            .guest("alpha")?
            .shell("for d in a b c; do (while dd if=/dev/zero of=/dev/vd$d bs=64k count=64 oflag=direct; do :; done) > /dev/null 2>&1 & done; sleep 1")
            .text()?;
        // The supervisor starts guests again that crash; one that is destroyed is no longer its affair.
        context.sh(line)?;
        let until = Instant::now() + context.within(PATIENCE);
        loop {
            let left = left_of(context, alpha)?;
            if left.is_empty() {
                break;
            }
            ensure(Instant::now() < until, || format!("after {line}: {left}"))?;
            std::thread::sleep(Duration::from_millis(300));
        }
        document.up(context)?;
    }
    Ok(())
}

/// What there is of a guest. Xen keeps the number of a domain while a grant of it is mapped or an ioreq server of it exists.
fn left_of(context: &Context, guest: u16) -> Result<String, Failed> {
    let mut left = context.sh(&format!(
        "xl list | awk '$(NF - 4) == {guest}'; \
         xenstore-ls -f / | grep -E '^/(local/domain/{guest}/|libxl/{guest}/|local/domain/[0-9]+/backend/[^/]+/{guest}(/| )|local/domain/[0-9]+/data/avps-backend/guests/{guest}(/| ))' || true"
    ))?;
    for driver in ["storage", "spare"] {
        let driver = context.guest(driver)?;
        left += &driver
            .shell(&format!(
                "ps -o pid,args | grep -E 'avps-backend worker --guest {guest} ' | grep -v grep; ls /run/avps/devices 2>/dev/null | grep '^{guest}-' || true"
            ))
            .text()?;
    }
    Ok(left)
}
