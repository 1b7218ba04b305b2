//! Requests built and replies taken apart, once for both front ends.
//!
//! Nothing here sends anything. Payload syntax: `docs/misc/xenstore.txt`.

use crate::error::{Errno, Error, Result, describe};
use crate::path;
use crate::permission::Permission;
use crate::wire::MessageType;

/// A request that is ready to go.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) kind: MessageType,
    /// Transaction, 0 for none.
    pub(crate) transaction_id: u32,
    /// What it is about, for error messages: a path or a domain number.
    pub(crate) subject: &'a str,
    pub(crate) payload: Vec<u8>,
}

impl<'a> Request<'a> {
    /// `kind` with a list of strings, each of which gets its NUL.
    fn strings(kind: MessageType, subject: &'a str, strings: &[&str]) -> Result<Self> {
        let mut payload = Vec::new();
        for string in strings {
            if string.contains('\0') {
                return Err(Error::InvalidArgument {
                    request: describe(kind, subject),
                    reason: "a NUL byte can not be part of an argument",
                });
            }
            payload.extend_from_slice(string.as_bytes());
            payload.push(0);
        }
        Ok(Self {
            kind,
            transaction_id: 0,
            subject,
            payload,
        })
    }

    /// A request whose only argument is a path.
    pub(crate) fn on_path(kind: MessageType, path: &'a str) -> Result<Self> {
        path::validate(path)?;
        Self::strings(kind, path, &[path])
    }

    /// A request whose only argument is a domain. `text` is the number in decimal.
    pub(crate) fn on_domain(kind: MessageType, text: &'a str) -> Result<Self> {
        Self::strings(kind, text, &[text])
    }

    pub(crate) fn write(path: &'a str, value: &[u8]) -> Result<Self> {
        let mut request = Self::on_path(MessageType::WRITE, path)?;
        request.payload.extend_from_slice(value);
        Ok(request)
    }

    pub(crate) fn directory_part(path: &'a str, offset: usize) -> Result<Self> {
        path::validate(path)?;
        Self::strings(
            MessageType::DIRECTORY_PART,
            path,
            &[path, &offset.to_string()],
        )
    }

    pub(crate) fn set_permissions(path: &'a str, permissions: &[Permission]) -> Result<Self> {
        let mut request = Self::on_path(MessageType::SET_PERMS, path)?;
        if permissions.is_empty() {
            return Err(Error::InvalidArgument {
                request: describe(request.kind, path),
                reason: "at least the owner's entry is needed",
            });
        }
        for permission in permissions {
            request
                .payload
                .extend_from_slice(permission.to_string().as_bytes());
            request.payload.push(0);
        }
        Ok(request)
    }

    pub(crate) fn watch(path: &'a str, token: &str, depth: Option<u32>) -> Result<Self> {
        path::validate(path)?;
        match depth {
            None => Self::strings(MessageType::WATCH, path, &[path, token]),
            Some(depth) => {
                Self::strings(MessageType::WATCH, path, &[path, token, &depth.to_string()])
            }
        }
    }

    pub(crate) fn unwatch(path: &'a str, token: &str) -> Result<Self> {
        Self::strings(MessageType::UNWATCH, path, &[path, token])
    }

    /// One empty string.
    pub(crate) fn transaction_start() -> Result<Self> {
        Self::strings(MessageType::TRANSACTION_START, "", &[""])
    }

    pub(crate) fn transaction_end(transaction_id: u32, commit: bool) -> Result<Self> {
        let verdict = if commit { "T" } else { "F" };
        Ok(Self::strings(MessageType::TRANSACTION_END, "", &[verdict])?.within(transaction_id))
    }

    /// The frame number travels as a *signed* decimal: servers parse it as one.
    pub(crate) fn introduce(domid: &'a str, frame: u64, port: u32) -> Result<Self> {
        Self::strings(
            MessageType::INTRODUCE,
            domid,
            &[domid, &frame.cast_signed().to_string(), &port.to_string()],
        )
    }

    pub(crate) fn set_target(domid: &'a str, target: &str) -> Result<Self> {
        Self::strings(MessageType::SET_TARGET, domid, &[domid, target])
    }

