//! This machine: its files and its memory.

use super::rules;

rules! {
    /// A kernel that is not on this machine.
    KERNEL_FILE = "AVPS0301", "kernel-file", Error,
        help "put the kernel there or correct the path",
        why "libxl reads the kernel when the domain is created.",
        source "Xen: tools/libs/guest/xg_dom_core.c";
    /// A ramdisk that is not on this machine.
    RAMDISK_FILE = "AVPS0302", "ramdisk-file", Error,
        help "put the ramdisk there or correct the path",
        why "libxl reads the ramdisk when the domain is created.",
        source "Xen: tools/libs/guest/xg_dom_core.c";
    /// An image that is not on this machine, or cannot be opened.
    IMAGE_FILE = "AVPS0303", "image-file", Error,
        help "create it, for example with truncate -s 64M FILE, or correct the path",
        why "The backend opens the image before the guest starts; without it the device stays empty.",
        source "this project's design: the backend reports ready before the guest starts";
    /// An image that does not end on a block.
    IMAGE_SIZE = "AVPS0304", "image-size", Error,
        help "make the image a multiple of its block size with truncate -s",
        why "A virtio disk has whole sectors; the last bytes of the image would be unreachable.",
        source "Virtio 1.3, 5.2.4 (capacity)";
    /// The domains want more memory than this machine has.
    MEMORY_BEYOND_HOST = "AVPS0305", "memory-beyond-host", Error,
        help "give the domains less memory",
        why "Xen has no overcommitment on Arm: each domain's memory is taken when it is created.",
        source "Xen: tools/libs/guest/xg_dom_arm.c";
    /// A partial device tree that is not on this machine.
    DEVICE_TREE_FILE = "AVPS0306", "device-tree-file", Error,
        help "put it there; for a domain with assigned devices, avpsctl emit partial-dtb generates it",
        why "libxl reads the partial device tree when the domain is created, and puts it into the guest's.",
        source "Xen: tools/libs/light/libxl_arm.c, copy_partial_fdt";
}
