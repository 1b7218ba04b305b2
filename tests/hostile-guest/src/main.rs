//! A hostile virtio driver that runs as root inside a Linux guest of the bed, and drives a real disk device by hand.
//!
//! It takes the device from the guest's kernel, maps its registers, grants pages to the backend's domain, and then does
//! whatever a driver can do wrong. Everything but timing follows from the seed. Afterwards it can show that a driver that
//! behaves is served again (`--prove`), and give the device back to the kernel (`--rebind`).
//!
//! It prints one JSON object. It must never say that it passed when a request that behaves was not served.

mod attack;
mod device;
mod pages;
mod random;
mod registers;
mod rings;

use std::process::ExitCode;

use clap::Parser;
use device::Device;
use pages::GrantedPages;
use registers::Window;

/// Drives a virtio disk of this guest in every wrong way.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The device's registers, as hexadecimal guest physical address; without it, the first virtio-mmio device.
    #[arg(long, value_parser = hexadecimal)]
    address: Option<u64>,
    /// The domain whose backend serves it.
    #[arg(long, default_value = "0")]
    backend: xen::DomId,
    /// Operations.
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// Decides what is done.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Show afterwards that a request that behaves is served.
    #[arg(long)]
    prove: bool,
    /// Give the device back to the kernel's driver afterwards.
    #[arg(long)]
    rebind: bool,
}

fn hexadecimal(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| format!("{text} is no hexadecimal number"))
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(passed) if passed => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostile-guest: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    let device = Device::find(options.address)?;
    let taken = device.unbind()?;
    let mut window = Window::map(device.address)?;
    let mut pages = GrantedPages::new(options.backend)?;
    let mut driver = attack::Driver::new(&mut window, &mut pages, options.seed);
    let identified = driver.identify();
    let mut notes: Vec<String> = identified.err().into_iter().collect();
    if notes.is_empty() {
        driver.attack(options.operations);
    }
    let mut served = 0;
    if options.prove && notes.is_empty() {
        match driver.prove() {
            Ok(requests) => served = requests,
            Err(seen) => notes.push(seen),
        }
    }
    let figures = driver.figures(served);
    driver.reset();
    drop(pages);
    if options.rebind && taken {
        device.bind()?;
    }
    let passed = notes.is_empty();
    let object = serde_json::json!({
        "name": "hostile-guest", "passed": passed, "figures": figures, "notes": notes,
    });
    println!("{object}");
    Ok(passed)
}
