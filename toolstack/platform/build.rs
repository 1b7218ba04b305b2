//! Makes the table of examples behind `avpsctl explain` from the fixtures: each file is named after the rule it is about.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let missing = || io::Error::other("cargo sets this variable");
    let manifest = env::var_os("CARGO_MANIFEST_DIR").ok_or_else(missing)?;
    let out = env::var_os("OUT_DIR").ok_or_else(missing)?;
    let fixtures = Path::new(&manifest).join("../../configs/fixtures");
    let mut code = String::new();
    for (name, folder) in [("BAD", fixtures.clone()), ("GOOD", fixtures.join("good"))] {
        println!("cargo::rerun-if-changed={}", folder.display());
        let _ = writeln!(code, "pub(super) static {name}: &[(&str, &str)] = &[");
        for file in files(&folder)? {
            let id = file.file_name().and_then(|name| name.to_str()?.get(..8));
            let path = file.to_str();
            if let (Some(id), Some(path)) = (id, path) {
                println!("cargo::rerun-if-changed={path}");
                let _ = writeln!(code, "    ({id:?}, include_str!({path:?})),");
            }
        }
        code.push_str("];\n");
    }
    fs::write(Path::new(&out).join("examples.rs"), code)
}

/// The documents of a folder, ordered; none where there is no folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
