//! The executors under which each test runs.

use std::future::Future;
use std::time::Duration;

/// How long one run may take: far more than it takes, so that a hang has the name of its executor.
const LIMIT: Duration = Duration::from_secs(25);

/// Runs a future under a bare `block_on`, under `smol` on its own executor's threads, and under both
/// of tokio's schedulers.
pub(crate) fn under_each<F: Future<Output = ()> + Send + 'static>(make: impl Fn() -> F) {
    futures_lite::future::block_on(bounded("a bare block_on", make()));
    async_io::block_on(bounded("async_io::block_on", make()));
    smol::block_on(smol::spawn(bounded("smol", make())));
    let current = tokio::runtime::Builder::new_current_thread().build().expect("tokio");
    current.block_on(bounded("tokio, one thread", make()));
    let many =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("tokio");
    let spawned = many.spawn(bounded("tokio, two threads", make()));
    many.block_on(spawned).expect("the future panicked");
}

async fn bounded(executor: &'static str, future: impl Future<Output = ()>) {
    let late = async {
        async_io::Timer::after(LIMIT).await;
        panic!("it hangs under {executor}");
    };
    futures_lite::future::or(future, late).await;
}
