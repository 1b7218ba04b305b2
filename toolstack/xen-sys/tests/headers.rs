//! Layouts and numbers against the kernel's own headers, by way of the C compiler.
//!
//! The crate states its layouts as numbers, checked while it compiles. This test checks the numbers
//! themselves: it compiles assertions against `/usr/include/xen/*.h`, which come with the C library's
//! development files, as `cc` does, without which Rust does not link on Linux. What an older kernel's
//! headers do not have is left out by the preprocessor.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::process::Command;

use xen_sys::{evtchn, gntalloc, gntdev, privcmd};

/// Assertions for one structure: its C name, and C and Rust names of the fields compared.
macro_rules! same {
    ($c:expr, $source:expr, $type:ty $(, $c_field:literal = $($field:ident).+)* $(,)?) => {{
        let source: &mut String = $source;
        let _ = writeln!(source, "_Static_assert(sizeof({}) == {}, \"size\");", $c, size_of::<$type>());
        let _ = writeln!(source, "_Static_assert(_Alignof({}) == {}, \"alignment\");", $c, align_of::<$type>());
        $(let _ = writeln!(
            source,
            "_Static_assert(__builtin_offsetof({}, {}) == {}, \"offset\");",
            $c, $c_field, offset_of!($type, $($field).+)
        );)*
    }};
}

/// What kernels before Linux 6.7 do not have all of.
const NEWER: [&str; 5] = [
    "IOCTL_EVTCHN_BIND_STATIC",
    "IOCTL_PRIVCMD_IOEVENTFD",
    "IOCTL_PRIVCMD_IRQFD",
    "PRIVCMD_IOEVENTFD_FLAG_DEASSIGN",
    "PRIVCMD_IRQFD_FLAG_DEASSIGN",
];

/// Only newer names may be missing: a name that no header has would be compared with nothing.
fn number(source: &mut String, name: &str, value: u32) {
    let missing = match NEWER.contains(&name) {
        true => String::new(),
        false => format!("#else\n#error \"there is no {name}\"\n"),
    };
    let _ = writeln!(
        source,
        "#ifdef {name}\n_Static_assert((unsigned int){name} == {value}u, \"number\");\n{missing}#endif"
    );
}

