//! Attempts to command Xen and its domains: domctl, sysctl, platform and FLASK operations, HVM parameters, the console.
//!
//! The numbers are Xen 4.20's (`xen/include/public/domctl.h`, `sysctl.h`, `platform.h`, `xsm/flask_op.h`). They change
//! between releases: an interface version that does not fit shows as a failure, never as a refusal.

use std::io;

use xen_sys::flask;
use xen_sys::hypercall::{CONSOLE_IO, HVM_OP, SCHED_OP, XEN_VERSION, XSM_OP};

use crate::attacker::Attacker;
use crate::attempt::{
    Attempt, Expected, HERE, HERE_CONTROL, Target, Verdict, harmful, on_everybody,
};
use crate::raw::{PAGE, Page};

const PLATFORM_OP: u64 = 7;
const MULTICALL: u64 = 13;
const SYSCTL: u64 = 35;
const DOMCTL: u64 = 36;
const HYPFS_OP: u64 = 42;

const DOMCTL_VERSION: u32 = 0x17;
const SYSCTL_VERSION: u32 = 0x15;
const PLATFORM_VERSION: u32 = 0x0300_0001;

/// Where the second half of a page begins, for what an argument points to.
const SECOND: usize = PAGE / 2;
const SECOND_ADDRESS: u64 = 2048;
/// First byte of the union in `xen_domctl` (command, version, domain before it).
const DOMCTL_U: usize = 16;
/// First byte of the union in `xen_sysctl` and `xen_flask_op`.
const U: usize = 8;
/// Machine frame of the first UART of QEMU's `virt` machine: any device will do.
const UART_FRAME: u64 = 0x0900_0000 >> 12;

const fn here(
    name: &'static str,
    aim: &'static str,
    how: fn(&Attacker, u16) -> Verdict,
) -> Attempt {
    Attempt {
        name,
        aim,
        on: HERE,
        harm: false,
        how,
    }
}

