//! Xen's public headers of each supported release, unpacked: what libxl's bindings are compared with.

use std::path::PathBuf;

use super::error::Result;
use super::key::Key;
use super::pins::{Pin, pick};
use super::{Workshop, apt, tools};

const PACKAGE: &str = "libxen-dev";
const RECIPE: u32 = 1;

/// A release, and the suites that have it.
const RELEASES: [(&str, apt::From); 2] =
    [("4.17", apt::From::Bookworm), ("4.20", apt::From::Trixie)];

fn pins(workshop: &Workshop) -> Result<Vec<Pin>> {
    let mut request = Key::new(RECIPE);
    request.value("package", PACKAGE);
    workshop.pins.get("xen-headers", &request, |step| {
        workshop.apt.update()?;
        let mut pins = Vec::new();
        for (_, suites) in RELEASES {
            pins.extend(pick(
                &workshop.apt,
                &workshop.downloads,
                &[PACKAGE],
                suites,
                None,
                step,
            )?);
        }
        Ok(pins)
    })
}

/// Each release with the `usr/include` of its headers.
pub(crate) fn folders(workshop: &Workshop) -> Result<Vec<(&'static str, PathBuf)>> {
    let pins = pins(workshop)?;
    let mut key = Key::new(RECIPE);
    for pin in &pins {
        pin.add_to(&mut key);
    }
    let artefact = workshop.store.ensure("xen-headers", &key, |build| {
        let files = workshop.fetch(&pins, &build.step)?;
        for ((release, _), file) in RELEASES.iter().zip(&files) {
            tools::unpack_deb(file, &build.out.join(release), &build.log)?;
        }
        Ok(())
    })?;
    Ok(RELEASES
        .iter()
        .map(|(release, _)| (*release, artefact.file(release).join("usr/include")))
        .collect())
}
