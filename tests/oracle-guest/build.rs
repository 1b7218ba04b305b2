//! Tells the linker how the guest's image is laid out. Without the feature `bare` there is no image.

fn main() {
    println!("cargo:rerun-if-changed=image.ld");
    if std::env::var_os("CARGO_FEATURE_BARE").is_none() {
        return;
    }
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let arguments = [
        "-nostartfiles",
        "-nostdlib",
        "-Wl,-pie",
        "-Wl,--no-dynamic-linker",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=4096",
        &format!("-Wl,-T,{folder}/image.ld"),
    ];
    for argument in arguments {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
