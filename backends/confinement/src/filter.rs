//! The list of system calls as programs for the kernel.
//!
//! One program has one answer for what it matches and one for the rest, and the kernel obeys the strictest of all
//! programs. So there is one per error to be returned, and, last because it forbids installing others, the one that
//! ends the process.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::calls::{ALWAYS, Only, REFUSED, RINGS};

/// Rules by system call; a call without rules matches whatever its arguments are.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters, for all threads there are and will be.
pub(crate) fn install(ioctls: &[u32], rings: bool) -> io::Result<()> {
    for program in programs(ioctls, rings).map_err(io::Error::other)? {
        seccompiler::apply_filter_all_threads(&program).map_err(|error| match error {
            seccompiler::Error::Seccomp(source) | seccompiler::Error::Prctl(source) => source,
            other => io::Error::other(other),
        })?;
    }
    Ok(())
}

fn programs(ioctls: &[u32], rings: bool) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut allowed = Rules::new();
    let mut refused: BTreeMap<i32, Rules> = BTreeMap::new();
    for (call, only) in ALWAYS {
        add(&mut allowed, *call, *only)?;
    }
    for (call, only, errno) in REFUSED {
        // The strictest answer counts, so what is refused must not be forbidden.
        add(&mut allowed, *call, *only)?;
        add(refused.entry(*errno).or_default(), *call, *only)?;
    }
    for call in RINGS {
        add(&mut allowed, *call, Only::Any)?;
        if !rings {
            add(refused.entry(libc::ENOSYS).or_default(), *call, Only::Any)?;
        }
    }
    for request in ioctls {
        add(&mut allowed, libc::SYS_ioctl, Only::Is(1, *request))?;
    }
    // Aborting: only this process can be meant.
    add(
        &mut allowed,
        libc::SYS_tgkill,
        Only::Is(0, std::process::id()),
    )?;

    let mut programs = Vec::new();
    for (errno, rules) in refused {
        let answer = SeccompAction::Errno(errno.unsigned_abs());
        programs.push(program(rules, SeccompAction::Allow, answer)?);
    }
    programs.push(program(
        allowed,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
    )?);
    Ok(programs)
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()
}

fn add(rules: &mut Rules, call: c_long, only: Only) -> Result<(), seccompiler::BackendError> {
    let condition = |argument, operator, value: u32| {
        SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            operator,
            u64::from(value),
        )
    };
    let condition = match only {
        Only::Any => None,
        Only::Is(argument, value) => Some(condition(argument, SeccompCmpOp::Eq, value)?),
        Only::Bits(argument, mask, value) => Some(condition(
            argument,
            SeccompCmpOp::MaskedEq(u64::from(mask)),
            value,
        )?),
    };
    let entry = rules.entry(call).or_default();
    if let Some(condition) = condition {
        entry.push(SeccompRule::new(vec![condition])?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_becomes_programs_the_kernel_takes() {
        for rings in [true, false] {
            let programs = programs(&[1, 2, 3], rings).unwrap();
            assert_eq!(programs.len(), 3);
            // BPF_MAXINSNS.
            assert!(programs.iter().all(|program| program.len() < 4096));
        }
    }

    #[test]
    fn no_call_is_listed_both_with_and_without_a_condition() {
        // Such a call would lose its condition, or its freedom.
        for (call, only) in ALWAYS {
            let same = || ALWAYS.iter().filter(|(other, _)| other == call);
            if matches!(only, Only::Any) {
                assert_eq!(same().count(), 1, "system call {call}");
            }
        }
    }
}