/// The catalogue's part.
pub(crate) const TABLE: &[Attempt] = &[
    Attempt {
        name: "hypercall",
        aim: "ask Xen's version by a raw hypercall: the door is open",
        on: HERE_CONTROL,
        harm: false,
        how: version,
    },
    on_everybody("domctl-info", "learn a domain's state and size", |a, d| {
        question(a, 5, d, |page| {
            format!("{} pages", page.get64(DOMCTL_U + 8))
        })
    }),
    on_everybody("domctl-pause", "stop a domain's vCPUs", pause),
    harmful("domctl-destroy", "end a domain", |a, d| {
        order(a, 2, d, |_| ())
    }),
    harmful("domctl-resume", "let a suspended domain run", |a, d| {
        order(a, 27, d, |_| ())
    }),
    harmful(
        "domctl-max-mem",
        "change a domain's memory limit",
        |a, d| order(a, 11, d, |page| page.put64(DOMCTL_U, 1 << 20)),
    ),
    on_everybody("domctl-get-registers", "read a vCPU's registers", |a, d| {
        order(a, 13, d, |page| {
            page.put64(DOMCTL_U + 8, page.address(SECOND_ADDRESS))
        })
    }),
    harmful(
        "domctl-set-registers",
        "write a vCPU's registers",
        |a, d| {
            order(a, 12, d, |page| {
                page.put64(DOMCTL_U + 8, page.address(SECOND_ADDRESS))
            })
        },
    ),
    on_everybody(
        "domctl-cacheflush",
        "flush a domain's memory out of the caches",
        |a, d| {
            order(a, 71, d, |page| {
                page.put64(DOMCTL_U, 0x40000);
                page.put64(DOMCTL_U + 8, 1);
            })
        },
    ),
    harmful(
        "domctl-vm-event",
        "take a domain's events: see its memory accesses and SMCs",
        |a, d| order(a, 56, d, |page| page.put32(DOMCTL_U + 4, 2)),
    ),
    on_everybody(
        "domctl-monitor",
        "ask what can be monitored in a domain",
        |a, d| order(a, 77, d, |page| page.put32(DOMCTL_U, 2)),
    ),
    harmful(
        "domctl-set-target",
        "become privileged for a domain",
        set_target,
    ),
    on_everybody(
        "domctl-scheduler",
        "read a domain's share of the processor",
        scheduler,
    ),
    here("domctl-create", "create a domain", |a, _| {
        // No vCPU: where Xen permits it, it stops at that.
        order(a, 1, 0x7ff4, |_| ())
    }),
    here(
        "domctl-iomem-permission",
        "permit itself a device of the machine",
        |a, d| {
            order(a, 20, d, |page| {
                page.put64(DOMCTL_U, UART_FRAME);
                page.put64(DOMCTL_U + 8, 1);
                page.put32(DOMCTL_U + 16, 1);
            })
        },
    ),
    here(
        "domctl-map-device",
        "map a device of the machine into itself",
        |a, d| {
            order(a, 39, d, |page| {
                page.put64(DOMCTL_U, crate::attacker::SCRATCH_FRAME);
                page.put64(DOMCTL_U + 8, UART_FRAME);
                page.put64(DOMCTL_U + 16, 1);
                page.put32(DOMCTL_U + 24, 1);
            })
        },
    ),
    on_everybody(
        "multicall-domctl-info",
        "hide a domctl in a multicall",
        multicall,
    ),
    harmful("remote-shutdown", "shut a domain down", |a, d| {
        call(a, SCHED_OP, &[4], |page| page.put16(0, d))
    }),
    on_everybody(
        "hvm-get-param",
        "read where a domain's XenStore page is",
        |a, d| {
            call(a, HVM_OP, &[1], |page| {
                page.put16(0, d);
                page.put32(4, 1);
            })
        },
    ),
    harmful(
        "hvm-set-param",
        "move a domain's XenStore event channel",
        |a, d| {
            call(a, HVM_OP, &[0], |page| {
                page.put16(0, d);
                page.put32(4, 2);
                page.put64(8, 1);
            })
        },
    ),
    here("sysctl-physinfo", "learn about the machine", |a, _| {
        sysctl(a, 3, |_| ())
    }),
    here("sysctl-console", "read Xen's console", |a, _| {
        sysctl(a, 1, |page| {
            page.put64(16, page.address(SECOND_ADDRESS));
            page.put32(24, 1024);
        })
    }),
    here("sysctl-domains", "list all domains", domains),
    here("sysctl-debug-keys", "press Xen's debug keys", |a, _| {
        sysctl(a, 7, |page| {
            page.put(SECOND, b"h");
            page.put64(U, page.address(SECOND_ADDRESS));
            page.put32(U + 8, 1);
        })
    }),
    here(
        "sysctl-free-memory",
        "learn how much memory is free",
        |a, _| sysctl(a, 9, |page| page.put32(U + 8, u32::MAX)),
    ),
    here("sysctl-scheduler", "learn the scheduler", |a, _| {
        sysctl(a, 4, |_| ())
    }),
    here(
        "sysctl-cpu-info",
        "learn how busy the processors are",
        |a, _| {
            sysctl(a, 8, |page| {
                page.put32(U, 1);
                page.put64(U + 8, page.address(SECOND_ADDRESS));
            })
        },
    ),
    here("platform-set-time", "set the machine's time", |a, _| {
        // The field that must be zero is not: where Xen permits it, it stops at that.
        call(a, PLATFORM_OP, &[], |page| {
            page.put32(0, 62);
            page.put32(4, PLATFORM_VERSION);
            page.put32(U + 12, 1);
        })
    }),
    here(
        "flask-permissive",
        "switch FLASK's enforcing off",
        |a, _| flask(a, 3, |_| ()),
    ),
    here("flask-load", "load another policy", |a, _| {
        // Not a policy: where Xen permits it, it stops at that.
        flask(a, 1, |page| {
            page.put64(U, page.address(SECOND_ADDRESS));
            page.put32(U + 8, 16);
        })
    }),
    here("flask-relabel", "take the control domain's label", relabel),
    here(
        "flask-set-boolean",
        "change a switch of the policy",
        |a, _| {
            flask(a, 12, |page| {
                page.put32(U, 0);
                page.put32(U + 4, 0);
            })
        },
    ),
    here(
        "flask-query",
        "ask FLASK for the rights of others",
        |a, _| {
            flask(a, 6, |page| {
                page.put32(U, 3);
                page.put32(U + 4, 3);
                page.put32(U + 8, 2);
                page.put32(U + 12, 1);
            })
        },
    ),
    here("hypfs", "read Xen's hypervisor file system", |a, _| {
        Verdict::from_io(a.raw.hypercall(HYPFS_OP, &[0]), &[], |version| {
            format!("version {version}")
        })
    }),
    here("xen-command-line", "read Xen's command line", |a, _| {
        call(a, XEN_VERSION, &[14], |page| page.put32(0, 1024))
    }),
    // The reference policy's boolean `guest_writeconsole` lets every domain do it, and is on by default.
    Attempt {
        name: "console-write",
        aim: "write to the machine's console",
        on: &[(Target::Here, Expected::Limit)],
        harm: false,
        how: |a, _| console(a, 0),
    },
    here(
        "console-read",
        "read what is typed at the machine's console",
        |a, _| console(a, 1),
    ),
];

/// Is a harmless question about the domain answered? Then nothing may be tried that would harm it.
pub(crate) fn may_control(attacker: &Attacker, domain: u16) -> io::Result<()> {
    let page = domctl_page(5, domain, |_| ())?;
    attacker.raw.hypercall(DOMCTL, &[page.address(0)]).map(drop)
}

fn domctl_page(command: u32, domain: u16, fill: impl FnOnce(&Page)) -> io::Result<Page> {
    Attacker::page(|page| {
        page.put32(0, command);
        page.put32(4, DOMCTL_VERSION);
        page.put16(8, domain);
        fill(page);
    })
}

