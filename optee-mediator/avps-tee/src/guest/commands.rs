//! Carries messages out: what the guest asks of the secure world, as far as it may.

use std::time::Instant;

use optee_abi::message::Params;
use optee_abi::{Command, Login, Message, Origin, Outcome, SessionId, TeeResult, Uuid};
use rustix::io::Errno;

use super::calls::Stop;
use super::dispatcher::{Dispatcher, Work};
use super::memory::MemoryError;
use super::pending::Reply;
use super::sessions::{Close, NoSession, Opened};
use super::transfer::{copy_in, copy_out};
use crate::audit::Event;
use crate::counters::count;
use crate::identities::{self, IdentityError};
use crate::lock;
use crate::permits::{Permit, Purpose};
use crate::rights::Denied;
use crate::world::Client;

/// What a guest is told instead of an answer of the secure world.
pub(super) type Refused = (TeeResult, Origin);

/// Why a call has no answer of the secure world.
pub(super) enum NoAnswer {
    /// The guest is told this.
    Refused(Refused),
    /// The guest was told already, or is gone.
    GivenUp,
}

impl From<Refused> for NoAnswer {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

type Answer = Result<Outcome, NoAnswer>;

/// A call is in the secure world until this is dropped.
struct Inside<'a> {
    dispatcher: &'a Dispatcher,
    id: u32,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.dispatcher.calls.left(self.id) {
            self.dispatcher.record(&Event::Released);
        }
    }
}

fn comms(result: TeeResult) -> NoAnswer {
    NoAnswer::Refused((result, Origin::COMMS))
}

fn done() -> Answer {
    Ok(Outcome::only(TeeResult::SUCCESS, Origin::COMMS))
}

impl Dispatcher {
    /// Carries a message out; none if the call was given up meanwhile.
    pub(super) fn carry_out(&self, work: Work) -> Option<Reply> {
        let Work {
            id,
            message,
            mut reply,
        } = work;
        let began = Instant::now();
        let outcome = match self.command(id, &message) {
            Ok(outcome) => outcome,
            Err(NoAnswer::Refused((result, origin))) => Outcome::only(result, origin),
            Err(NoAnswer::GivenUp) => return None,
        };
        self.took(began.elapsed());
        if let Err(error) = message.answer(&outcome, &mut reply.copy) {
            self.record(&Event::Trouble(error.to_string()));
            optee_abi::message::refuse(&mut reply.copy, TeeResult::GENERIC, Origin::COMMS);
        }
        Some(reply)
    }

    fn command(&self, id: u32, message: &Message) -> Answer {
        match &message.command {
            Command::OpenSession {
                ta,
                login,
                client,
                params,
                ..
            } => self.open(id, *ta, (*login, *client), params),
            Command::Invoke {
                session,
                function,
                params,
                ..
            } => self.invoke(id, *session, *function, params),
            Command::CloseSession { session } => self.close(id, *session),
            Command::Cancel { session, cancel_id } => self.cancel(id, *session, *cancel_id),
            Command::RegisterShm { memory } => {
                let limit = self.rights().shared_memory_bytes;
                self.shared_or_refused(self.memory.register(memory, limit))
            }
            Command::UnregisterShm { shm_ref } => {
                self.shared_or_refused(self.memory.unregister(*shm_ref))
            }
            Command::DoBottomHalf => done(),
            Command::StopAsyncNotif => {
                self.notify(false);
                done()
            }
        }
    }

    fn shared_or_refused(&self, outcome: Result<(), MemoryError>) -> Answer {
        outcome.map_err(|error| {
            self.memory_refused(&error);
            comms(error.result())
        })?;
        done()
    }

