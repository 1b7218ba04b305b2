//! Several requests that are carried out together or not at all.

use std::thread;

use crate::backoff::{Backoff, RetryPolicy};
use crate::error::{Error, Result, describe};
use crate::verbs::{Connection, Scope, node_verbs};
use crate::wire::MessageType;

use super::{Client, finish};

/// A transaction: what is read in it belongs together, what is written shows at the commit.
///
/// Dropping one that was not committed discards it.
pub struct Transaction {
    connection: Connection,
    id: u32,
    ended: bool,
}

impl Transaction {
    fn scope(&self) -> Scope<'_> {
        self.connection.scope_of(self.id)
    }

    node_verbs!(finish);

    /// Makes it real.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another client changed the same nodes meanwhile: nothing was
    /// done, start over.
    pub fn commit(mut self) -> Result<()> {
        let result = finish!(self.connection.end_transaction(self.id, true));
        // Not even sent: then dropping it has to end it.
        self.ended = !matches!(result, Err(Error::Busy { .. }));
        result
    }

    /// Discards it, and waits until that is done.
    ///
    /// # Errors
    /// The server's.
    pub fn abort(mut self) -> Result<()> {
        let result = finish!(self.connection.end_transaction(self.id, false));
        // Not even sent: then dropping it has to end it.
        self.ended = !matches!(result, Err(Error::Busy { .. }));
        result
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.discard_transaction(self.id);
        }
    }
}

impl Client {
    /// Starts a transaction whose conflicts the caller handles. Mostly
    /// [`Client::transaction`] is what is wanted.
    ///
    /// # Errors
    /// The server's.
    pub fn begin(&self) -> Result<Transaction> {
        let id = finish!(self.connection.start_transaction())?;
        Ok(Transaction {
            connection: self.connection.clone(),
            id,
            ended: false,
        })
    }

    /// Carries out `body` in a transaction and commits it, as often as it takes.
    ///
    /// `body` runs again after each conflict, so it must do nothing but use its transaction. An
    /// error it returns discards the transaction and is handed on, unless it is a conflict.
    ///
    /// # Errors
    /// `body`'s, the server's, and [`Error::Conflict`] after the last attempt of the default
    /// [`RetryPolicy`].
    pub fn transaction<T>(&self, body: impl FnMut(&Transaction) -> Result<T>) -> Result<T> {
        self.transaction_with(RetryPolicy::default(), body)
    }

    /// As [`Client::transaction`], with other limits.
    ///
    /// # Errors
    /// As [`Client::transaction`].
    pub fn transaction_with<T>(
        &self,
        policy: RetryPolicy,
        mut body: impl FnMut(&Transaction) -> Result<T>,
    ) -> Result<T> {
        let mut backoff = Backoff::new(policy);
        loop {
            let transaction = self.begin()?;
            let result = body(&transaction).and_then(|value| {
                transaction.commit()?;
                Ok(value)
            });
            match result {
                Err(error) if error.is_conflict() => {}
                result => return result,
            }
            match backoff.next_wait() {
                Some(wait) => thread::sleep(wait),
                None => {
                    return Err(Error::Conflict {
                        request: describe(MessageType::TRANSACTION_END, ""),
                        attempts: backoff.failures(),
                    });
                }
            }
        }
    }
}
