//! The events of one watch that nobody has taken yet.
//!
//! A watch is a hint that something below a path *is* different now, not a log of what happened.
//! So memory is bounded without losing anything that counts:
//! - an event equal to one that is still waiting is dropped: whoever takes the waiting one looks at
//!   the node afterwards, and sees both changes;
//! - when [`PENDING_MAX`] different paths are waiting, they are all replaced by one event for the
//!   watch's own path, which covers everything below it; until that is taken, further events are
//!   covered by it too.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use crate::path;

/// Most paths that wait in one watch.
pub const PENDING_MAX: usize = 1024;

/// What happened to an event that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Queued,
    /// An event that waits already says the same.
    Coalesced,
    /// Too many: the queue now holds the watch's own path only.
    Collapsed,
    /// Deeper than the watch asked for.
    Filtered,
}

#[derive(Debug)]
pub(crate) struct Events {
    root: Arc<str>,
    /// Deepest level to report, where the server does not filter.
    depth: Option<u32>,
    queue: VecDeque<Arc<str>>,
    waiting: HashSet<Arc<str>>,
    collapsed: bool,
    /// Those who wait, by the numbers that they were given.
    waiters: Vec<(u64, Waker)>,
    last_waiter: u64,
}

/// Somebody who waits for an event; whoever has it takes it back when they no longer wait ([`Events::forget`]).
#[derive(Debug, Default)]
pub(crate) struct Waiter(Option<u64>);

impl Events {
    pub(crate) fn new(root: &str, depth: Option<u32>) -> Self {
        Self {
            root: root.into(),
            depth,
            queue: VecDeque::new(),
            waiting: HashSet::new(),
            collapsed: false,
            waiters: Vec::new(),
            last_waiter: 0,
        }
    }

    pub(crate) fn push(&mut self, path: &str) -> Outcome {
        if let (Some(limit), Some(depth)) = (self.depth, path::depth_below(&self.root, path))
            && depth > limit
        {
            return Outcome::Filtered;
        }
        if self.collapsed || self.waiting.contains(path) {
            return Outcome::Coalesced;
        }
        if self.queue.len() >= PENDING_MAX {
            self.queue.clear();
            self.waiting.clear();
            self.collapsed = true;
            self.queue.push_back(Arc::clone(&self.root));
            return Outcome::Collapsed;
        }
        let path: Arc<str> = path.into();
        self.waiting.insert(Arc::clone(&path));
        self.queue.push_back(path);
        Outcome::Queued
    }

    pub(crate) fn pop(&mut self) -> Option<String> {
        let path = self.queue.pop_front()?;
        self.waiting.remove(&path);
        self.collapsed = false;
        Some(path.as_ref().to_owned())
    }

    /// Has `waker` woken by the next event, in place of the one that `waiter` gave before; that one comes back.
    pub(crate) fn wait(&mut self, waiter: &mut Waiter, waker: &Waker) -> Option<Waker> {
        let known = self
            .waiters
            .iter_mut()
            .find(|(number, _)| Some(*number) == waiter.0);
        match known {
            Some((_, known)) if known.will_wake(waker) => None,
            Some((_, known)) => Some(std::mem::replace(known, waker.clone())),
            None => {
                self.last_waiter = self.last_waiter.wrapping_add(1);
                waiter.0 = Some(self.last_waiter);
                self.waiters.push((self.last_waiter, waker.clone()));
                None
            }
        }
    }

    /// Gives back the waker of somebody who no longer waits.
    pub(crate) fn forget(&mut self, waiter: &Waiter) -> Option<Waker> {
        let mut waiters = self.waiters.iter();
        let at = waiters.position(|(number, _)| Some(*number) == waiter.0)?;
        Some(self.waiters.swap_remove(at).1)
    }

    #[cfg(test)]
    pub(crate) fn waiters(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn take_waiters(&mut self, into: &mut Vec<Waker>) {
        into.extend(self.waiters.drain(..).map(|(_, waker)| waker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_events_wait_once_and_come_again_after_they_were_taken() {
        let mut events = Events::new("/a", None);
        assert_eq!(events.push("/a/b"), Outcome::Queued);
        assert_eq!(events.push("/a/b"), Outcome::Coalesced);
        assert_eq!(events.pop().as_deref(), Some("/a/b"));
        assert_eq!(events.push("/a/b"), Outcome::Queued);
        assert_eq!(events.pop().as_deref(), Some("/a/b"));
        assert_eq!(events.pop(), None);
    }

    #[test]
    fn too_many_paths_collapse_to_the_root_and_recover() {
        let mut events = Events::new("/a", None);
        for i in 0..PENDING_MAX {
            assert_eq!(events.push(&format!("/a/{i}")), Outcome::Queued);
        }
        assert_eq!(events.push("/a/x"), Outcome::Collapsed);
        assert_eq!(events.push("/a/y"), Outcome::Coalesced);
        assert_eq!(events.pop().as_deref(), Some("/a"));
        assert_eq!(events.pop(), None);
        assert_eq!(events.push("/a/y"), Outcome::Queued);
    }

    #[test]
    fn depth_is_kept_where_the_server_does_not() {
        let mut events = Events::new("/a", Some(1));
        assert_eq!(events.push("/a"), Outcome::Queued);
        assert_eq!(events.push("/a/b"), Outcome::Queued);
        assert_eq!(events.push("/a/b/c"), Outcome::Filtered);
    }
}
