//! What the document can say and nobody carries out: no program of this release, or nobody for a domain that is started this way. The other
//! rules judge it all the same, so a finding has to say that nothing comes of it.

use super::rules;

rules! {
    /// A network that nobody makes.
    NETWORK_PENDING = "AVPS1001", "network-not-made", Warning waivable true,
        help "remove the network, or state in a waiver who gives these domains their network interfaces",
        why "Nothing in this release makes a network or a network interface: the domains start without one, and \
             VLANs, priorities and reserved frames are only checked.",
        source "this project: avpsctl up and every emitter leave [[network]] out";
    /// A watchdog that nobody keeps.
    WATCHDOG_PENDING = "AVPS1002", "watchdog-not-kept", Warning error from B waivable true,
        help "make a watchdog device of the machine the domain's own ([[domain.device]]) and name it as the owner, or state in a waiver \
              who watches the domain",
        why "Nothing in this release arms, services or monitors a watchdog. Only a watchdog device that is assigned \
             to the domain works: the guest's driver sets its timeout and action. A guest that arms Xen's watchdog by \
             itself gets on_crash when it hangs, whatever action says.",
        source "this project: avpsctl up and every emitter leave watchdog out; Xen: xen/common/sched/core.c, do_watchdog";
    /// An IPC link that is memory and an event channel, and nothing else.
    IPC_PENDING = "AVPS1003", "link-without-protocol", Warning waivable true,
        help "use [[shared_memory]] and [[event_channel]], which promise no protocol, or state in a waiver which software of the guests \
              speaks it",
        why "Xen gives both domains the memory and the event channel, and that is all: no driver or library of this release speaks mailbox \
             or RPMsg over them, no guest is told the kind, and nothing keeps the receiver from writing.",
        source "this project: emit dom0less-dts writes the memory and the channel; Xen: xen/arch/arm/static-shmem.c";
    /// A key that means nothing for a domain that is started this way.
    KEY_WITHOUT_EFFECT = "AVPS1004", "key-without-effect", Warning,
        help "remove the key, or have the domain started the other way (boot)",
        why "Xen starts all dom0less domains together at boot, and nothing restarts them. So after, on_poweroff, \
             on_reboot and on_crash apply only to domains that the toolstack starts. enhanced and interrupts apply \
             only to dom0less domains: libxl always gives a domain XenStore, and chooses its interrupts.",
        source "Xen: docs/misc/arm/device-tree/booting.txt; xl.cfg(5)";
}
