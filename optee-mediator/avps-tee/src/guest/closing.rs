//! What goes on beside a guest's calls and after them: calls that take too long, rights that are taken away, sessions that nobody
//! wants any more, and the guest's end. What calls the secure world here has a thread of its own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

use optee_abi::SessionId;
use optee_abi::smc::ReturnCode;

use super::calls::Expired;
use super::dispatcher::{Dispatcher, Work};
use super::pending::{Due, Overdue};
use crate::audit::Event;
use crate::counters::count;
use crate::permits::Purpose;
use crate::rights::Rights;

impl Dispatcher {
    /// Carries a message out. Gives the vCPU to answer, if one still stands for it.
    pub(super) fn work(&self, work: Work) -> Option<Due> {
        let id = work.id;
        let reply = self.carry_out(work);
        self.close_unwanted();
        self.calls.end(id, &reply?)
    }

    /// Does what the time has come for: vCPUs to answer, and when it comes next.
    pub(super) fn expire(&self) -> (Vec<Due>, Option<Instant>) {
        let (expired, next) = self.calls.expire(Instant::now());
        let mut answers = Vec::new();
        for expired in expired {
            match expired {
                Expired::Answer(due) => {
                    count(&self.counters.sleeps);
                    answers.push(due);
                }
                Expired::Overdue(id, overdue) => answers.extend(self.overdue(id, overdue)),
            }
        }
        (answers, next)
    }

    fn overdue(&self, id: u32, overdue: Overdue) -> Option<Due> {
        match overdue {
            Overdue::Cancel {
                session,
                application,
            } => {
                if let Some(application) = application {
                    self.record(&Event::TimedOut(application));
                }
                self.cancel_later(session, id);
                None
            }
            Overdue::GivenUp {
                due,
                application,
                session,
                running,
            } => {
                if let Some(application) = application {
                    self.record(&Event::GivenUp(application));
                }
                if let Some(session) = session {
                    self.sessions.give_up(session);
                }
                if running {
                    self.record(&Event::Quarantined);
                    // The guest is to have one permit at most while a call of it does not end.
                    for (session, id) in self.calls.all_running() {
                        self.cancel_later(session, id);
                    }
                }
                // Whoever waits for a permit looks why it must not have one.
                self.shared.permits.wake();
                due
            }
        }
    }

    /// Asks the secure world to end a call. That takes a permit, which may take time: nobody waits for it.
    fn cancel_later(&self, session: SessionId, id: u32) {
        let (Some(this), Some(opened)) = (self.me.upgrade(), self.sessions.get(session)) else {
            return;
        };
        let started = thread::Builder::new()
            .name(format!("cancel {}", self.domid))
            .spawn(move || this.cancel_call(opened.host, id));
        if let Err(error) = started {
            let text = format!("a call cannot be cancelled: {error}");
            self.record(&Event::Trouble(text));
        }
    }

    fn cancel_call(&self, host: u32, id: u32) {
        let weight = self.rights().weight;
        let ended = || (!self.calls.is_running(id)).then_some(());
        let permits = &self.shared.permits;
        if let Ok(_permit) = permits.wait(self.attachment, weight, Purpose::Cancel, ended) {
            count(&self.counters.calls);
            // It may have ended by now.
            let _ = self.tee.cancel(host, id);
        }
    }

    /// Has sessions closed that nobody wants and no call has.
    pub(super) fn close_unwanted(&self) {
        if !self.may_close() || self.closing.swap(true, Ordering::SeqCst) {
            return;
        }
        let Some(this) = self.me.upgrade() else {
            return;
        };
        let started = thread::Builder::new()
            .name(format!("close {}", self.domid))
            .spawn(move || this.close_all_unwanted());
        if let Err(error) = started {
            // The next call tries again.
            self.closing.store(false, Ordering::SeqCst);
            let text = format!("sessions cannot be closed now: {error}");
            self.record(&Event::Trouble(text));
        }
    }

    /// A guest in quarantine gets no permit more, until a call of it ends, which then looks here.
    fn may_close(&self) -> bool {
        self.sessions.has_to_close() && self.calls.strays() == 0
    }

    fn close_all_unwanted(&self) {
        loop {
            while self.may_close()
                && let Some((session, opened)) = self.sessions.next_to_close()
            {
                let weight = self.rights().weight;
                let quarantined = || (self.calls.strays() > 0).then_some(());
                let permits = &self.shared.permits;
                match permits.wait(self.attachment, weight, Purpose::Call, quarantined) {
                    Ok(_permit) => {
                        self.close_host(opened.host);
                        self.sessions.closed(session);
                    }
                    Err(()) => self.sessions.put_back(session),
                }
            }
            self.closing.store(false, Ordering::SeqCst);
            // Something may have come meanwhile.
            if !self.may_close() || self.closing.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    /// No call begins any more: forgets all that is the guest's, without calling the secure world. Answers for vCPUs that stand still,
    /// of which the guest's driver makes a communication error. [`Dispatcher::finish`] does the rest.
    pub(super) fn close_down(&self, for_good: bool) -> Vec<Due> {
        let running = self.calls.all_running();
        let held = self.calls.clear();
        for (session, id) in running {
            self.cancel_later(session, id);
        }
        self.memory.clear(for_good);
        let permits = &self.shared.permits;
        permits.end(self.attachment, self.domid.get(), &self.name);
        permits.wake();
        let answer = ReturnCode::NotAvailable.into();
        held.into_iter().map(|held| Due { held, answer }).collect()
    }

    /// Gives back what the guest has in the secure world, which may take as long as that is busy.
    pub(super) fn finish(&self) {
        self.shared.pool.end(self.attachment);
        self.sessions.revoke(|_| false);
        self.close_unwanted();
    }

    /// Other rights from now on, if these are others. Sessions that they do not allow are closed.
    pub(super) fn set_rights(&self, rights: Rights) {
        let mut current = self.rights.write().unwrap_or_else(PoisonError::into_inner);
        if **current == rights {
            return;
        }
        *current = Arc::new(rights);
        drop(current);
        self.record(&Event::Rights);
        self.revoke();
        self.close_unwanted();
    }

    /// Nothing more is called in sessions that the guest's rights do not allow.
    pub(super) fn revoke(&self) {
        let rights = self.rights();
        let revoked = self
            .sessions
            .revoke(|opened| rights.opens(opened.asked, opened.login) == Ok(opened.application));
        let running = self.calls.all_running();
        for (session, application) in revoked {
            self.record(&Event::Revoked(application));
            for (_, id) in running.iter().filter(|(of, _)| *of == session) {
                self.cancel_later(session, *id);
            }
        }
    }
}
