//! Requests on nodes, within a transaction or outside.

use crate::error::{Error, Result, describe};
use crate::permission::Permission;
use crate::request::{Reply, Request};
use crate::wire::MessageType;

use super::Connection;

/// How often a directory is read from its start again because it changed between two parts.
const DIRECTORY_ATTEMPTS: u32 = 100;

/// Verbs on nodes, within a transaction or outside.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'c> {
    connection: &'c Connection,
    transaction_id: u32,
}

impl<'c> Scope<'c> {
    pub(super) fn new(connection: &'c Connection, transaction_id: u32) -> Self {
        Self {
            connection,
            transaction_id,
        }
    }

    async fn ask<'a>(&self, request: Result<Request<'a>>) -> Result<Reply<'a>> {
        let request = request?.within(self.transaction_id);
        self.connection.ask(request).await
    }

    pub(crate) async fn read(&self, path: &str) -> Result<Vec<u8>> {
        let request = Request::on_path(MessageType::READ, path);
        Ok(self.ask(request).await?.bytes())
    }

    pub(crate) async fn read_opt(&self, path: &str) -> Result<Option<Vec<u8>>> {
        found(self.read(path).await)
    }

    pub(crate) async fn read_string(&self, path: &str) -> Result<String> {
        String::from_utf8(self.read(path).await?).map_err(|_| Error::NotText {
            path: path.to_owned(),
        })
    }

    pub(crate) async fn read_string_opt(&self, path: &str) -> Result<Option<String>> {
        found(self.read_string(path).await)
    }

    pub(crate) async fn write(&self, path: &str, value: &[u8]) -> Result<()> {
        let request = Request::write(path, value);
        self.ask(request).await.map(Reply::acknowledged)
    }

    pub(crate) async fn mkdir(&self, path: &str) -> Result<()> {
        let request = Request::on_path(MessageType::MKDIR, path);
        self.ask(request).await.map(Reply::acknowledged)
    }

    pub(crate) async fn rm(&self, path: &str) -> Result<()> {
        let request = Request::on_path(MessageType::RM, path);
        self.ask(request).await.map(Reply::acknowledged)
    }

    pub(crate) async fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.read_opt(path).await?.is_some())
    }

    pub(crate) async fn directory(&self, path: &str) -> Result<Vec<String>> {
        let request = Request::on_path(MessageType::DIRECTORY, path);
        match self.ask(request).await {
            Err(Error::Server { errno, .. }) if errno.name() == "E2BIG" => {}
            reply => return reply?.strings(),
        }
        for _ in 0..DIRECTORY_ATTEMPTS {
            if let Some(names) = self.directory_by_parts(path).await? {
                return Ok(names);
            }
        }
        Err(Error::Conflict {
            request: describe(MessageType::DIRECTORY_PART, path),
            attempts: DIRECTORY_ATTEMPTS,
        })
    }

    /// `None` when the directory changed meanwhile.
    async fn directory_by_parts(&self, path: &str) -> Result<Option<Vec<String>>> {
        let mut generation = None;
        let mut offset: usize = 0;
        let mut names = Vec::new();
        loop {
            let request = Request::directory_part(path, offset);
            let part = match self.ask(request).await {
                Err(Error::Server { errno, .. }) if errno.name() == "ENOSYS" => {
                    return Err(Error::Unsupported {
                        request: describe(MessageType::DIRECTORY_PART, path),
                        reason: "the node has more children than fit a message, and this server \
                                 cannot list them in parts",
                    });
                }
                reply => reply?.part()?,
            };
            let expected = generation.get_or_insert_with(|| part.generation.clone());
            if *expected != part.generation {
                return Ok(None);
            }
            offset = offset.saturating_add(part.bytes);
            names.extend(part.names);
            if part.last {
                return Ok(Some(names));
            }
        }
    }

    pub(crate) async fn permissions(&self, path: &str) -> Result<Vec<Permission>> {
        let request = Request::on_path(MessageType::GET_PERMS, path);
        self.ask(request).await?.permissions()
    }

    pub(crate) async fn set_permissions(&self, path: &str, all: &[Permission]) -> Result<()> {
        let request = Request::set_permissions(path, all);
        self.ask(request).await.map(Reply::acknowledged)
    }
}

/// `None` in place of "does not exist".
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
