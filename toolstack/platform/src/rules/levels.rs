//! Safety levels along dependences: what the function of a safety domain rests on needs its level (ISO 26262-9, 6).
//!
//! A rule names how the domain at fault reaches the next one; the finding shows the whole chain up to the domain whose
//! level is not met. Doors that no function needs are in `interference`.

use super::rules;

rules! {
    /// A virtio backend below the level of what it serves.
    BACKEND_LEVEL = "AVPS0901", "backend-below-level", Warning error from B waivable true,
        help "serve the device from a domain of that level; or, if the guest checks what it reads (dm-verity, authenticated \
              data, E2E) and does without what does not come, waive this with that as the reason",
        why "A grant limits which pages a backend can access, not what it answers: it can return wrong data, lose or \
             change what was written, or never answer. A driver domain is also a device model of its guest, and that \
             right cannot be restricted to certain addresses or interrupts. So it can take the place of the guest's \
             other backends, raise their interrupts, and stall a vCPU. On a Xen without the patch in configs/xen it \
             can also map the guest's grant table, and through it all of the guest's memory.",
        source "this project's design: memory models, and its tests of a driver domain that was taken over; Xen: \
                xen/common/ioreq.c, xen/common/memory.c (acquire_resource); Virtio 1.3, 5.2.6; ISO 26262-9, 6";
    /// A clock, reset, power domain or pin controller in the hands of a lower level.
    SUPPLIER_LEVEL = "AVPS0902", "supplier-below-level", Warning error from B waivable true,
        help "give the supplier to a domain of that level, or leave it to firmware that no domain can reach",
        why "Whoever owns the registers of a clock or power controller can stop the devices that depend on it, \
             whichever domain they belong to.",
        source "Linux: Documentation/devicetree/bindings/clock/clock.yaml and power/power-domain.yaml; ISO 26262-9, 6";
    /// A watchdog kept by a lower level.
    WATCHDOG_LEVEL = "AVPS0903", "watchdog-below-level", Warning error from B waivable true,
        help "make a domain of at least that level the owner, or a watchdog device that is the domain's own",
        why "An owner of a lower level can service the watchdog although the domain hangs, fail to service it \
             although the domain works, or switch it off.",
        source "Xen: xen/common/sched/core.c, domain_watchdog_timeout; ISO 26262-6, D.2.2";
    /// A domain that waits for one of a lower level.
    START_LEVEL = "AVPS0904", "start-below-level", Warning error from B waivable true,
        help "start the safety domain first, and let it do without the other one until that is there",
        why "If the domain that is waited for never becomes ready, the safety domain never starts.",
        source "this project's design: start order; ISO 26262-9, 6";
    /// A domain that can disturb what a safety domain rests on.
    LEVEL_BY_WAY_OF = "AVPS0905", "level-by-way-of-another", Warning error from B waivable true,
        help "break the chain at one of its links, or give every domain on it the level",
        why "A level is met only if everything that can make the domain fail meets it, also indirectly.",
        source "ISO 26262-9, 6 (coexistence of elements) and 7 (dependent failures)";
}
