//! Virtio devices.

use super::rules;

rules! {
    /// More virtio devices than Xen has interrupts for.
    TOO_MANY_VIRTIO = "AVPS0201", "too-many-virtio-devices", Error,
        help "use at most 11 virtio devices per domain",
        why "Xen's Arm guests have interrupts 33 to 43 for virtio-mmio, one per device.",
        source "Xen: xen/include/public/arch-arm.h, GUEST_VIRTIO_MMIO_SPI_FIRST and _LAST";
    /// A memory model that is not built yet.
    POOL_MEMORY = "AVPS0202", "pool-memory", Error,
        help "use memory = \"grant\"; in dom0 also \"foreign\"",
        why "The pool model needs a region that guest and backend agreed on before boot. No backend \
             serves it yet, and falling back to another model would break the isolation it promises.",
        source "this project's design: memory models";
    /// A block size no virtio driver expects.
    BLOCK_SIZE = "AVPS0204", "block-size", Error,
        help "use 512 or 4096",
        why "Guests expect the sector sizes of real disks; a file system made for one size cannot \
             be mounted with another.",
        source "Virtio 1.3, 5.2.4 (blk_size)";
    /// Two devices write to one image.
    IMAGE_SHARED = "AVPS0205", "image-written-twice", Error,
        help "give each domain an image of its own, or make all but one readonly = true",
        why "Two kernels that write to one disk destroy its file system within minutes.",
        source "platform document, schema avps/1";
    /// One device writes what another reads.
    IMAGE_READ_WHILE_WRITTEN = "AVPS0206", "image-read-while-written", Warning,
        help "make every user of the image readonly = true, or use a copy",
        why "The reader keeps old blocks in its page cache and sees an inconsistent file system.",
        source "platform document, schema avps/1";
    /// A serial number the device cannot report.
    SERIAL = "AVPS0207", "serial", Error,
        help "use 1 to 20 printable ASCII characters",
        why "VIRTIO_BLK_T_GET_ID answers with 20 bytes.",
        source "Virtio 1.3, 5.2.6 (VIRTIO_BLK_T_GET_ID)";
}