    pub(crate) fn reset_watches() -> Result<Self> {
        Self::strings(MessageType::RESET_WATCHES, "", &[""])
    }

    pub(crate) fn control(arguments: &[&'a str]) -> Result<Self> {
        let Some(command) = arguments.first() else {
            return Err(Error::InvalidArgument {
                request: describe(MessageType::CONTROL, ""),
                reason: "a command is needed, for example help",
            });
        };
        Self::strings(MessageType::CONTROL, command, arguments)
    }

    /// No payload at all: an empty string would be taken for a domain.
    pub(crate) fn features() -> Result<Self> {
        Self::strings(MessageType::GET_FEATURE, "", &[])
    }

    pub(crate) fn within(mut self, transaction_id: u32) -> Self {
        self.transaction_id = transaction_id;
        self
    }
}

/// A successful reply, and the request it belongs to for error messages.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) kind: MessageType,
    pub(crate) subject: &'a str,
    pub(crate) payload: Vec<u8>,
}

impl Reply<'_> {
    fn nonsense(&self, detail: &str) -> Error {
        Error::bad_reply(self.kind, self.subject, detail)
    }

    /// The payload as it is.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.payload
    }

    /// `OK|`. What exactly it says is not looked at: libxenstore and Linux do not either.
    pub(crate) fn acknowledged(self) {}

    /// One string, with or without its NUL.
    pub(crate) fn string(mut self) -> Result<String> {
        if self.payload.last() == Some(&0) {
            self.payload.pop();
        }
        if self.payload.contains(&0) {
            return Err(self.nonsense("several strings where one was expected"));
        }
        match String::from_utf8(std::mem::take(&mut self.payload)) {
            Ok(text) => Ok(text),
            Err(_) => Err(self.nonsense("it is not text")),
        }
    }

    /// A number in decimal.
    pub(crate) fn number(self) -> Result<u32> {
        let (kind, subject) = (self.kind, self.subject);
        self.string()?
            .parse()
            .map_err(|_| Error::bad_reply(kind, subject, "it is not a decimal number"))
    }

    /// `T|` or `F|`.
    pub(crate) fn truth(self) -> Result<bool> {
        match self.payload.as_slice() {
            b"T\0" | b"T" => Ok(true),
            b"F\0" | b"F" => Ok(false),
            _ => Err(self.nonsense("neither T nor F")),
        }
    }

    /// Strings that each end with a NUL.
    pub(crate) fn strings(self) -> Result<Vec<String>> {
        match split_strings(&self.payload) {
            Ok(strings) => Ok(strings),
            Err(detail) => Err(self.nonsense(detail)),
        }
    }

    /// A node's permissions.
    pub(crate) fn permissions(self) -> Result<Vec<Permission>> {
        let (kind, subject) = (self.kind, self.subject);
        let permissions: Vec<Permission> = self
            .strings()?
            .iter()
            .map(|text| text.parse())
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| Error::bad_reply(kind, subject, format!("{error}")))?;
        if permissions.is_empty() {
            return Err(Error::bad_reply(kind, subject, "a node without an owner"));
        }
        Ok(permissions)
    }

    /// A part of a directory.
    pub(crate) fn part(self) -> Result<Part> {
        let Some(end) = self.payload.iter().position(|byte| *byte == 0) else {
            return Err(self.nonsense("a part of a directory without a generation"));
        };
        let (generation, rest) = self.payload.split_at(end);
        let rest = rest.strip_prefix(b"\0").unwrap_or(rest);
        // The whole list ends with an empty string of its own.
        let (list, last) = match rest {
            [] | [0] => (&[][..], true),
            [list @ .., 0, 0] => (
                rest.get(..list.len().saturating_add(1)).unwrap_or(rest),
                true,
            ),
            _ => (rest, false),
        };
        match split_strings(list) {
            Ok(names) => Ok(Part {
                generation: generation.to_vec(),
                bytes: list.len(),
                names,
                last,
            }),
            Err(detail) => Err(self.nonsense(detail)),
        }
    }
}

/// One reply to `DIRECTORY_PART`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Changes when the node does.
    pub(crate) generation: Vec<u8>,
    /// How far this part moves the offset.
    pub(crate) bytes: usize,
    pub(crate) names: Vec<String>,
    /// Was this the end of the list?
    pub(crate) last: bool,
}

