//! Requests that concern the server, domains and transactions rather than nodes.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result, describe};
use crate::request::{Reply, Request};
use crate::session::{Session, Statistics};
use crate::wire::MessageType;

use super::Scope;

/// How long an answer may take unless the user says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Ends the connection with the last user of it.
pub(crate) struct Handle(Arc<Session>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close("this client has closed it");
    }
}

/// A way to the server with a time limit; clones share the way.
#[derive(Clone)]
pub(crate) struct Connection {
    handle: Arc<Handle>,
    timeout: Duration,
}

impl Connection {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self {
            handle: Arc::new(Handle(session)),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.handle.0
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.session().statistics()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.session().is_broken()
    }

    /// Outside of any transaction.
    pub(crate) fn scope(&self) -> Scope<'_> {
        self.scope_of(0)
    }

    pub(crate) fn scope_of(&self, transaction_id: u32) -> Scope<'_> {
        Scope::new(self, transaction_id)
    }

    pub(super) async fn ask<'a>(&self, request: Request<'a>) -> Result<Reply<'a>> {
        self.session().submit(request, self.timeout)?.await
    }

    async fn ask_about(&self, kind: MessageType, domid: u16) -> Result<OwnedReply> {
        let domid = domid.to_string();
        let reply = self.ask(Request::on_domain(kind, &domid)?).await?;
        let payload = reply.bytes();
        Ok(OwnedReply {
            kind,
            domid,
            payload,
        })
    }

    pub(crate) async fn introduce(&self, domid: u16, frame: u64, port: u32) -> Result<()> {
        let domid = domid.to_string();
        let request = Request::introduce(&domid, frame, port)?;
        self.ask(request).await.map(Reply::acknowledged)
    }

    pub(crate) async fn release(&self, domid: u16) -> Result<()> {
        self.ask_about(MessageType::RELEASE, domid).await.map(drop)
    }

    pub(crate) async fn resume(&self, domid: u16) -> Result<()> {
        self.ask_about(MessageType::RESUME, domid).await.map(drop)
    }

    pub(crate) async fn domain_path(&self, domid: u16) -> Result<String> {
        self.ask_about(MessageType::GET_DOMAIN_PATH, domid)
            .await?
            .reply()
            .string()
    }

    pub(crate) async fn is_introduced(&self, domid: u16) -> Result<bool> {
        self.ask_about(MessageType::IS_DOMAIN_INTRODUCED, domid)
            .await?
            .reply()
            .truth()
    }

    pub(crate) async fn set_target(&self, domid: u16, target: u16) -> Result<()> {
        let domid = domid.to_string();
        let request = Request::set_target(&domid, &target.to_string())?;
        self.ask(request).await.map(Reply::acknowledged)
    }

    pub(crate) async fn control(&self, arguments: &[&str]) -> Result<String> {
        let request = Request::control(arguments)?;
        let bytes = self.ask(request).await?.bytes();
        let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    pub(crate) async fn reset_watches(&self) -> Result<()> {
        let request = Request::reset_watches()?;
        if self.session().transport().is_device() {
            return Err(Error::Unsupported {
                request: describe(request.kind, ""),
                reason: "through the kernel's device it would also end the watches of this \
                         domain's kernel drivers; close the client instead",
            });
        }
        self.ask(request).await.map(Reply::acknowledged)
    }

    pub(crate) async fn features(&self) -> Result<Features> {
        match self.ask(Request::features()?).await {
            Ok(reply) => reply.number().map(Features),
            // Servers before Xen 4.22.
            Err(Error::Server { errno, .. }) if matches!(errno.name(), "ENOSYS" | "EINVAL") => {
                Ok(Features(0))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn start_transaction(&self) -> Result<u32> {
        let reply = self.ask(Request::transaction_start()?).await?;
        match reply.number()? {
            0 => Err(Error::bad_reply(
                MessageType::TRANSACTION_START,
                "",
                "0 is no transaction",
            )),
            id => Ok(id),
        }
    }

    pub(crate) async fn end_transaction(&self, id: u32, commit: bool) -> Result<()> {
        let request = Request::transaction_end(id, commit)?;
        self.ask(request).await.map(Reply::acknowledged)
    }

    /// Discards a transaction without waiting, as a `drop` has to.
    pub(crate) fn discard_transaction(&self, id: u32) {
        let request = Request::transaction_end(id, false);
        self.session().submit_detached(request, self.timeout);
    }
}

/// What the server can do beyond the common ground (`XENSTORE_SERVER_FEATURE_*`).
///
/// All zero for servers before Xen 4.22, which cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    /// The bits as they came.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// A domain may reconnect its ring.
    pub fn reconnection(self) -> bool {
        self.0 & 1 != 0
    }

    /// The ring page has an error field.
    pub fn ring_error(self) -> bool {
        self.0 & 2 != 0
    }

    /// The server limits watches to a depth itself.
    pub fn watch_depth(self) -> bool {
        self.0 & 4 != 0
    }
}

/// A reply about a domain, whose number in text the reply's error messages borrow.
struct OwnedReply {
    kind: MessageType,
    domid: String,
    payload: Vec<u8>,
}

impl OwnedReply {
    fn reply(self: &mut OwnedReply) -> Reply<'_> {
        Reply {
            kind: self.kind,
            subject: &self.domid,
            payload: std::mem::take(&mut self.payload),
        }
    }
}
