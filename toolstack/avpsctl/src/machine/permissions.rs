//! Who may read a node of XenStore: entries of single domains are added and taken away, all others stay.
//!
//! The first entry names the owner, and what domains without an entry may do (docs/misc/xenstore.txt, xenstored's `perm_for_conn`).

use xenstore::{Access, Permission};

/// In an entry of a node's permissions: every domain. xenstored of Xen 4.22 knows it (`XENSTORE_SERVER_FEATURE_DOMID_ANY`) and lets everybody
/// be told of the ends of domains by such an entry.
pub(super) const EVERYBODY: u16 = 0x7ff5;

/// Whether an entry is about one domain, which may be gone.
pub(super) fn is_of_one_domain(entry: &Permission) -> bool {
    entry.domid != EVERYBODY
}

/// Lets a domain read. `true` when that changes anything.
pub(super) fn permit(all: &mut Vec<Permission>, domid: u16) -> bool {
    let Some((owner, others)) = all.split_first_mut() else {
        return false;
    };
    if owner.domid == domid {
        return false;
    }
    if let Some(entry) = others.iter_mut().find(|entry| entry.domid == domid) {
        let access = match entry.access {
            Access::None => Access::Read,
            Access::Write => Access::Both,
            enough => enough,
        };
        return std::mem::replace(&mut entry.access, access) != access;
    }
    let reads = |entry: &Permission| matches!(entry.access, Access::Read | Access::Both);
    if reads(owner)
        || others
            .iter()
            .any(|entry| !is_of_one_domain(entry) && reads(entry))
    {
        return false;
    }
    all.push(Permission::new(domid, Access::Read));
    true
}

/// Takes the entries of these domains away; the owner's stays. `true` when that changes anything.
pub(super) fn forbid(all: &mut Vec<Permission>, domids: &[u16]) -> bool {
    let before = all.len();
    let mut first = true;
    all.retain(|entry| std::mem::take(&mut first) || !domids.contains(&entry.domid));
    all.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Permission> {
        let words = text.split(' ');
        words.map(|word| word.parse().expect("an entry")).collect()
    }

    #[test]
    fn a_reader_is_added_and_nobody_elses_entry_changes() {
        for (before, after) in [
            ("n0", "n0 r3"),
            ("n0 r1 b2", "n0 r1 b2 r3"),
            ("n0 n3 r1", "n0 r3 r1"),
            ("n0 w3", "n0 b3"),
        ] {
            let mut all = entries(before);
            assert!(permit(&mut all, 3), "{before}");
            assert_eq!(all, entries(after));
        }
    }

    #[test]
    fn who_may_read_already_gets_no_second_entry() {
        for before in [
            "n3",
            "r0",
            "b0 r1",
            "n0 r3",
            "n0 b3 r1",
            "n0 r32757",
            "n0 r1 b32757",
        ] {
            let mut all = entries(before);
            assert!(!permit(&mut all, 3), "{before}");
            assert_eq!(all, entries(before));
        }
    }

    #[test]
    fn everybodys_entry_is_no_domain_that_may_be_gone() {
        let about_one: Vec<_> = entries("n0 r1 r32757 r32751")
            .into_iter()
            .filter(is_of_one_domain)
            .collect();
        assert_eq!(about_one, entries("n0 r1 r32751"));
        let mut all = entries("n0 n32757");
        assert!(permit(&mut all, 3), "everybody may do nothing");
        assert_eq!(all, entries("n0 n32757 r3"));
    }

    #[test]
    fn entries_are_taken_away_but_never_the_owners() {
        let mut all = entries("n3 r1 r3 r2 r3");
        assert!(forbid(&mut all, &[3, 7]));
        assert_eq!(all, entries("n3 r1 r2"));
        assert!(!forbid(&mut all, &[3]));
        assert!(!forbid(&mut Vec::new(), &[3]));
    }
}
