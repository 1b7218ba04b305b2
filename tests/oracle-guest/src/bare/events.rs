//! Event channels that the layout made: this guest only uses them.

use super::console::report;
use super::{cpu, hypercall, memory};

/// Where the shared-info page is shown: in Xen's guest layout this page (`GUEST_MAGIC_BASE`) is never RAM.
const SHARED_INFO: u64 = 0x3900_0000;
/// Of `evtchn_pending` in `struct shared_info`, which on Arm begins with one `struct vcpu_info` of 48 bytes.
const PENDING: u64 = 48;
const PATIENCE_MS: u64 = 2000;

/// Notifies, and reports what Xen says.
pub(super) fn send(port: u32) {
    tell_status(port);
    report!("sent {port} result={}", hypercall::send(port));
}

/// Waits until the port is pending.
pub(super) fn wait(port: u32) {
    tell_status(port);
    let mapped = hypercall::map_shared_info(SHARED_INFO >> 12);
    if mapped != 0 {
        report!("got {port} impossible: shared info {mapped}");
        return;
    }
    let word = SHARED_INFO + PENDING + u64::from(port / 64) * 8;
    let pending = || (memory::load(word) >> (port % 64) & 1 == 1).then_some(());
    let got = port < 4096 && cpu::wait_for(PATIENCE_MS, pending).is_some();
    report!("got {port} {got}");
}

fn tell_status(port: u32) {
    match hypercall::status(port) {
        Ok(found) => report!(
            "evtchn {port} status={} remote={}:{}",
            found.status,
            found.remote_domain,
            found.remote_port
        ),
        Err(error) => report!("evtchn {port} error={error}"),
    }
}