    fn open(&self, id: u32, asked: Uuid, client: (Login, Uuid), params: &Params) -> Answer {
        let rights = self.rights();
        let (login, claimed) = client;
        let denied = |denied, result| {
            self.record(&Event::Denied(Some(asked), denied));
            NoAnswer::Refused((result, Origin::TEE))
        };
        // From here on only the application that is opened counts.
        let application = rights
            .opens(asked, login)
            .map_err(|why| denied(why, TeeResult::ACCESS_DENIED))?;
        self.pace(Some(application))?;
        let place = self.sessions.begin(rights.sessions);
        let place =
            place.ok_or_else(|| denied(Denied::Sessions(rights.sessions), TeeResult::BUSY))?;
        let client = self.client(application, login, claimed)?;
        let mut prepared = self.prepare(params)?;
        // Kept as long as the buffers: there are enough for each permit's share.
        let _permit = self.permit(id, Purpose::Call)?;
        let mut lease = self.buffers(&prepared)?;
        copy_in(&prepared, lease.buffers(), self)?;
        let inside = self.enter(id, application)?;
        count(&self.counters.calls);
        let opened = self.tee.open_session(
            application.0,
            client,
            id,
            lease.buffers(),
            &mut prepared.parameters,
        );
        let (outcome, host) = opened.map_err(|error| self.trouble(&error))?;
        let succeeded = outcome.result == TeeResult::SUCCESS.0;
        if !self.calls.ending(id) {
            if succeeded {
                self.close_host(host);
            }
            return Err(NoAnswer::GivenUp);
        }
        drop(inside);
        if !succeeded {
            self.record(&Event::Failed(application, outcome.result));
            return Ok(copy_out(&prepared, lease.buffers(), outcome, self));
        }
        self.record(&Event::Opened(application));
        let opened = Opened {
            host,
            application,
            asked,
            login,
        };
        let session = place.opened(opened);
        // The right may have been taken away meanwhile: from here on it would be seen.
        self.revoke();
        if self.sessions.enter(session).is_err() {
            // The guest does not get to know the session, which is closed like any other that nobody wants.
            if let Some(Close::Now(_)) = self.sessions.close(session) {
                self.sessions.put_back(session);
            }
            return Err(NoAnswer::Refused((TeeResult::ACCESS_DENIED, Origin::TEE)));
        }
        let mut answer = copy_out(&prepared, lease.buffers(), outcome, self);
        answer.session = Some(session);
        Ok(answer)
    }

    fn invoke(&self, id: u32, session: SessionId, function: u32, params: &Params) -> Answer {
        let used = self.sessions.enter(session).map_err(|why| match why {
            // Of an earlier life of this program, most likely: the guest's driver tells its program that it must begin again.
            NoSession::Unknown => comms(TeeResult::COMMUNICATION),
            NoSession::Dead => NoAnswer::Refused((TeeResult::TARGET_DEAD, Origin::TEE)),
        })?;
        let Opened {
            host, application, ..
        } = used.opened;
        self.pace(Some(application))?;
        let mut prepared = self.prepare(params)?;
        // Kept as long as the buffers: there are enough for each permit's share.
        let _permit = self.permit(id, Purpose::Call)?;
        let mut lease = self.buffers(&prepared)?;
        copy_in(&prepared, lease.buffers(), self)?;
        let inside = self.enter(id, application)?;
        count(&self.counters.calls);
        let called = self.tee.invoke(
            host,
            function,
            id,
            lease.buffers(),
            &mut prepared.parameters,
        );
        let outcome = called.map_err(|error| self.trouble(&error))?;
        if !self.calls.ending(id) {
            return Err(NoAnswer::GivenUp);
        }
        drop(inside);
        Ok(copy_out(&prepared, lease.buffers(), outcome, self))
    }

    fn close(&self, id: u32, session: SessionId) -> Answer {
        let unknown = || comms(TeeResult::BAD_PARAMETERS);
        let close = self.sessions.close(session).ok_or_else(unknown)?;
        // Never refused: a driver forgets a session whatever it is answered.
        if let Some(rate) = self.rights().rate {
            lock(&self.pace).owe(Instant::now(), rate);
        }
        let Close::Now(Opened {
            host, application, ..
        }) = close
        else {
            return done();
        };
        let closed = self.wait(id, Purpose::Call).and_then(|_permit| {
            let inside = self.start(id, application)?;
            self.close_host(host);
            self.sessions.closed(session);
            if !self.calls.ending(id) {
                return Err(Stop::GivenUp);
            }
            drop(inside);
            Ok(())
        });
        if let Err(stop) = closed {
            // Unless it is closed by now, it is closed later.
            self.sessions.put_back(session);
            if stop == Stop::GivenUp {
                return Err(NoAnswer::GivenUp);
            }
        }
        done()
    }

