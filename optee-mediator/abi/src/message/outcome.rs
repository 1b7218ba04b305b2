use zerocopy::FromBytes;

use crate::ids::SessionId;
use crate::limits::{META_PARAMS, TA_PARAMS};
use crate::message::Message;
use crate::message::command::{Command, MessageCommand};
use crate::message::param::{Direction, Param};
use crate::message::raw::{RawHeader, RawParam};
use crate::result::{Origin, TeeResult};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub result: TeeResult,
    /// Who says so.
    pub origin: Origin,
    /// The session that was opened; only of [`Command::OpenSession`]. The guest finds 0 if there is none.
    pub session: Option<SessionId>,
    /// What the trusted application gives back, parameter by parameter.
    pub outputs: [Output; TA_PARAMS],
}

/// What is given back of a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Nothing.
    #[default]
    Unchanged,
    /// These numbers.
    Value {
        /// First number.
        a: u64,
        /// Second number.
        b: u64,
        /// Third number. OP-TEE leaves it as it is (core/tee/entry_std.c, `copy_out_param`).
        c: u64,
    },
    /// So many bytes. May be more than there is room for, with `SHORT_BUFFER`.
    Size(u64),
}

/// Why an outcome is none of this message. It is not the guest's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutcomeError {
    /// The copy is not the one that was parsed.
    #[error("the answer has no room in this copy of the message")]
    Truncated,
    /// A session without one having been asked for, or without success.
    #[error("a session that was not opened")]
    Session,
    /// A parameter of another kind, or one that only goes to the TEE.
    #[error("parameter {0} gives nothing of this kind back")]
    Output(usize),
}

impl Outcome {
    /// Nothing but a result.
    pub const fn only(result: TeeResult, origin: Origin) -> Outcome {
        Outcome {
            result,
            origin,
            session: None,
            outputs: [Output::Unchanged; TA_PARAMS],
        }
    }
}

impl Message {
    /// Puts an outcome into the copy that this message was parsed of: result, origin, the session if one was to be
    /// opened, numbers and sizes of parameters that go to the guest. All else stays as the guest wrote it. In case of
    /// an error nothing is changed.
    pub fn answer(&self, outcome: &Outcome, copy: &mut [u8]) -> Result<(), OutcomeError> {
        let opens = matches!(self.command, Command::OpenSession { .. });
        if outcome.session.is_some() && !(opens && outcome.result == TeeResult::SUCCESS) {
            return Err(OutcomeError::Session);
        }
        let params = self.command.params();
        for (index, output) in outcome.outputs.iter().enumerate() {
            let param = params.and_then(|params| params.given().get(index));
            if !output.suits(param.unwrap_or(&Param::None)) {
                return Err(OutcomeError::Output(index));
            }
        }
        let (header, rest) =
            RawHeader::mut_from_prefix(copy).map_err(|_| OutcomeError::Truncated)?;
        let (raw, _) = <[RawParam]>::mut_from_prefix_with_elems(rest, self.num_params)
            .map_err(|_| OutcomeError::Truncated)?;

        header.ret.set(outcome.result.0);
        header.ret_origin.set(outcome.origin.0);
        if opens {
            header
                .session
                .set(outcome.session.map_or(0, |session| session.0));
        }
        let skipped = if opens { META_PARAMS } else { 0 };
        for (raw, output) in raw.iter_mut().skip(skipped).zip(&outcome.outputs) {
            match *output {
                Output::Unchanged => {}
                Output::Value { a, b, c } => {
                    raw.a.set(a);
                    raw.b.set(b);
                    raw.c.set(c);
                }
                Output::Size(size) => raw.b.set(size),
            }
        }
        Ok(())
    }
}

impl Output {
    fn suits(&self, param: &Param) -> bool {
        let writes = |direction: &Direction| direction.writes();
        match (self, param) {
            (Output::Unchanged, _) => true,
            (Output::Value { .. }, Param::Value { direction, .. }) => writes(direction),
            (
                Output::Size(_),
                Param::Null { direction, .. }
                | Param::Temporary { direction, .. }
                | Param::Registered { direction, .. },
            ) => writes(direction),
            _ => false,
        }
    }
}

/// Puts a refusal into the copy of a message that could not be parsed ([`crate::message::Verdict::Message`]): result,
/// origin, and no session if one was to be opened. All else stays as the guest wrote it, and only the first
/// [`HEADER_LEN`](crate::limits::HEADER_LEN) bytes have to go back. A copy without those is left alone.
pub fn refuse(copy: &mut [u8], result: TeeResult, origin: Origin) {
    let Ok((header, _)) = RawHeader::mut_from_prefix(copy) else {
        return;
    };
    header.ret.set(result.0);
    header.ret_origin.set(origin.0);
    if header.cmd.get() == MessageCommand::OPEN_SESSION.0 {
        header.session.set(0);
    }
}