fn question(
    attacker: &Attacker,
    command: u32,
    domain: u16,
    answer: impl FnOnce(&Page) -> String,
) -> Verdict {
    let result = domctl_page(command, domain, |_| ()).and_then(|page| {
        attacker.raw.hypercall(DOMCTL, &[page.address(0)])?;
        Ok(page)
    });
    Verdict::from_io(result, &[], |page| answer(&page))
}

fn order(attacker: &Attacker, command: u32, domain: u16, fill: impl FnOnce(&Page)) -> Verdict {
    let result = domctl_page(command, domain, fill)
        .and_then(|page| attacker.raw.hypercall(DOMCTL, &[page.address(0)]));
    Verdict::from_io(result, &[], |_| "done".to_owned())
}

fn pause(attacker: &Attacker, domain: u16) -> Verdict {
    let verdict = order(attacker, 3, domain, |_| ());
    if verdict.outcome == crate::attempt::Outcome::Allowed {
        let undone = order(attacker, 4, domain, |_| ());
        return Verdict::allowed(format!("paused, and unpaused: {}", undone.detail));
    }
    verdict
}

fn set_target(attacker: &Attacker, domain: u16) -> Verdict {
    order(attacker, 46, attacker.domains.me, |page| {
        page.put16(DOMCTL_U, domain)
    })
}

fn scheduler(attacker: &Attacker, domain: u16) -> Verdict {
    // Scheduler 5 is credit, 7 credit2; operation 1 asks (`XEN_DOMCTL_SCHEDOP_getinfo`).
    let verdict = order(attacker, 16, domain, |page| {
        page.put32(DOMCTL_U, 7);
        page.put32(DOMCTL_U + 4, 1);
    });
    if verdict.errno == Some(libc::EINVAL) {
        return Verdict::allowed("permitted; another scheduler is in use");
    }
    verdict
}

/// Lists domains. FLASK lets anybody ask and leaves out what the caller may not see.
fn domains(attacker: &Attacker, _: u16) -> Verdict {
    let result = Attacker::page(|page| {
        page.put32(0, 6);
        page.put32(4, SYSCTL_VERSION);
        page.put32(12, 8);
        page.put64(16, page.address(SECOND_ADDRESS));
    })
    .and_then(|page| {
        attacker.raw.hypercall(SYSCTL, &[page.address(0)])?;
        Ok(page.get32(24))
    });
    match result {
        Ok(0) => Verdict::refused("an empty list"),
        other => Verdict::from_io(other, &[], |shown| format!("{shown} domains")),
    }
}

fn multicall(attacker: &Attacker, domain: u16) -> Verdict {
    let result = domctl_page(5, domain, |page| {
        page.put64(SECOND, DOMCTL);
        page.put64(SECOND + 16, page.address(0));
    })
    .and_then(|page| {
        attacker
            .raw
            .hypercall(MULTICALL, &[page.address(SECOND_ADDRESS), 1])?;
        let answer = i64::from_ne_bytes(page.get(SECOND + 8));
        match i32::try_from(-answer) {
            Ok(errno) if errno > 0 => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(answer),
        }
    });
    Verdict::from_io(result, &[], |_| "answered".to_owned())
}

/// A hypercall with one page of arguments behind `leading` numbers.
fn call(attacker: &Attacker, number: u64, leading: &[u64], fill: impl FnOnce(&Page)) -> Verdict {
    let result = Attacker::page(fill).and_then(|page| {
        let mut arguments = leading.to_vec();
        arguments.push(page.address(0));
        attacker.raw.hypercall(number, &arguments)
    });
    Verdict::from_io(result, &[], |value| format!("done: {value}"))
}

fn sysctl(attacker: &Attacker, command: u32, fill: impl FnOnce(&Page)) -> Verdict {
    call(attacker, SYSCTL, &[], |page| {
        page.put32(0, command);
        page.put32(4, SYSCTL_VERSION);
        fill(page);
    })
}

fn flask(attacker: &Attacker, command: u32, fill: impl FnOnce(&Page)) -> Verdict {
    call(attacker, XSM_OP, &[], |page| {
        page.put32(0, command);
        page.put32(4, flask::INTERFACE_VERSION);
        fill(page);
    })
}

/// Relabels this domain, unless the policy is not enforced anyway: then a change would stay.
fn relabel(attacker: &Attacker, me: u16) -> Verdict {
    if may_control(attacker, me).is_ok() {
        return Verdict::failed("not tried: nothing is refused here, and the label would stay");
    }
    // 3 is the initial identifier of the control domain (`xen/xsm/flask/policy/initial_sids`).
    flask(attacker, 24, |page| {
        page.put32(U, u32::from(me));
        page.put32(U + 4, 3);
    })
}

fn console(attacker: &Attacker, command: u64) -> Verdict {
    let result = Attacker::page(|page| page.put(0, b"\n")).and_then(|page| {
        attacker
            .raw
            .hypercall(CONSOLE_IO, &[command, 1, page.address(0)])
    });
    Verdict::from_io(result, &[], |value| format!("done: {value}"))
}

fn version(attacker: &Attacker, _: u16) -> Verdict {
    Verdict::from_xen(attacker.privcmd.xen_version(), |version| {
        version.to_string()
    })
}
