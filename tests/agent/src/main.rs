//! `bed-agent`: PID 1 in dom0 and in the bed's guests; `bed-agent serve` is its serving child.

use agent::init;

fn main() {
    let serving = std::env::args().nth(1).as_deref() == Some("serve");
    let ended = if serving {
        init::serve_here()
    } else {
        init::run()
    };
    if let Err(e) = ended {
        init::complain(&e.to_string());
        std::process::exit(1);
    }
}
