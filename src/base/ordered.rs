//! Work on several threads whose results are wanted in order.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::Result;

/// Takes jobs from `source` until it has no more, does the `work` on `threads` threads, this one among them, and gives the results to
/// `sink` in the order of their jobs.
///
/// At most two jobs for each thread are taken and not yet given on, so that memory is bounded by what one of them needs. `source` and
/// `sink` are called by one thread at a time. The first error ends it all.
pub fn in_order<J, R: Send>(
    threads: NonZeroUsize,
    source: impl FnMut() -> Result<Option<J>> + Send,
    work: impl Fn(J) -> Result<R> + Sync,
    sink: impl FnMut(R) -> Result<()> + Send,
) -> Result<()> {
    let window = threads.get() as u64 * 2;
    let state = State { source, sink, next: 0, given: 0, waiting: BTreeMap::new(), is_over: false, failure: None };
    let line = Line { state: Mutex::new(state), moved: Condvar::new(), window };
    thread::scope(|scope| {
        for _ in 1..threads.get() {
            // A host that refuses a thread leaves more work for the others.
            let _ = thread::Builder::new().spawn_scoped(scope, || line.work(&work));
        }
        line.work(&work);
    });
    let state = line.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.failure.map_or(Ok(()), Err)
}

struct Line<S, R, K> {
    state: Mutex<State<S, R, K>>,
    /// A result was given on, or it is over.
    moved: Condvar,
    window: u64,
}

struct State<S, R, K> {
    source: S,
    sink: K,
    /// The number of the next job.
    next: u64,
    /// How many results were given on.
    given: u64,
    waiting: BTreeMap<u64, R>,
    /// No more jobs are to be taken.
    is_over: bool,
    failure: Option<crate::error::Error>,
}

impl<J, R, S: FnMut() -> Result<Option<J>>, K: FnMut(R) -> Result<()>> Line<S, R, K> {
    fn lock(&self) -> MutexGuard<'_, State<S, R, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, work: impl Fn(J) -> Result<R>) {
        let guard = Guard(self);
        while let Some((number, job)) = self.next_job() {
            let result = work(job);
            let mut state = self.lock();
            if let Err(error) = result.and_then(|result| state.give(number, result)) {
                state.is_over = true;
                state.failure.get_or_insert(error);
            }
            drop(state);
            self.moved.notify_all();
        }
        drop(guard);
    }

    /// Waits until there is room for another result. Whoever has the job whose result is wanted next is at work, and not here.
    fn next_job(&self) -> Option<(u64, J)> {
        let mut state = self.lock();
        while !state.is_over && state.next - state.given >= self.window {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_over {
            return None;
        }
        match (state.source)() {
            Ok(Some(job)) => {
                state.next += 1;
                return Some((state.next - 1, job));
            }
            Ok(None) => {}
            Err(error) => drop(state.failure.get_or_insert(error)),
        }
        state.is_over = true;
        drop(state);
        self.moved.notify_all();
        None
    }
}

impl<J, R, S: FnMut() -> Result<Option<J>>, K: FnMut(R) -> Result<()>> State<S, R, K> {
    /// Gives on what is next, if this result is, or completes a row of those that wait. After a failure nothing more.
    fn give(&mut self, number: u64, result: R) -> Result<()> {
        self.waiting.insert(number, result);
        while let Some(result) = self.waiting.remove(&self.given).filter(|_| self.failure.is_none()) {
            self.given += 1;
            (self.sink)(result)?;
        }
        Ok(())
    }
}

/// Ends the others' waiting when a thread panics, whose result will never come.
struct Guard<'l, S, R, K>(&'l Line<S, R, K>);

impl<S, R, K> Drop for Guard<'_, S, R, K> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.state.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
            self.0.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Error;

    fn run(threads: usize, jobs: u64, work: impl Fn(u64) -> Result<u64> + Sync) -> (Result<()>, Vec<u64>) {
        let (mut next, mut given) = (0, Vec::new());
        let source = || {
            next += 1;
            Ok((next <= jobs).then_some(next))
        };
        let result = in_order(NonZeroUsize::new(threads).unwrap(), source, work, |result| {
            given.push(result);
            Ok(())
        });
        (result, given)
    }

    #[test]
    fn results_come_in_order() {
        for threads in [1, 2, 7] {
            let (result, given) = run(threads, 50, |job| {
                thread::sleep(Duration::from_micros(job * 7 % 5 * 100));
                Ok(job)
            });
            result.unwrap();
            assert_eq!(given, (1..=50).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn an_error_ends_it() {
        let (result, given) = run(3, 1000, |job| if job == 5 { Err(Error::invalid("five")) } else { Ok(job) });
        assert_eq!(result.unwrap_err().to_string(), "five");
        assert!(given.iter().zip(1..).all(|(result, job)| *result == job) && given.len() < 5, "{given:?}");
        let failing = in_order(NonZeroUsize::MIN, || Ok(Some(1)), |job: u32| Ok(job), |_| Err(Error::invalid("full")));
        assert_eq!(failing.unwrap_err().to_string(), "full");
        let none = in_order(NonZeroUsize::MIN, || Err(Error::invalid("no jobs")), |job: u32| Ok(job), |_| Ok(()));
        assert_eq!(none.unwrap_err().to_string(), "no jobs");
    }

    #[test]
    fn a_panic_is_not_waited_for() {
        let panics = std::panic::catch_unwind(|| run(3, 1000, |job| if job == 9 { panic!("nine") } else { Ok(job) }));
        assert!(panics.is_err());
    }
}
