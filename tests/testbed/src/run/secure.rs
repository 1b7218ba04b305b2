//! Machines with a secure world. The firmware starts OP-TEE there and then Xen here, with a device tree that names dom0's files.
//!
//! QEMU, which else tells Xen of them, loads them and no more where a firmware starts: the tree is the board's own, with those
//! nodes in it that Xen's boot protocol wants.

use super::board::Board;
use super::folder::Folder;
use super::media::Media;
use super::qemu::{INITRAMFS_AT, KERNEL_AT, Layout, Machine};
use super::{Error, Result};
use crate::artefacts::oracle::machine_tree;
use crate::artefacts::rust::Profile;
use crate::artefacts::tee::Abi;
use crate::artefacts::tee::firmware::NORMAL_WORLD;
use crate::artefacts::{self, Workshop};
use crate::dtc;
use crate::failure::Failure;
use crate::process;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The secure world's console.
pub(super) const LOG: &str = "secure-console.log";
/// Appended to the board's `-M`. Tables of ACPI would be of no use: the firmware gives Xen a device tree.
pub(super) const OPTIONS: &str = ",secure=on,acpi=off";

/// What such a machine boots from.
#[derive(Clone, Debug)]
pub(crate) struct Secure {
    /// TF-A and OP-TEE.
    pub(crate) firmware: PathBuf,
    /// The board's device tree, as source.
    pub(crate) tree: PathBuf,
}

/// What a boot with a secure world needs, got and built as far as it is missing; the machine is `like` this one.
pub(crate) fn machine(
    like: Machine,
    abi: Abi,
    profile: Profile,
) -> std::result::Result<(Media, Machine), Failure> {
    let workshop = Workshop::open().compiling(profile);
    let (bed, firmware) = artefacts::secure_bed(&workshop, abi)?;
    let board = Board {
        options: OPTIONS.to_owned(),
        ..like.board()
    };
    let mut arguments = board.arguments();
    // QEMU offers no PSCI of its own where a firmware does.
    arguments.extend(["-bios".to_owned(), firmware.display().to_string()]);
    let tree = machine_tree(&workshop, &bed.qemu, &board.kind(), &arguments)?;
    let machine = Machine {
        secure: Some(Secure { firmware, tree }),
        ..like
    };
    Ok((Media::of(bed), machine))
}

/// A file that Xen is told of.
struct Module<'a> {
    /// What Xen calls it.
    kind: &'static str,
    at: u64,
    bytes: u64,
    /// Of a kernel.
    command_line: Option<&'a str>,
}

impl Secure {
    /// What QEMU loads: dom0's files, Xen where the firmware enters the normal world, and the device tree, made here.
    pub(super) fn layout(
        &self,
        media: &Media,
        xen: &str,
        linux: &str,
        folder: &Folder,
    ) -> Result<Layout> {
        let (kernel, initramfs) = (size(&media.kernel)?, size(&media.initramfs)?);
        let modules = [
            Module {
                kind: "kernel",
                at: KERNEL_AT,
                bytes: kernel,
                command_line: Some(linux),
            },
            Module {
                kind: "ramdisk",
                at: INITRAMFS_AT,
                bytes: initramfs,
                command_line: None,
            },
        ];
        if KERNEL_AT + kernel > INITRAMFS_AT || INITRAMFS_AT + initramfs > NORMAL_WORLD {
            return Err(Error::Tree(format!(
                "there is no room for a kernel of {kernel} and an initial file system of {initramfs} bytes"
            )));
        }
        let board = std::fs::read_to_string(&self.tree).map_err(Error::io("read", &self.tree))?;
        let (source, dtb) = (folder.log("machine.dts"), folder.log("machine.dtb"));
        std::fs::write(&source, board + &chosen(xen, &modules))
            .map_err(Error::io("write", &source))?;
        dtc::compile(&source, &dtb).map_err(|error| match error {
            process::Error::Interrupted => Error::Interrupted,
            error => Error::Tree(error.to_string()),
        })?;
        Ok(Layout {
            dtb,
            modules: vec![
                (media.kernel.clone(), KERNEL_AT),
                (media.initramfs.clone(), INITRAMFS_AT),
                (media.xen.clone(), NORMAL_WORLD),
            ],
        })
    }
}

