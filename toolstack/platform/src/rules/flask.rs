//! Rules about driver domains and Xen's security module.

use super::rules;

rules! {
    /// A driver domain serves virtio devices, and no policy lets it.
    DRIVER_WITHOUT_FLASK = "AVPS0650", "driver-without-flask", Error,
        help "write flask = \"enforcing\" into [xen]; avpsctl emit flask writes the policy",
        why "Who answers for a guest's virtio registers is its device model to Xen. Its own rules give that right to the \
             control domain, and to a domain that is made for one guest. What lets a driver domain serve several is a FLASK \
             policy: SILO, the default of many builds, has no such thing and forbids grants between guests altogether.",
        source "Xen: xen/include/xsm/dummy.h, XSM_DM_PRIV; xen/xsm/silo.c; tried on Xen 4.20";
}
