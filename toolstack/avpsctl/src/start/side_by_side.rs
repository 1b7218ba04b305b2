//! Several pieces of work in one task, each going on while others wait.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Carries all of them to their ends; the results stand in the order given.
///
/// Each wake looks at every one that has not ended: there are as many as domains in a document.
pub(super) async fn all<F: Future>(work: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut going: Vec<_> = work.map(|work| Some(Box::pin(work))).collect();
    let mut results: Vec<_> = going.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (work, result) in going.iter_mut().zip(&mut results) {
            let Some(future) = work else { continue };
            if let Poll::Ready(value) = Pin::as_mut(future).poll(context) {
                *result = Some(value);
                *work = None;
            }
        }
        match going.iter().all(Option::is_none) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::all;

    #[tokio::test(start_paused = true)]
    async fn the_longest_decides_and_the_order_stays() {
        let began = Instant::now();
        let work = [3, 1, 2].map(|seconds| async move {
            sleep(Duration::from_secs(seconds)).await;
            seconds
        });
        assert_eq!(all(work.into_iter()).await, [3, 1, 2]);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        let nothing: [std::future::Ready<()>; 0] = [];
        assert_eq!(all(nothing.into_iter()).await.len(), 0);
    }
}