/// What an `ERROR` message says.
pub(crate) fn error_name(payload: &[u8]) -> Errno {
    let name = payload.split(|byte| *byte == 0).next().unwrap_or_default();
    Errno::from_name(&String::from_utf8_lossy(name))
}

/// Path and token of a watch event; further strings are left to later protocols.
pub(crate) fn watch_event(payload: &[u8]) -> Option<(&str, &str)> {
    let mut strings = payload.strip_suffix(b"\0")?.split(|byte| *byte == 0);
    let path = str::from_utf8(strings.next()?).ok()?;
    let token = str::from_utf8(strings.next()?).ok()?;
    Some((path, token))
}

fn split_strings(payload: &[u8]) -> std::result::Result<Vec<String>, &'static str> {
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let Some(payload) = payload.strip_suffix(b"\0") else {
        return Err("the last string has no end");
    };
    payload
        .split(|byte| *byte == 0)
        .map(|string| String::from_utf8(string.to_vec()))
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| "it is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(payload: &[u8]) -> Reply<'static> {
        Reply {
            kind: MessageType::READ,
            subject: "/a",
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn requests_have_the_payload_the_specification_gives() {
        let payload = |request: Result<Request<'_>>| request.unwrap().payload;
        assert_eq!(payload(Request::on_path(MessageType::READ, "/a")), b"/a\0");
        assert_eq!(payload(Request::write("/a", b"x\0y")), b"/a\0x\0y");
        assert_eq!(payload(Request::directory_part("/a", 17)), b"/a\x0017\0");
        assert_eq!(
            payload(Request::set_permissions(
                "/a",
                &["n0".parse().unwrap(), "r5".parse().unwrap()]
            )),
            b"/a\0n0\0r5\0"
        );
        assert_eq!(payload(Request::watch("/a", "t", None)), b"/a\0t\0");
        assert_eq!(payload(Request::watch("/a", "t", Some(1))), b"/a\0t\x001\0");
        assert_eq!(payload(Request::transaction_start()), b"\0");
        assert_eq!(payload(Request::transaction_end(5, true)), b"T\0");
        assert_eq!(
            payload(Request::introduce("3", u64::MAX, 8)),
            b"3\0-1\x008\0"
        );
        assert_eq!(payload(Request::control(&["log", "on"])), b"log\0on\0");
        assert_eq!(payload(Request::features()), b"");
    }

    #[test]
    fn arguments_with_a_nul_can_not_smuggle_in_others() {
        assert!(Request::control(&["quota\0set"]).is_err());
        assert!(Request::on_path(MessageType::RM, "/a\0/b").is_err());
        assert!(Request::set_permissions("/a", &[]).is_err());
    }

    #[test]
    fn directory_parts_know_the_end() {
        let part = reply(b"42\0one\0two\0").part().unwrap();
        assert_eq!((part.names.len(), part.bytes, part.last), (2, 8, false));
        let part = reply(b"42\0three\0\0").part().unwrap();
        assert_eq!((part.names.len(), part.bytes, part.last), (1, 6, true));
        let part = reply(b"42\0\0").part().unwrap();
        assert_eq!((part.names.len(), part.last), (0, true));
        assert!(reply(b"42").part().is_err());
        assert!(reply(b"42\0one").part().is_err());
    }

    #[test]
    fn replies_that_make_no_sense_are_errors() {
        assert!(reply(b"maybe").truth().is_err());
        assert!(reply(b"12x\0").number().is_err());
        assert!(reply(b"99999999999\0").number().is_err());
        assert!(reply(b"a\0b\0").string().is_err());
        assert!(reply(b"n0\0z5\0").permissions().is_err());
        assert!(reply(b"").permissions().is_err());
        assert!(reply(b"\xff\0").strings().is_err());
    }

    #[test]
    fn watch_events_need_path_and_token() {
        assert_eq!(watch_event(b"/a\0t\0"), Some(("/a", "t")));
        assert_eq!(watch_event(b"/a\0t\0more\0"), Some(("/a", "t")));
        assert_eq!(watch_event(b"/a\0"), None);
        assert_eq!(watch_event(b"/a\0t"), None);
        assert_eq!(watch_event(b""), None);
    }
}