/// Compiles `source` with the kernel's headers; the compiler's words if it does not hold.
fn compile(name: &str, source: &str) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("xen-sys-{name}-{}", std::process::id()));
    let interface = folder.join("xen/interface");
    std::fs::create_dir_all(&interface).unwrap();
    // The one header of the kernel that is not exported; these are its types that matter here.
    std::fs::write(
        interface.join("xen.h"),
        "#include <stdint.h>\ntypedef uint16_t domid_t;\ntypedef uint64_t xen_pfn_t;\n",
    )
    .unwrap();
    let prelude = "#include <stddef.h>\n#include <stdint.h>\n#include <sys/ioctl.h>\n\
        #include <xen/interface/xen.h>\ntypedef uint32_t grant_ref_t;\n#define __user\n\
        #include <xen/privcmd.h>\n#include <xen/evtchn.h>\n#include <xen/gntdev.h>\n\
        #include <xen/gntalloc.h>\n";
    let file = folder.join("abi.c");
    std::fs::write(&file, format!("{prelude}{source}")).unwrap();
    let output = Command::new("cc")
        .args(["-std=gnu11", "-fsyntax-only", "-I"])
        .arg(&folder)
        .arg(&file)
        .output()
        .expect("cc is needed, as for linking any Rust program");
    std::fs::remove_dir_all(&folder).unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn structures_are_those_of_the_kernel_headers() {
    let mut source = String::new();
    let s = &mut source;
    same!(
        "struct privcmd_hypercall",
        s,
        privcmd::Hypercall,
        "op" = op,
        "arg" = arg
    );
    same!(
        "struct privcmd_mmapbatch_v2",
        s,
        privcmd::MmapBatchV2,
        "num" = num,
        "dom" = dom,
        "addr" = addr,
        "arr" = arr,
        "err" = err,
    );
    same!(
        "struct privcmd_dm_op_buf",
        s,
        privcmd::DmOpBuf,
        "uptr" = uptr,
        "size" = size
    );
    same!(
        "struct privcmd_dm_op",
        s,
        privcmd::DmOp,
        "dom" = dom,
        "num" = num,
        "ubufs" = ubufs
    );
    same!(
        "struct privcmd_mmap_resource",
        s,
        privcmd::MmapResource,
        "dom" = dom,
        "type" = kind,
        "id" = id,
        "idx" = idx,
        "num" = num,
        "addr" = addr,
    );
    s.push_str("#ifdef IOCTL_PRIVCMD_IOEVENTFD\n");
    same!(
        "struct privcmd_irqfd",
        s,
        privcmd::Irqfd,
        "dm_op" = dm_op,
        "size" = size,
        "fd" = fd,
        "flags" = flags,
        "dom" = dom,
        "pad" = pad,
    );
    same!(
        "struct privcmd_ioeventfd",
        s,
        privcmd::Ioeventfd,
        "ioreq" = ioreq,
        "ports" = ports,
        "addr" = addr,
        "addr_len" = addr_len,
        "event_fd" = event_fd,
        "vcpus" = vcpus,
        "vq" = vq,
        "flags" = flags,
        "dom" = dom,
        "pad" = pad,
    );
    s.push_str("#endif\n");
    same!(
        "struct ioctl_evtchn_bind_virq",
        s,
        evtchn::BindVirq,
        "virq" = virq
    );
    same!(
        "struct ioctl_evtchn_bind_interdomain",
        s,
        evtchn::BindInterdomain,
        "remote_domain" = remote_domain,
        "remote_port" = remote_port,
    );
    same!(
        "struct ioctl_evtchn_bind_unbound_port",
        s,
        evtchn::BindUnboundPort,
        "remote_domain" = remote_domain,
    );
    same!(
        "struct ioctl_evtchn_unbind",
        s,
        evtchn::PortArgument,
        "port" = port
    );
    same!(
        "struct ioctl_evtchn_notify",
        s,
        evtchn::PortArgument,
        "port" = port
    );
    same!(
        "struct ioctl_evtchn_restrict_domid",
        s,
        evtchn::RestrictDomid,
        "domid" = domid
    );
    same!(
        "struct ioctl_gntdev_grant_ref",
        s,
        gntdev::MapRef,
        "domid" = domid,
        "ref" = reference
    );
    same!(
        "struct ioctl_gntdev_map_grant_ref",
        s,
        gntdev::MapGrantRef,
        "count" = header.count,
        "pad" = header.pad,
        "index" = header.index,
        "refs" = refs,
    );
    same!(
        "struct ioctl_gntdev_unmap_grant_ref",
        s,
        gntdev::UnmapGrantRef,
        "index" = index,
        "count" = count,
        "pad" = pad,
    );
    same!(
        "struct ioctl_gntdev_get_offset_for_vaddr",
        s,
        gntdev::GetOffsetForVaddr,
        "vaddr" = vaddr,
        "offset" = offset,
        "count" = count,
        "pad" = pad,
    );
    same!(
        "struct ioctl_gntdev_set_max_grants",
        s,
        gntdev::SetMaxGrants,
        "count" = count
    );
    same!(
        "struct ioctl_gntdev_unmap_notify",
        s,
        gntdev::UnmapNotify,
        "index" = index,
        "action" = action,
        "event_channel_port" = event_channel_port,
    );
    same!(
        "struct gntdev_grant_copy_segment",
        s,
        gntdev::CopySegment,
        "source" = source,
        "dest" = dest,
        "len" = len,
        "flags" = flags,
        "status" = status,
    );
    same!(
        "__typeof__(((struct gntdev_grant_copy_segment *)0)->source.foreign)",
        s,
        gntdev::CopyForeign,
        "ref" = reference,
        "offset" = offset,
        "domid" = domid,
    );
    same!(
        "struct ioctl_gntdev_grant_copy",
        s,
        gntdev::GrantCopy,
        "count" = count,
        "segments" = segments,
    );
    same!(
        "struct ioctl_gntalloc_alloc_gref",
        s,
        gntalloc::AllocGref,
        "domid" = header.domid,
        "flags" = header.flags,
        "count" = header.count,
        "index" = header.index,
        "gref_ids" = gref_ids,
    );
    same!(
        "struct ioctl_gntalloc_dealloc_gref",
        s,
        gntalloc::DeallocGref,
        "index" = index,
        "count" = count,
    );
    same!(
        "struct ioctl_gntalloc_unmap_notify",
        s,
        gntalloc::UnmapNotify,
        "index" = index,
        "action" = action,
        "event_channel_port" = event_channel_port,
    );
    if let Err(words) = compile("structures", &source) {
        panic!("{words}");
    }
}

