//! xtask whose file was replaced while it runs, as `cargo test` does to the xtask that called it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn the_bed_is_started_though_the_programs_file_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::copy(env!("CARGO_BIN_EXE_xtask"), path("xtask")).unwrap();
    let qemu = path("qemu-system-aarch64");
    fs::write(&qemu, "#!/bin/sh\necho \"$*\" > \"$STARTED\"\n").unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "exec 9< xtask && rm xtask && exec /proc/self/fd/9 shell",
        ])
        .current_dir(dir.path())
        .env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()))
        .env("CARGO_TARGET_DIR", path("target"))
        .env("STARTED", path("started"))
        .env("AVPS_BED_XEN", "xen")
        .env("AVPS_BED_KERNEL", "Image")
        .env("AVPS_BED_INITRAMFS", "initramfs")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let arguments = fs::read_to_string(path("started")).expect(&told);
    assert!(arguments.contains("-kernel xen"), "{arguments}");
    assert!(told.contains("QEMU"), "{told}");
    assert!(!output.status.success());
}
