//! What became of a request, and who says so.

use crate::named::named;

named! {
    /// A TEE's result (`TEE_Result`, `TEEC_Result`). A trusted application may return any number.
    ///
    /// Numbers: lib/libutee/include/tee_api_defines.h of OP-TEE (GlobalPlatform TEE Internal Core API);
    /// `TEEC_*` of libteec/include/tee_client_api.h are the same.
    TeeResult {
        /// Done.
        SUCCESS = 0x0, "TEE_SUCCESS";
        /// A stored object is corrupt.
        CORRUPT_OBJECT = 0xf010_0001, "TEE_ERROR_CORRUPT_OBJECT";
        /// As `CORRUPT_OBJECT`, of the second kind.
        CORRUPT_OBJECT_2 = 0xf010_0002, "TEE_ERROR_CORRUPT_OBJECT_2";
        /// The storage cannot be reached now.
        STORAGE_NOT_AVAILABLE = 0xf010_0003, "TEE_ERROR_STORAGE_NOT_AVAILABLE";
        /// As `STORAGE_NOT_AVAILABLE`, of the second kind.
        STORAGE_NOT_AVAILABLE_2 = 0xf010_0004, "TEE_ERROR_STORAGE_NOT_AVAILABLE_2";
        /// A version that is not supported.
        UNSUPPORTED_VERSION = 0xf010_0005, "TEE_ERROR_UNSUPPORTED_VERSION";
        /// A ciphertext that does not decrypt.
        CIPHERTEXT_INVALID = 0xf010_0006, "TEE_ERROR_CIPHERTEXT_INVALID";
        /// No particular cause.
        GENERIC = 0xffff_0000, "TEE_ERROR_GENERIC";
        /// Not allowed: what a policy's refusal is.
        ACCESS_DENIED = 0xffff_0001, "TEE_ERROR_ACCESS_DENIED";
        /// Cancelled.
        CANCEL = 0xffff_0002, "TEE_ERROR_CANCEL";
        /// Somebody else is at it.
        ACCESS_CONFLICT = 0xffff_0003, "TEE_ERROR_ACCESS_CONFLICT";
        /// More data than the request takes.
        EXCESS_DATA = 0xffff_0004, "TEE_ERROR_EXCESS_DATA";
        /// Data of a wrong format.
        BAD_FORMAT = 0xffff_0005, "TEE_ERROR_BAD_FORMAT";
        /// Wrong parameters.
        BAD_PARAMETERS = 0xffff_0006, "TEE_ERROR_BAD_PARAMETERS";
        /// Not possible in this state.
        BAD_STATE = 0xffff_0007, "TEE_ERROR_BAD_STATE";
        /// There is no such thing.
        ITEM_NOT_FOUND = 0xffff_0008, "TEE_ERROR_ITEM_NOT_FOUND";
        /// Not implemented.
        NOT_IMPLEMENTED = 0xffff_0009, "TEE_ERROR_NOT_IMPLEMENTED";
        /// Valid, but not supported.
        NOT_SUPPORTED = 0xffff_000a, "TEE_ERROR_NOT_SUPPORTED";
        /// Data that should be there is not.
        NO_DATA = 0xffff_000b, "TEE_ERROR_NO_DATA";
        /// No resources left.
        OUT_OF_MEMORY = 0xffff_000c, "TEE_ERROR_OUT_OF_MEMORY";
        /// Busy.
        BUSY = 0xffff_000d, "TEE_ERROR_BUSY";
        /// A party could not be reached. Linux puts this where the SMC itself failed (drivers/tee/optee/call.c).
        COMMUNICATION = 0xffff_000e, "TEE_ERROR_COMMUNICATION";
        /// A security fault.
        SECURITY = 0xffff_000f, "TEE_ERROR_SECURITY";
        /// A buffer is too small; its size says how much is needed.
        SHORT_BUFFER = 0xffff_0010, "TEE_ERROR_SHORT_BUFFER";
        /// Cancelled from outside.
        EXTERNAL_CANCEL = 0xffff_0011, "TEE_ERROR_EXTERNAL_CANCEL";
        /// Waited too long.
        TIMEOUT = 0xffff_3001, "TEE_ERROR_TIMEOUT";
        /// A number or counter ran over.
        OVERFLOW = 0xffff_300f, "TEE_ERROR_OVERFLOW";
        /// The trusted application died.
        TARGET_DEAD = 0xffff_3024, "TEE_ERROR_TARGET_DEAD";
        /// The storage is full.
        STORAGE_NO_SPACE = 0xffff_3041, "TEE_ERROR_STORAGE_NO_SPACE";
        /// An authentication code does not match.
        MAC_INVALID = 0xffff_3071, "TEE_ERROR_MAC_INVALID";
        /// A signature does not match.
        SIGNATURE_INVALID = 0xffff_3072, "TEE_ERROR_SIGNATURE_INVALID";
        /// The time was never set.
        TIME_NOT_SET = 0xffff_5000, "TEE_ERROR_TIME_NOT_SET";
        /// The time must be set again.
        TIME_NEEDS_RESET = 0xffff_5001, "TEE_ERROR_TIME_NEEDS_RESET";
    }
}

named! {
    /// Where a result comes from (`TEE_ErrorOrigin`).
    ///
    /// Numbers: lib/libutee/include/tee_api_defines.h of OP-TEE.
    Origin {
        /// The client's library.
        API = 0x1, "TEE_ORIGIN_API";
        /// What lies between client and TEE.
        COMMS = 0x2, "TEE_ORIGIN_COMMS";
        /// The TEE itself.
        TEE = 0x3, "TEE_ORIGIN_TEE";
        /// The trusted application.
        TRUSTED_APP = 0x4, "TEE_ORIGIN_TRUSTED_APP";
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn a_result_shows_its_name_and_number_or_only_its_number() {
        assert_eq!(
            format!("{}", TeeResult::ACCESS_DENIED),
            "TEE_ERROR_ACCESS_DENIED (0xffff0001)"
        );
        assert_eq!(format!("{:?}", TeeResult(0x8000_0001)), "0x80000001");
        assert_eq!(format!("{}", Origin::TEE), "TEE_ORIGIN_TEE (0x3)");
    }
}
