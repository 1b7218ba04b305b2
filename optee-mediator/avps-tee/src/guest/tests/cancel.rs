//! A guest cancels its own call, which lasts: the secure world is told which one, and both are answered.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use optee_abi::smc::{Answer, FunctionId, ReturnCode};
use optee_abi::{SessionId, TeeResult};
use tee_device::{Buffer, Outcome, PARAMETERS, Parameter};

use super::driver::Driver;
use super::world::{APPLICATION, rights, shared};
use crate::guest::dispatcher::{Taken, Work};
use crate::world::{Client, SecureWorld};

/// Where the two messages lie.
const CALL: u64 = 0x4000;
const CANCEL: u64 = 0x5000;
/// The application's function that lasts until it is cancelled.
const LASTS: u32 = 14;
/// What the guest calls this call.
const OWN_ID: u32 = 77;
/// `TEE_ERROR_CANCEL`.
const CANCELLED: u32 = 0xffff_0002;
const PATIENCE: Duration = Duration::from_secs(20);

/// A secure world with one application, each of whose calls lasts until it is cancelled.
#[derive(Debug, Default)]
struct Patient {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Session and number of the call that lasts.
    running: Option<(u32, u32)>,
    /// What was cancelled.
    cancelled: Vec<(u32, u32)>,
}

impl Patient {
    /// Waits until a call lasts.
    fn wait_for_a_call(&self) -> (u32, u32) {
        let state = self.state.lock().unwrap();
        let none = |state: &mut State| state.running.is_none();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, none)
            .unwrap();
        state.running.expect("no call has come")
    }
}

impl SecureWorld for Patient {
    fn open_session(
        &self,
        _: [u8; 16],
        _: Client,
        _: u32,
        _: &mut [Buffer],
        _: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<(Outcome, u32)> {
        Ok((done(0), 5))
    }

    fn invoke(
        &self,
        session: u32,
        function: u32,
        id: u32,
        _: &mut [Buffer],
        _: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<Outcome> {
        assert_eq!(function, LASTS);
        let call = (session, id);
        let mut state = self.state.lock().unwrap();
        state.running = Some(call);
        self.changed.notify_all();
        let lasts = |state: &mut State| !state.cancelled.contains(&call);
        let (state, waited) = self
            .changed
            .wait_timeout_while(state, PATIENCE, lasts)
            .unwrap();
        drop(state);
        Ok(done(if waited.timed_out() { 0 } else { CANCELLED }))
    }

    fn cancel(&self, session: u32, id: u32) -> tee_device::Result<()> {
        self.state.lock().unwrap().cancelled.push((session, id));
        self.changed.notify_all();
        Ok(())
    }

    fn close_session(&self, _: u32) -> tee_device::Result<()> {
        Ok(())
    }

    fn buffer(&self, size: usize) -> tee_device::Result<Buffer> {
        Buffer::unshared(size)
    }
}

fn done(result: u32) -> Outcome {
    Outcome { result, origin: 4 }
}

/// Has a message without parameters begun, which lies at its own address.
fn begin(
    driver: &Driver,
    at: u64,
    command: u32,
    function: u32,
    session: SessionId,
    id: u32,
) -> Work {
    let header = [command, function, session.0, id, 0, 0, 0, 0];
    driver.fill(at, &header.map(u32::to_le_bytes).concat());
    let call = FunctionId::CALL_WITH_RPC_ARG.0.into();
    match driver.call([call, 0, at, 0, 0, 0, 0, 0]) {
        Taken::Work(work) => work,
        taken => panic!("{taken:?}"),
    }
}

/// What the message at this address was answered.
fn answer_at(driver: &Driver, at: u64) -> TeeResult {
    let bytes = driver.bytes(at + 20, 4);
    TeeResult(u32::from_le_bytes(bytes.try_into().unwrap()))
}

#[test]
fn a_call_that_its_guest_cancels_is_answered_so_and_the_cancelling_itself_succeeds() {
    let patient = Arc::new(Patient::default());
    let tee: Arc<dyn SecureWorld> = Arc::clone(&patient) as _;
    let driver = Driver::in_world(&shared(), 1, rights(), tee);
    let session = driver.open(APPLICATION).unwrap();
    let driver = &driver;
    let work = begin(driver, CALL, 1, LASTS, session, OWN_ID);
    let number = work.id;
    std::thread::scope(|scope| {
        let call = scope.spawn(move || driver.dispatcher.work(work));
        let running = patient.wait_for_a_call();
        // Another number is another call's, and a session that is not open has none.
        for (session, id, result) in [
            (session, OWN_ID + 1, TeeResult::SUCCESS),
            (SessionId(session.0 + 1), OWN_ID, TeeResult::BAD_PARAMETERS),
        ] {
            let wrong = begin(driver, CANCEL, 3, 0, session, id);
            let due = driver.dispatcher.work(wrong).expect("an answer");
            assert_eq!(due.answer, Answer::from(ReturnCode::Ok));
            assert_eq!(answer_at(driver, CANCEL), result);
        }
        assert_eq!(patient.state.lock().unwrap().cancelled, []);
        assert!(!call.is_finished());

        let cancel = begin(driver, CANCEL, 3, 0, session, OWN_ID);
        let due = driver.dispatcher.work(cancel).expect("an answer");
        assert_eq!(due.answer, Answer::from(ReturnCode::Ok));
        assert_eq!(answer_at(driver, CANCEL), TeeResult::SUCCESS);
        assert_eq!(patient.state.lock().unwrap().cancelled, [running]);

        // Its guest may have been sent to sleep meanwhile: then it fetches the answer.
        match call.join().unwrap() {
            Some(due) => assert_eq!(due.answer, Answer::from(ReturnCode::Ok)),
            None => assert_eq!(driver.resume(number), Answer::from(ReturnCode::Ok)),
        }
        assert_eq!(answer_at(driver, CALL), TeeResult(CANCELLED));
    });
    assert_eq!(driver.dispatcher.calls.count(), 0);
}
