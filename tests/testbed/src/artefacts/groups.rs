//! What is pinned, in groups: the files of a group are chosen together, and the first run after one of them has left the
//! archive chooses the whole group again.

use super::apt::{From, without_rebuild};
use super::error::{Error, Result};
use super::pins::{Pin, first, pick, tarballs};
use super::{Workshop, linux};
use crate::progress::Step;

/// Where a file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What the hypervisor is built from: its source, and the package with Debian's configuration of it.
    Hypervisor,
    /// Xen's tools and libraries in dom0.
    Tools,
    /// Xen's headers, which libxl's bindings are compared with.
    Headers,
    /// OP-TEE's binaries for TF-A.
    SecureWorld,
    /// OP-TEE's package for developers: the key and the script that sign applications.
    Signing,
    /// Programs of the normal world that call OP-TEE.
    Client,
    /// The group has one part.
    Whole,
}

/// A file that a group needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// Where it is used.
    part: Part,
    /// Whether it is the tarball of a source package.
    source: bool,
    /// The package. A name that ends in `-` goes on with a version.
    package: &'static str,
    /// Suites that it may come from.
    from: From,
}

/// How the files of a group are chosen.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// Each is the newest that can be had. Versions begin with this text.
    Newest(&'static str),
    /// All are of one version, the newest that is complete. It begins with this text.
    OneRelease(&'static str),
    /// The group knows.
    Own(fn(&Workshop, &Step) -> Result<Vec<Pin>>),
}

/// Files that are pinned together.
pub(crate) struct Group {
    /// Its table in the file of pins.
    pub(crate) name: &'static str,
    /// Its files, in the order in which they are pinned.
    pub(crate) wants: &'static [Want],
    /// How they are chosen.
    pub(crate) rule: Rule,
}

const fn package(part: Part, package: &'static str, from: From) -> Want {
    Want {
        part,
        source: false,
        package,
        from,
    }
}

const fn source(part: Part, package: &'static str) -> Want {
    Want {
        part,
        source: true,
        package,
        from: From::Anywhere,
    }
}

const fn tool(name: &'static str) -> Want {
    package(Part::Tools, name, From::Anywhere)
}

const fn userland(name: &'static str) -> Want {
    package(Part::Whole, name, From::Trixie)
}

const fn client(name: &'static str) -> Want {
    package(Part::Client, name, From::Trixie)
}

/// The hypervisor, its tools and its headers.
pub(crate) const XEN: Group = Group {
    name: "xen",
    wants: &[
        source(Part::Hypervisor, "xen"),
        package(
            Part::Hypervisor,
            "xen-hypervisor-4.20-arm64",
            From::Anywhere,
        ),
        tool("xen-utils-4.20"),
        tool("xen-utils-common"),
        tool("xenstore-utils"),
        tool("libxenmisc4.20"),
        tool("libxencall1"),
        tool("libxendevicemodel1"),
        tool("libxenevtchn1"),
        tool("libxenforeignmemory1"),
        tool("libxengnttab1"),
        tool("libxenhypfs1"),
        tool("libxenstore4"),
        tool("libxentoolcore1"),
        tool("libxentoollog1"),
        package(Part::Headers, "libxen-dev", From::Anywhere),
    ],
    rule: Rule::OneRelease("4.20."),
};

/// Headers of the oldest Xen that libxl's bindings support.
pub(crate) const OLDEST_XEN: Group = Group {
    name: "oldest-xen",
    wants: &[package(Part::Headers, "libxen-dev", From::Bookworm)],
    rule: Rule::Newest("4.17."),
};

/// What Xen's tools need, a shell for Xen's hotplug scripts, and ext4's tools.
pub(crate) const USERLAND: Group = Group {
    name: "userland",
    wants: &[
        userland("busybox-static"),
        userland("bash"),
        userland("e2fsprogs"),
        userland("libblkid1"),
        userland("libbz2-1.0"),
        userland("libc6"),
        userland("libcom-err2"),
        userland("libext2fs2t64"),
        userland("libfdt1"),
        userland("libgcc-s1"),
        userland("liblzma5"),
        userland("liblzo2-2"),
        userland("libmd0"),
        userland("libncurses6"),
        userland("libss2"),
        userland("libtinfo6"),
        userland("libuuid1"),
        userland("libyajl2"),
        userland("libzstd1"),
        userland("strace"),
        userland("zlib1g"),
    ],
    rule: Rule::Newest(""),
};

/// The kernel of dom0 and guests.
pub(crate) const LINUX: Group = Group {
    name: "linux",
    wants: &[package(Part::Whole, "linux-source-", From::Anywhere)],
    rule: Rule::Own(linux::choose),
};

/// The firmware: its release with long-term support, which Debian 13 has.
pub(crate) const TF_A: Group = Group {
    name: "tf-a",
    wants: &[source(Part::Whole, "arm-trusted-firmware")],
    rule: Rule::Newest("2.12."),
};

/// OP-TEE's binaries, all of Debian 13: what calls it must be of its release.
pub(crate) const OPTEE: Group = Group {
    name: "optee",
    wants: &[
        package(Part::SecureWorld, "optee-os", From::Trixie),
        package(Part::Signing, "optee-os-dev", From::Trixie),
        client("tee-supplicant"),
        client("libteec2"),
        client("libckteec0t64"),
        client("optee-test-qemu"),
        client("libssl3t64"),
    ],
    rule: Rule::Newest(""),
};

/// OP-TEE's source, for a secure world that is called by FF-A.
pub(crate) const OPTEE_SOURCE: Group = Group {
    name: "optee-source",
    wants: &[source(Part::Whole, "optee-os")],
    rule: Rule::Newest(""),
};

/// The standard library of Debian's Rust for arm64, for each release of Debian that has such a Rust.
pub(crate) const RUST_STD: Group = Group {
    name: "rust-std",
    wants: &[
        package(Part::Whole, "libstd-rust-web-dev", From::Bookworm),
        package(Part::Whole, "libstd-rust-web-dev", From::Trixie),
    ],
    rule: Rule::Newest(""),
};

/// All groups, in the order of the file of pins.
pub(crate) const ALL: [&Group; 8] = [
    &XEN,
    &USERLAND,
    &LINUX,
    &TF_A,
    &OPTEE,
    &OPTEE_SOURCE,
    &OLDEST_XEN,
    &RUST_STD,
];

impl Want {
    fn is(&self, pin: &Pin) -> bool {
        let named = if self.package.ends_with('-') {
            pin.package.starts_with(self.package)
        } else {
            pin.package == self.package
        };
        named && self.source != pin.remote.file.ends_with(".deb")
    }
}

impl Group {
    /// The files of one part.
    pub(crate) fn part(&self, pins: &[Pin], part: Part) -> Vec<Pin> {
        let of_part = |(want, pin): (&Want, &Pin)| (want.part == part).then(|| pin.clone());
        self.wants.iter().zip(pins).filter_map(of_part).collect()
    }

    /// What is wrong with these as the group's files: other packages than it needs, or a mix of releases where it must be one.
    pub(crate) fn problem(&self, pins: &[Pin]) -> Option<String> {
        let fits = pins.len() == self.wants.len()
            && self.wants.iter().zip(pins).all(|(want, pin)| want.is(pin));
        if !fits {
            let wanted: Vec<&str> = self.wants.iter().map(|want| want.package).collect();
            return Some(format!(
                "the group needs {}, in this order",
                wanted.join(", ")
            ));
        }
        if let (Rule::OneRelease(_), Some(whole)) = (self.rule, pins.first()) {
            let release = without_rebuild(&whole.version);
            if let Some(other) = pins
                .iter()
                .find(|pin| without_rebuild(&pin.version) != release)
            {
                return Some(format!(
                    "{} is of {} and {} of {}, but all must be of one release",
                    whole.package, whole.version, other.package, other.version
                ));
            }
        }
        None
    }

    /// The group's files as the archive has them today. Each is downloaded, since an index may name what is gone.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the archive does not have all of them.
    pub(crate) fn choose(&self, workshop: &Workshop, step: &Step) -> Result<Vec<Pin>> {
        workshop.apt.update()?;
        match self.rule {
            Rule::Newest(start) => self.newest(workshop, start, step),
            Rule::OneRelease(start) => self.one_release(workshop, start, step),
            Rule::Own(choose) => choose(workshop, step),
        }
    }

    fn newest(&self, workshop: &Workshop, start: &str, step: &Step) -> Result<Vec<Pin>> {
        let (apt, downloads) = (&workshop.apt, &workshop.downloads);
        let mut pins = Vec::new();
        for wants in self
            .wants
            .chunk_by(|one, two| (one.source, one.from) == (two.source, two.from))
        {
            let names: Vec<&str> = wants.iter().map(|want| want.package).collect();
            let wanted = |version: &str| version.starts_with(start);
            match wants {
                [want] if want.source => {
                    let offered = tarballs(apt, want.package, wanted)?;
                    pins.push(first(downloads, want.package, offered, step)?);
                }
                _ => {
                    let from = wants.first().map_or(From::Anywhere, |want| want.from);
                    pins.extend(pick(apt, downloads, &names, from, wanted, step)?);
                }
            }
        }
        Ok(pins)
    }

    /// The newest version of which every file can be had.
    fn one_release(&self, workshop: &Workshop, start: &str, step: &Step) -> Result<Vec<Pin>> {
        let (apt, downloads) = (&workshop.apt, &workshop.downloads);
        let mut versions = Vec::new();
        for want in self.wants.iter().filter(|want| want.source) {
            versions = apt.source_versions(want.package)?;
        }
        versions.retain(|version| version.starts_with(start));
        let names = self.wants.iter().filter(|want| !want.source);
        let names: Vec<&str> = names.map(|want| want.package).collect();
        let mut lacking = format!("no suite offers a version {start}");
        for version in &versions {
            let mut pins = Vec::new();
            let mut got = Ok(());
            for want in self.wants.iter().filter(|want| want.source) {
                let offered = tarballs(apt, want.package, |other| other == version)?;
                got = first(downloads, want.package, offered, step).map(|pin| pins.push(pin));
            }
            let got = got.and_then(|()| {
                let same = |other: &str| without_rebuild(other) == version;
                pick(apt, downloads, &names, From::Anywhere, same, step)
            });
            match got {
                Ok(packages) => return Ok([pins, packages].concat()),
                Err(Error::Unavailable { what, reason }) => {
                    step.note(&format!("{version} is not complete: {what}: {reason}"));
                    lacking = format!("of {version}, {what} is missing ({reason})");
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable {
            what: format!("a whole release of {}", self.name),
            reason: lacking,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Group, Part, XEN};
    use crate::artefacts::index::Remote;
    use crate::artefacts::pins::Pin;

    fn pins(group: &Group, version: &str) -> Vec<Pin> {
        let pin = |want: &super::Want| Pin {
            package: want.package.to_owned(),
            version: version.to_owned(),
            remote: Remote {
                uri: String::new(),
                file: format!(
                    "{}{}",
                    want.package,
                    if want.source {
                        ".orig.tar.xz"
                    } else {
                        "_1_arm64.deb"
                    }
                ),
                size: 1,
                sha256: "0".repeat(64),
            },
        };
        group.wants.iter().map(pin).collect()
    }

    #[test]
    fn a_hypervisor_with_tools_of_another_release_is_refused() {
        let mut mixed = pins(&XEN, "4.20.3-1");
        assert_eq!(XEN.problem(&mixed), None);
        mixed[4].version = "4.20.3-1+b2".to_owned();
        assert_eq!(XEN.problem(&mixed), None, "a rebuild is the same release");
        mixed[4].version = "4.20.4-1".to_owned();
        let problem = XEN.problem(&mixed).unwrap();
        assert!(
            problem.contains("xen is of 4.20.3-1 and xenstore-utils of 4.20.4-1"),
            "{problem}"
        );
    }

    #[test]
    fn a_group_that_lacks_a_package_or_has_them_in_another_order_is_refused() {
        for group in ALL {
            assert_eq!(group.problem(&pins(group, "4.20.3-1")), None);
            let mut short = pins(group, "4.20.3-1");
            short.pop();
            assert!(group.problem(&short).is_some());
        }
        let mut swapped = pins(&XEN, "4.20.3-1");
        swapped.swap(2, 3);
        assert!(XEN.problem(&swapped).unwrap().contains("in this order"));
    }

    #[test]
    fn xen_is_built_from_its_source_and_debians_configuration() {
        let pins = pins(&XEN, "4.20.3-1");
        let names = |part| -> Vec<String> {
            let pins = XEN.part(&pins, part);
            pins.into_iter().map(|pin| pin.package).collect()
        };
        assert_eq!(
            names(Part::Hypervisor),
            ["xen", "xen-hypervisor-4.20-arm64"]
        );
        assert_eq!(names(Part::Tools).len(), 13);
        assert_eq!(names(Part::Headers), ["libxen-dev"]);
    }
}
