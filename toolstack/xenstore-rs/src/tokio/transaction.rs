//! Several requests that are carried out together or not at all.

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

    node_verbs!(finish, async);

    /// Makes it real. Once polled it may be carried out even if the future is dropped.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another client changed the same nodes meanwhile: nothing was
    /// done, start over.
    pub async fn commit(mut self) -> Result<()> {
        self.ended = true;
        let result = self.connection.end_transaction(self.id, true).await;
        // Not even sent: then dropping it has to end it.
        self.ended = !matches!(result, Err(Error::Busy { .. }));
        result
    }

    /// Discards it, and waits until that is done.
    ///
    /// # Errors
    /// The server's.
    pub async fn abort(mut self) -> Result<()> {
        self.ended = true;
        let result = self.connection.end_transaction(self.id, false).await;
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
    pub async fn begin(&self) -> Result<Transaction> {
        let id = self.connection.start_transaction().await?;
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
    /// ```no_run
    /// # async fn example(client: xenstore::tokio::Client) -> xenstore::Result<()> {
    /// client.transaction(async |tx| tx.write("/tool/example", "1").await).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `body`'s, the server's, and [`Error::Conflict`] after the last attempt of the default
    /// [`RetryPolicy`].
    pub async fn transaction<T>(
        &self,
        body: impl AsyncFnMut(&Transaction) -> Result<T>,
    ) -> Result<T> {
        self.transaction_with(RetryPolicy::default(), body).await
    }

    /// As [`Client::transaction`], with other limits.
    ///
    /// # Errors
    /// As [`Client::transaction`].
    pub async fn transaction_with<T>(
        &self,
        policy: RetryPolicy,
        mut body: impl AsyncFnMut(&Transaction) -> Result<T>,
    ) -> Result<T> {
        let mut backoff = Backoff::new(policy);
        loop {
            let transaction = self.begin().await?;
            let result = match body(&transaction).await {
                Ok(value) => transaction.commit().await.map(|()| value),
                Err(error) => Err(error),
            };
            match result {
                Err(error) if error.is_conflict() => {}
                result => return result,
            }
            match backoff.next_wait() {
                Some(wait) => ::tokio::time::sleep(wait).await,
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
