//! Sizes, and how much of anything there can be.

/// Bytes of a page of shared memory, whatever the guest's own pages are (`OPTEE_MSG_NONCONTIG_PAGE_SIZE`, optee_msg.h).
pub const PAGE_SIZE: u64 = 4096;

/// Addresses in one page of a list of pages; the entry behind them is the next list page's address (optee_msg.h,
/// `OPTEE_MSG_ATTR_NONCONTIG`).
pub const LIST_ENTRIES: u64 = PAGE_SIZE / LIST_ENTRY_LEN - 1;

/// Bytes of an entry in a list of pages (optee_msg.h, `OPTEE_MSG_ATTR_NONCONTIG`).
pub const LIST_ENTRY_LEN: u64 = 8;

/// Bytes of a message before its parameters (`struct optee_msg_arg`, optee_msg.h).
pub const HEADER_LEN: usize = 32;

/// Bytes of a parameter (`struct optee_msg_param`, optee_msg.h).
pub const PARAM_LEN: usize = 32;

/// Parameters a trusted application is given (`TEE_NUM_PARAMS`, lib/libutee/include/tee_api_defines.h; GlobalPlatform
/// TEE Client API).
pub const TA_PARAMS: usize = 4;

/// Parameters in front of those when a session is opened: who is called, and who calls (optee_msg.h,
/// `OPTEE_MSG_CMD_OPEN_SESSION`).
pub const META_PARAMS: usize = 2;

/// Most parameters of a message from a guest; Linux never sends more (`MAX_ARG_PARAM_COUNT`, drivers/tee/optee/call.c).
pub const MAX_PARAMS: usize = TA_PARAMS + META_PARAMS;

/// Most bytes of a message from a guest: more need never be copied.
pub const MAX_MESSAGE: usize = HEADER_LEN + MAX_PARAMS * PARAM_LEN;

/// A message lies at a multiple of so many bytes (alignment of `struct optee_msg_arg`, optee_msg.h).
pub const MESSAGE_ALIGN: u64 = 8;

/// With more parameters than this OP-TEE does not look at a message at all: a page holds no more
/// (`OPTEE_MSG_MAX_NUM_PARAMS`, optee_msg.h).
pub const PAGE_PARAMS: u32 = 127;

/// Parameters OP-TEE asks guests to leave room for behind each message, for its own requests
/// (`THREAD_RPC_MAX_NUM_PARAMS`, core/include/kernel/thread.h).
pub const RPC_PARAMS: u8 = 4;

/// Keys of notifications are below this when asynchronous notifications are not offered
/// (`OPTEE_DEFAULT_MAX_NOTIF_VALUE`, drivers/tee/optee/optee_private.h; Linux's bitmap has this many bits, though it
/// compares with `>`).
pub const NOTIFICATION_KEYS: u32 = 255;

const _: () = assert!(LIST_ENTRIES == 511);
const _: () = assert!(MAX_MESSAGE == 224);
const _: () = assert!(HEADER_LEN + PAGE_PARAMS as usize * PARAM_LEN == PAGE_SIZE as usize);
