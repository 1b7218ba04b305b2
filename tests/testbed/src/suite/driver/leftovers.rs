//! A guest that is destroyed leaves nothing, in the driver domains that served it neither.

use super::super::{Context, Failed, Outcome, Test, ensure};
use super::platform;
use agent::client::Remote;
use std::collections::BTreeMap;
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
        let guest = context.guest("alpha")?;
        guest
            .shell("for d in a b c; do (while dd if=/dev/zero of=/dev/vd$d bs=64k count=64 oflag=direct; do :; done) > /dev/null 2>&1 & done")
            .text()?;
        all_written(&guest)?;
        // Whoever looks where nothing of a running guest is seen sees nothing of a destroyed one either.
        for (place, found) in traces(context, alpha)? {
            ensure(!found.is_empty(), || {
                format!("{place} shows nothing of the guest while it runs")
            })?;
        }
        // The supervisor starts guests again that crash; one that is destroyed is no longer its affair.
        context.sh(line)?;
        let until = Instant::now() + context.within(PATIENCE);
        loop {
            let mut left = traces(context, alpha)?;
            left.retain(|_, found| !found.is_empty());
            if left.is_empty() {
                break;
            }
            ensure(Instant::now() < until, || format!("after {line}: {left:?}"))?;
            std::thread::sleep(Duration::from_millis(300));
        }
        document.up(context)?;
    }
    Ok(())
}

/// Waits until the guest has written to each of its three disks in driver domains.
fn all_written(guest: &Remote) -> Outcome {
    let until = Instant::now() + PATIENCE;
    loop {
        // The seventh figure: sectors written.
        let line =
            "cat /sys/block/vda/stat /sys/block/vdb/stat /sys/block/vdc/stat | awk '{ print $7 }'";
        let text = guest.shell(line).text()?;
        let sectors: Vec<u64> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
        if sectors.len() == 3 && sectors.iter().all(|count| *count > 0) {
            return Ok(());
        }
        ensure(Instant::now() < until, || {
            format!("sectors written to the three disks: {text}")
        })?;
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What there is of a guest, by where it is seen. Xen keeps the number of a domain while a grant of it is mapped or an ioreq
/// server of it exists.
fn traces(context: &Context, guest: u16) -> Result<BTreeMap<&'static str, String>, Failed> {
    let domain = context.sh(&format!("xl list | awk '$(NF - 4) == {guest}'"))?;
    let store = context.sh("xenstore-ls -f /")?;
    let mut traces = BTreeMap::from([
        ("xl list", domain),
        ("xenstore-ls", keys_of(&store, guest).join("\n")),
    ]);
    for driver in ["storage", "spare"] {
        let line = format!(
            "ps -o pid,args | grep -E 'avps-backend worker --guest {guest} ' | grep -v grep; ls /run/avps/devices 2>/dev/null | grep '^{guest}-' || true"
        );
        traces.insert(driver, context.guest(driver)?.shell(&line).text()?);
    }
    Ok(traces)
}

/// The lines of `xenstore-ls -f /` that are about a domain: its own, and those of whoever serves it.
pub(super) fn keys_of(store: &str, domain: u16) -> Vec<&str> {
    let id = domain.to_string();
    let of = |line: &&str| {
        let path = line.split(" = ").next().unwrap_or(line);
        match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["local", "domain", own, ..] | ["libxl", own, ..] if *own == id => true,
            ["local", "domain", _, "backend", _, served, ..] => *served == id,
            ["local", "domain", _, "data", _, "guests", served, ..] => *served == id,
            _ => false,
        }
    };
    store.lines().filter(of).collect()
}

#[cfg(test)]
mod tests {
    use super::keys_of;

    #[test]
    fn what_the_store_has_of_a_domain_is_found_wherever_it_is() {
        let of_seven = [
            "/local/domain/7 = \"\"",
            "/local/domain/7/name = \"alpha\"",
            "/local/domain/7/backend/virtio/9/0 = \"\"",
            "/libxl/7/type = \"pvh\"",
            "/local/domain/3/backend/virtio/7/0 = \"\"",
            "/local/domain/3/data/avps-backend/guests/7 = \"\"",
        ];
        for line in of_seven {
            assert_eq!(keys_of(line, 7), [line]);
        }
        let of_others = "/local/domain/3/backend/virtio/17/7 = \"\"\n/local/domain/70/name = \"7\"\n/libxl/17 = \"\"\n\
             /local/domain/7-gone = \"\"\n/tool/7 = \"\"";
        assert!(keys_of(of_others, 7).is_empty());
        assert!(keys_of("", 7).is_empty());
    }
}
