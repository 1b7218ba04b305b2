//! Offsets of the virtio-mmio registers (virtio 1.3 §4.2.2, table "MMIO Device Register Layout").

/// "virt" (read).
pub const MAGIC_VALUE: u64 = 0x000;
/// Version 2 (read).
pub const VERSION: u64 = 0x004;
/// Device type, 0 for an empty slot (read).
pub const DEVICE_ID: u64 = 0x008;
/// Vendor (read).
pub const VENDOR_ID: u64 = 0x00c;
/// Features offered, half chosen by [`DEVICE_FEATURES_SEL`] (read).
pub const DEVICE_FEATURES: u64 = 0x010;
/// Half of the offered features (write).
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
/// Features accepted, half chosen by [`DRIVER_FEATURES_SEL`] (write).
pub const DRIVER_FEATURES: u64 = 0x020;
/// Half of the accepted features (write).
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
/// Queue the queue registers are about (write).
pub const QUEUE_SEL: u64 = 0x030;
/// Largest size of the queue, 0 if there is none (read).
pub const QUEUE_SIZE_MAX: u64 = 0x034;
/// Size of the queue (write).
pub const QUEUE_SIZE: u64 = 0x038;
/// Queue in use (read, write).
pub const QUEUE_READY: u64 = 0x044;
/// Number of a queue with something new (write).
pub const QUEUE_NOTIFY: u64 = 0x050;
/// Why the interrupt came (read).
pub const INTERRUPT_STATUS: u64 = 0x060;
/// Bits of [`INTERRUPT_STATUS`] that are dealt with (write).
pub const INTERRUPT_ACK: u64 = 0x064;
/// Device status; writing 0 resets (read, write).
pub const STATUS: u64 = 0x070;
/// Descriptor table, low half of the address (write).
pub const QUEUE_DESC_LOW: u64 = 0x080;
/// Descriptor table, high half.
pub const QUEUE_DESC_HIGH: u64 = 0x084;
/// Available ring, low half of the address (write).
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
/// Available ring, high half.
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
/// Used ring, low half of the address (write).
pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
/// Used ring, high half.
pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
/// Shared memory region the following are about (write).
pub const SHM_SEL: u64 = 0x0ac;
/// Its length, low half; all ones if there is none (read).
pub const SHM_LEN_LOW: u64 = 0x0b0;
/// Its length, high half.
pub const SHM_LEN_HIGH: u64 = 0x0b4;
/// Its address, low half (read).
pub const SHM_BASE_LOW: u64 = 0x0b8;
/// Its address, high half.
pub const SHM_BASE_HIGH: u64 = 0x0bc;
/// Changes with the configuration space (read).
pub const CONFIG_GENERATION: u64 = 0x0fc;
/// Start of the configuration space.
pub const CONFIG: u64 = 0x100;
