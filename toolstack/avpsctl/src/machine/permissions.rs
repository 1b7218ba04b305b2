//! Who may read a node of XenStore: entries of single domains are added and taken away, all others stay.
//!
//! The first entry names the owner, and what domains without an entry may do (docs/misc/xenstore.txt, xenstored's `perm_for_conn`).

use xenstore::{Access, Permission};

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
    if matches!(owner.access, Access::Read | Access::Both) {
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
        for before in ["n3", "r0", "b0 r1", "n0 r3", "n0 b3 r1"] {
            let mut all = entries(before);
            assert!(!permit(&mut all, 3), "{before}");
            assert_eq!(all, entries(before));
        }
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
