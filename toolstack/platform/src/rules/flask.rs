//! Rules about driver domains and Xen's security module.

use super::rules;

rules! {
    /// A driver domain serves virtio devices, and no policy lets it.
    DRIVER_WITHOUT_FLASK = "AVPS0650", "driver-without-flask", Error,
        help "write flask = \"enforcing\" into [xen]; avpsctl emit flask writes the policy",
        why "For Xen, the domain that emulates a guest's virtio registers is the guest's device model. Xen's default \
             rules (XSM dummy) give that right only to the control domain, and to a domain that was created for this \
             one guest. SILO, the default of many builds, also forbids grants between guests. Only a FLASK policy can \
             let a driver domain serve several guests.",
        source "Xen: xen/include/xsm/dummy.h, XSM_DM_PRIV; xen/xsm/silo.c; tried on Xen 4.20";
}
