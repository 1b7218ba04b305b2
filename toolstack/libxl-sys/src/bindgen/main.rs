//! Makes the checked-in bindings from libxl's headers, or compares them with what it would make.
//!
//! It needs libclang and the headers it is told; where either is missing it fails, because a
//! comparison that did not take place must not look like one that went well.

mod allow;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A release this crate has a binding for, and the interface its newest functions have there.
struct Release {
    name: &'static str,
    module: &'static str,
    api_version: &'static str,
}

const RELEASES: &[Release] = &[
    Release {
        name: "4.17",
        module: "v4_17",
        api_version: "0x041400",
    },
    Release {
        name: "4.20",
        module: "v4_20",
        api_version: "0x041800",
    },
];

/// Targets a binding must be right for, with the C library headers Debian keeps for each.
const TARGETS: &[(&str, &[&str])] = &[
    (
        "aarch64-unknown-linux-gnu",
        &["/usr/aarch64-linux-gnu/include"],
    ),
    (
        "x86_64-unknown-linux-gnu",
        &["/usr/include/x86_64-linux-gnu", "/usr/include"],
    ),
];

const USAGE: &str = "usage: libxl-sys-bindgen [--check] RELEASE=DIR...
RELEASE is 4.17 or 4.20; DIR is the usr/include of that release's unpacked libxen-dev.
With --check nothing is written: the exit code says whether the checked-in files are the ones
that would be made.";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("libxl-sys-bindgen: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let mut check = false;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        if argument == "--check" {
            check = true;
            continue;
        }
        let (name, directory) = argument.split_once('=').ok_or(USAGE)?;
        let release = RELEASES
            .iter()
            .find(|release| release.name == name)
            .ok_or_else(|| format!("no binding is kept for Xen {name}\n{USAGE}"))?;
        wanted.push((release, PathBuf::from(directory)));
    }
    if wanted.is_empty() {
        return Err(USAGE.into());
    }
    let mut same = true;
    for (release, headers) in wanted {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src")
            .join(release.module)
            .with_extension("rs");
        let text = generate(release, &headers)?;
        if !check {
            fs::write(&path, text)?;
            println!("Xen {}: {} written", release.name, path.display());
        } else if fs::read_to_string(&path)? == text {
            println!("Xen {}: the checked-in binding is current", release.name);
        } else {
            println!(
                "Xen {}: {} is not what its headers give; run without --check and look at the \
                 difference",
                release.name,
                path.display()
            );
            same = false;
        }
    }
    Ok(same)
}

/// The whole text of one release's module.
fn generate(release: &Release, headers: &Path) -> Result<String> {
    let mut bodies = Vec::new();
    for (target, system) in TARGETS {
        bodies.push((target, bind(release, headers, target, system)?));
    }
    let mut bodies = bodies.into_iter();
    let (first_target, body) = bodies.next().ok_or("no targets")?;
    for (target, other) in bodies {
        if let Some((ours, theirs)) = body.lines().zip(other.lines()).find(|(a, b)| a != b) {
            return Err(format!(
                "Xen {}: {first_target} and {target} differ:\n  {ours}\n  {theirs}\n\
                 take the type out of the allow-list, or into src/xentoollog.rs's company",
                release.name
            )
            .into());
        }
        if body.len() != other.len() {
            return Err(format!("Xen {}: the targets differ in length", release.name).into());
        }
    }
    Ok(format!(
        "// Made by libxl-sys-bindgen from the headers of Xen {}; do not edit.\n\
         // headers sha256 {}\n\
         // body sha256 {}\n\n{body}",
        release.name,
        hash_headers(headers)?,
        hex(&Sha256::digest(body.as_bytes())),
    ))
}

/// Runs bindgen for one target.
fn bind(release: &Release, headers: &Path, target: &str, system: &[&str]) -> Result<String> {
    if !headers.join("libxl.h").is_file() {
        return Err(format!("{} has no libxl.h", headers.display()).into());
    }
    for directory in system {
        if !Path::new(directory).is_dir() {
            return Err(format!(
                "{target}'s C library headers are not in {directory} (Debian: libc6-dev, \
                 libc6-dev-arm64-cross)"
            )
            .into());
        }
    }
    let mut builder = bindgen::Builder::default()
        .header_contents(
            "wrapper.h",
            "#include <poll.h>\n#include <sys/time.h>\n#include <libxl.h>\n\
             #include <libxl_utils.h>\n#include <libxl_event.h>\n",
        )
        .clang_arg(format!("--target={target}"))
        .clang_arg("-nostdlibinc")
        .clang_arg(format!("-I{}", headers.display()))
        .clang_arg(format!("-DLIBXL_API_VERSION={}", release.api_version))
        .clang_args(
            system
                .iter()
                .map(|directory| format!("-isystem{directory}")),
        )
        .rust_target(rust_target()?)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .formatter(bindgen::Formatter::Prettyplease)
        .disable_header_comment()
        .use_core()
        .generate_comments(false)
        .layout_tests(true)
        .prepend_enum_name(false)
        .wrap_unsafe_ops(true)
        .dynamic_library_name("Libxenlight")
        .dynamic_link_require_all(true);
    for function in allow::FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for name in allow::TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in allow::OPAQUE {
        builder = builder.allowlist_type(name).opaque_type(name);
    }
    for name in allow::UNBOUND {
        builder = builder.blocklist_type(name);
    }
    for (name, replacement) in allow::FOREIGN {
        builder = builder
            .blocklist_type(name)
            .raw_line(format!("use {replacement};"));
    }
    Ok(builder.generate()?.to_string())
}

/// The oldest compiler the bindings must suit that bindgen has heard of (it needs to know 2024).
fn rust_target() -> Result<bindgen::RustTarget> {
    bindgen::RustTarget::stable(90, 0).map_err(|error| error.to_string().into())
}

/// One hash over the names and contents of all of libxl's own headers.
fn hash_headers(headers: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(headers)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| {
                    name.trim_start_matches('_').starts_with("libxl") || name == "xentoollog.h"
                })
        })
        .collect();
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(Sha256::digest(fs::read(&file)?));
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
