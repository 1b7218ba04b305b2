//! `avps-backend-probe`; see the library's module `probe`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    avps_backend::probe_main()
}
