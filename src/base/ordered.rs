//! Work on many threads whose results are taken in order.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::error::{Error, Result};

/// So many pieces of work each thread has waiting or done at most: enough to be busy while another's result is waited for.
const IN_FLIGHT: usize = 4;

/// Does the work on each piece that `next` gives and hands the results to `take`, in the order of the pieces, whatever the number of
/// threads. `next` and `take` run on the calling thread; `worker` makes what one thread works with.
///
/// At most four pieces for each thread are in memory, done or not. The first error, in the order of the pieces, ends it.
pub fn ordered<I, O, W>(
    threads: NonZeroUsize,
    mut next: impl FnMut() -> Result<Option<I>>,
    worker: impl Fn() -> W + Sync,
    mut take: impl FnMut(O) -> Result<()>,
) -> Result<()>
where
    I: Send,
    O: Send,
    W: FnMut(I) -> Result<O>,
{
    thread::scope(|scope| {
        // A host that refuses a thread leaves more work for the others, or for this one.
        let spawn = |_| {
            let ((pieces, inbox), (outbox, results)) = (channel(), channel());
            let worker = &worker;
            let thread = thread::Builder::new().spawn_scoped(scope, move || serve(&inbox, &outbox, worker()));
            thread.is_ok().then_some((pieces, results))
        };
        let workers: Vec<(Sender<I>, Receiver<Result<O>>)> = match threads.get() {
            1 => Vec::new(),
            several => (0..several).filter_map(spawn).collect(),
        };
        if workers.is_empty() {
            let mut work = worker();
            while let Some(piece) = next()? {
                take(work(piece)?)?;
            }
            return Ok(());
        }
        let mut turns = workers.iter().cycle();
        let mut waiting = VecDeque::new();
        let ended = || Error::invalid("a thread ended before its work was done"); // by a panic, which the scope passes on
        loop {
            while waiting.len() < workers.len() * IN_FLIGHT {
                let (Some(piece), Some((pieces, results))) = (next()?, turns.next()) else { break };
                pieces.send(piece).map_err(|_| ended())?;
                waiting.push_back(results);
            }
            let Some(results) = waiting.pop_front() else { return Ok(()) };
            take(results.recv().map_err(|_| ended())??)?;
        }
    })
}

/// Works until there is no more to do, or nobody who wants the results.
fn serve<I, O>(inbox: &Receiver<I>, outbox: &Sender<Result<O>>, mut work: impl FnMut(I) -> Result<O>) {
    while let Ok(piece) = inbox.recv() {
        if outbox.send(work(piece)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(threads: usize, bad: Option<u32>) -> (Vec<u32>, Result<()>) {
        let (mut pieces, mut taken) = (0..100u32, Vec::new());
        let worker = || {
            |piece: u32| {
                thread::yield_now();
                if Some(piece) == bad { Err(Error::invalid("bad")) } else { Ok(piece * 2) }
            }
        };
        let outcome = ordered(
            NonZeroUsize::new(threads).unwrap(),
            || Ok(pieces.next()),
            worker,
            |result| {
                taken.push(result);
                Ok(())
            },
        );
        (taken, outcome)
    }

    #[test]
    fn results_come_in_order() {
        for threads in [1, 2, 7] {
            let (taken, outcome) = run(threads, None);
            outcome.unwrap();
            assert!(taken.into_iter().eq((0..100).map(|piece| piece * 2)), "{threads}");
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        for threads in [1, 3] {
            let (taken, outcome) = run(threads, Some(50));
            assert!(outcome.is_err());
            assert_eq!(taken.len(), 50);
        }
        let refused = ordered(NonZeroUsize::MIN, || Ok(Some(())), || |()| Ok(()), |()| Err(Error::invalid("no more")));
        assert!(refused.is_err());
    }
}