    fn cancel(&self, id: u32, session: SessionId, cancel_id: u32) -> Answer {
        let opened = self.sessions.get(session);
        let opened = opened.ok_or_else(|| comms(TeeResult::BAD_PARAMETERS))?;
        self.pace(Some(opened.application))?;
        let (waiting, running) = self.calls.cancel(session, cancel_id);
        if waiting {
            self.shared.permits.wake();
        }
        if !running.is_empty() {
            let _permit = self.permit(id, Purpose::Cancel)?;
            for call in running {
                count(&self.counters.calls);
                // It may have ended by now.
                let _ = self.tee.cancel(opened.host, call);
            }
        }
        done()
    }

    /// Who the secure world is told the client is.
    fn client(&self, application: Uuid, login: Login, claimed: Uuid) -> Result<Client, NoAnswer> {
        let identities = &self.shared.identities;
        let client = identities.client(&self.name, login, claimed);
        client.map_err(|error| match error {
            IdentityError::TooMany => {
                let denied = Denied::Clients(identities::MOST);
                self.record(&Event::Denied(Some(application), denied));
                NoAnswer::Refused((TeeResult::ACCESS_DENIED, Origin::TEE))
            }
            error => {
                self.record(&Event::Trouble(error.to_string()));
                comms(TeeResult::GENERIC)
            }
        })
    }

    /// Closes a session in the secure world; the caller has a permit.
    pub(super) fn close_host(&self, host: u32) {
        count(&self.counters.calls);
        if let Err(error) = self.tee.close_session(host) {
            self.record(&Event::Trouble(error.to_string()));
        }
    }

    /// A call more in this second.
    fn pace(&self, application: Option<Uuid>) -> Result<(), NoAnswer> {
        let Some(rate) = self.rights().rate else {
            return Ok(());
        };
        if lock(&self.pace).take(Instant::now(), rate) {
            return Ok(());
        }
        self.record(&Event::Denied(application, Denied::Rate(rate)));
        Err(comms(TeeResult::BUSY))
    }

    /// Waits for a permit; else tells the guest why there is none.
    fn permit(&self, id: u32, purpose: Purpose) -> Result<Permit<'_>, NoAnswer> {
        self.wait(id, purpose).map_err(|stop| self.stopped(stop))
    }

    fn wait(&self, id: u32, purpose: Purpose) -> Result<Permit<'_>, Stop> {
        let weight = self.rights().weight;
        let permits = &self.shared.permits;
        permits.wait(self.attachment, weight, purpose, || self.calls.stop(id))
    }

    /// The secure world begins with a call; else the guest is told why it does not.
    fn enter(&self, id: u32, application: Uuid) -> Result<Inside<'_>, NoAnswer> {
        let started = self.start(id, application);
        started.map_err(|stop| self.stopped(stop))
    }

    fn start(&self, id: u32, application: Uuid) -> Result<Inside<'_>, Stop> {
        self.calls.start(id, application)?;
        Ok(Inside {
            dispatcher: self,
            id,
        })
    }

    fn stopped(&self, stop: Stop) -> NoAnswer {
        match stop {
            Stop::GivenUp => NoAnswer::GivenUp,
            Stop::Cancelled => NoAnswer::Refused((TeeResult::CANCEL, Origin::TEE)),
            Stop::Quarantined => {
                self.record(&Event::Denied(None, Denied::Quarantine));
                comms(TeeResult::BUSY)
            }
        }
    }

    pub(super) fn trouble(&self, error: &tee_device::Error) -> Refused {
        let result = match error.errno().map(Errno::from_raw_os_error) {
            Some(Errno::NOMEM) => TeeResult::OUT_OF_MEMORY,
            Some(Errno::INVAL) => TeeResult::BAD_PARAMETERS,
            _ => TeeResult::COMMUNICATION,
        };
        self.record(&Event::Trouble(error.to_string()));
        (result, Origin::COMMS)
    }
}