#[test]
fn numbers_are_those_of_the_kernel_headers() {
    let mut source = String::new();
    for (name, value) in [
        ("IOCTL_PRIVCMD_HYPERCALL", privcmd::HYPERCALL),
        ("IOCTL_PRIVCMD_MMAPBATCH_V2", privcmd::MMAPBATCH_V2),
        ("IOCTL_PRIVCMD_DM_OP", privcmd::DM_OP),
        ("IOCTL_PRIVCMD_RESTRICT", privcmd::RESTRICT),
        ("IOCTL_PRIVCMD_MMAP_RESOURCE", privcmd::MMAP_RESOURCE),
        ("IOCTL_PRIVCMD_IRQFD", privcmd::IRQFD),
        ("IOCTL_PRIVCMD_IOEVENTFD", privcmd::IOEVENTFD),
        ("PRIVCMD_IRQFD_FLAG_DEASSIGN", privcmd::FLAG_DEASSIGN),
        ("PRIVCMD_IOEVENTFD_FLAG_DEASSIGN", privcmd::FLAG_DEASSIGN),
        ("IOCTL_EVTCHN_BIND_VIRQ", evtchn::BIND_VIRQ),
        ("IOCTL_EVTCHN_BIND_INTERDOMAIN", evtchn::BIND_INTERDOMAIN),
        ("IOCTL_EVTCHN_BIND_UNBOUND_PORT", evtchn::BIND_UNBOUND_PORT),
        ("IOCTL_EVTCHN_UNBIND", evtchn::UNBIND),
        ("IOCTL_EVTCHN_NOTIFY", evtchn::NOTIFY),
        ("IOCTL_EVTCHN_RESET", evtchn::RESET),
        ("IOCTL_EVTCHN_RESTRICT_DOMID", evtchn::RESTRICT_DOMID),
        ("IOCTL_EVTCHN_BIND_STATIC", evtchn::BIND_STATIC),
        ("IOCTL_GNTDEV_MAP_GRANT_REF", gntdev::MAP_GRANT_REF),
        ("IOCTL_GNTDEV_UNMAP_GRANT_REF", gntdev::UNMAP_GRANT_REF),
        (
            "IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR",
            gntdev::GET_OFFSET_FOR_VADDR,
        ),
        ("IOCTL_GNTDEV_SET_MAX_GRANTS", gntdev::SET_MAX_GRANTS),
        ("IOCTL_GNTDEV_SET_UNMAP_NOTIFY", gntdev::SET_UNMAP_NOTIFY),
        ("IOCTL_GNTDEV_GRANT_COPY", gntdev::GRANT_COPY),
        ("UNMAP_NOTIFY_CLEAR_BYTE", gntdev::UNMAP_NOTIFY_CLEAR_BYTE),
        ("UNMAP_NOTIFY_SEND_EVENT", gntdev::UNMAP_NOTIFY_SEND_EVENT),
        ("IOCTL_GNTALLOC_ALLOC_GREF", gntalloc::ALLOC_GREF),
        ("IOCTL_GNTALLOC_DEALLOC_GREF", gntalloc::DEALLOC_GREF),
        (
            "IOCTL_GNTALLOC_SET_UNMAP_NOTIFY",
            gntalloc::SET_UNMAP_NOTIFY,
        ),
        ("GNTALLOC_FLAG_WRITABLE", u32::from(gntalloc::FLAG_WRITABLE)),
    ] {
        number(&mut source, name, value);
    }
    if let Err(words) = compile("numbers", &source) {
        panic!("{words}");
    }
}

#[test]
fn a_name_that_no_header_has_is_noticed() {
    let mut source = String::new();
    number(&mut source, "IOCTL_PRIVCMD_DM_OPS", privcmd::DM_OP);
    let words = compile("missing", &source).expect_err("the compiler took a wrong name");
    assert!(
        words.contains("there is no IOCTL_PRIVCMD_DM_OPS"),
        "{words}"
    );
}

#[test]
fn a_wrong_number_is_noticed() {
    let mut source = String::new();
    number(&mut source, "IOCTL_PRIVCMD_DM_OP", privcmd::DM_OP + 1);
    let words = compile("wrong", &source).expect_err("the compiler took a wrong number");
    assert!(words.contains("number"), "{words}");
}
