//! Work on other threads, while this one tells the observer how far it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::train::observer::{Event, Observer, Work};

/// Does `work`, which stores how much of `total` is done.
pub(crate) fn watched<R: Send>(
    stage: Work,
    total: usize,
    observer: &mut dyn Observer,
    work: impl FnOnce(&AtomicUsize) -> R + Send,
) -> R {
    let done = AtomicUsize::new(0);
    let result = std::thread::scope(|scope| {
        let (finished, wait) = mpsc::channel::<()>();
        let worker = scope.spawn(|| {
            let result = work(&done);
            drop(finished);
            result
        });
        while let Err(mpsc::RecvTimeoutError::Timeout) = wait.recv_timeout(Duration::from_millis(100)) {
            observer.event(&Event::Progress { stage, done: done.load(Ordering::Relaxed), total });
        }
        worker.join()
    });
    match result {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
