//! Xen's public headers of each supported release, unpacked: what libxl's bindings are compared with.

use std::path::PathBuf;

use super::error::Result;
use super::groups::{OLDEST_XEN, Part, XEN};
use super::key::Key;
use super::pins::Pin;
use super::{Workshop, tools};

const RECIPE: u32 = 1;
const RELEASES: [&str; 2] = ["4.17", "4.20"];

/// Each release with the `usr/include` of its headers.
pub(crate) fn folders(workshop: &Workshop) -> Result<Vec<(&'static str, PathBuf)>> {
    let artefact = workshop.with_group(&XEN, |xen| {
        workshop.with_group(&OLDEST_XEN, |oldest| {
            let pins = files(xen, oldest);
            workshop
                .store
                .ensure("xen-headers", &key_of(&pins), |build| {
                    let files = workshop.fetch(&pins, &build.step)?;
                    for (release, file) in RELEASES.iter().zip(&files) {
                        tools::unpack_deb(file, &build.out.join(release), &build.log)?;
                    }
                    Ok(())
                })
        })
    })?;
    Ok(RELEASES
        .iter()
        .map(|release| (*release, artefact.file(release).join("usr/include")))
        .collect())
}

/// Everything that could change what is unpacked.
pub(crate) fn key(workshop: &Workshop) -> Result<Key> {
    let (xen, oldest) = (workshop.files_of(&XEN)?, workshop.files_of(&OLDEST_XEN)?);
    Ok(key_of(&files(&xen, &oldest)))
}

fn files(xen: &[Pin], oldest: &[Pin]) -> Vec<Pin> {
    [oldest.to_vec(), XEN.part(xen, Part::Headers)].concat()
}

fn key_of(pins: &[Pin]) -> Key {
    let mut key = Key::new(RECIPE);
    for pin in pins {
        pin.add_to(&mut key);
    }
    key
}