fn size(path: &Path) -> Result<u64> {
    let metadata = path.metadata().map_err(Error::io("read", path))?;
    Ok(metadata.len())
}

/// What is put into the board's tree (Xen: `docs/misc/arm/device-tree/booting.txt`).
fn chosen(xen: &str, modules: &[Module<'_>]) -> String {
    let mut nodes = String::new();
    for module in modules {
        let Module {
            kind, at, bytes, ..
        } = module;
        // Writing to a text cannot fail.
        let _ = write!(
            nodes,
            "\t\tmodule@{at:x} {{\n\t\t\tcompatible = \"multiboot,{kind}\", \"multiboot,module\";\n\
             \t\t\treg = <{:#x} {:#x} {:#x} {:#x}>;\n",
            at >> 32,
            at & 0xffff_ffff,
            bytes >> 32,
            bytes & 0xffff_ffff
        );
        if let Some(line) = module.command_line {
            let _ = writeln!(nodes, "\t\t\tbootargs = {};", quoted(line));
        }
        nodes.push_str("\t\t};\n");
    }
    format!(
        "\n/ {{\n\tchosen {{\n\t\t#address-cells = <2>;\n\t\t#size-cells = <2>;\n\t\txen,xen-bootargs = {};\n{nodes}\t}};\n}};\n",
        quoted(xen)
    )
}

/// A text as dtc reads it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::super::folder::Folder;
    use super::super::media::Media;
    use super::{Module, NORMAL_WORLD, Secure, chosen};
    use oracle_guest::fdt::Tree;

    #[test]
    fn xen_is_told_of_each_file_and_of_every_word() {
        let modules = [
            Module {
                kind: "kernel",
                at: 0x4a00_0000,
                bytes: 0x1_0000_0003,
                command_line: Some("rdinit=\"/init\" a\\b"),
            },
            Module {
                kind: "ramdisk",
                at: 0x5400_0000,
                bytes: 7,
                command_line: None,
            },
        ];
        let folder = tempfile::tempdir().unwrap();
        let (source, dtb) = (folder.path().join("a.dts"), folder.path().join("a.dtb"));
        let board = "/dts-v1/;\n/ { chosen { stdout-path = \"/pl011@9000000\"; }; };\n";
        std::fs::write(&source, board.to_owned() + &chosen("a=\"b c\"", &modules)).unwrap();
        crate::dtc::compile(&source, &dtb).unwrap();
        let dtb = std::fs::read(&dtb).unwrap();
        let find = |node: &str, name: &str| {
            let mut all = Tree::new(&dtb).unwrap().properties();
            all.find(|found| found.node() == node && found.name == name)
        };
        let line = |node, name| find(node, name).map(|found| found.text());
        assert_eq!(line("chosen", "xen,xen-bootargs"), Some("a=\"b c\""));
        assert!(line("chosen", "stdout-path").is_some());
        assert_eq!(
            line("module@4a000000", "bootargs"),
            Some("rdinit=\"/init\" a\\b")
        );
        let place = find("module@4a000000", "reg").unwrap().ranges().next();
        assert_eq!(place, Some((0x4a00_0000, 0x1_0000_0003)));
        assert_eq!(line("module@54000000", "bootargs"), None);
    }

    #[test]
    fn nothing_is_loaded_where_the_firmware_enters_xen() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Folder::at(folder.path().join("logs")).unwrap();
        let file = |name: &str, bytes: u64| {
            let path = folder.path().join(name);
            std::fs::File::create(&path)
                .unwrap()
                .set_len(bytes)
                .unwrap();
            path
        };
        let board = folder.path().join("board.dts");
        std::fs::write(&board, "/dts-v1/;\n/ { };\n").unwrap();
        let secure = Secure {
            firmware: "firmware.bin".into(),
            tree: board,
        };
        let mut media = Media {
            xen: file("xen", 1),
            kernel: file("Image", 12 << 20),
            initramfs: file("small", 64 << 20),
            qemu: "qemu".into(),
            policy_source: None,
        };
        let layout = secure.layout(&media, "", "", &logs).unwrap();
        assert!(layout.modules.contains(&(media.xen.clone(), NORMAL_WORLD)));
        media.initramfs = file("large", 256 << 20);
        let refused = secure.layout(&media, "", "", &logs).unwrap_err();
        assert!(refused.to_string().contains("no room"), "{refused}");
    }
}
