//! Progress bars, for a person who watches.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Env;
use crate::image::Control;

/// How often the bar looks at the work: the work itself only counts.
const TICK: Duration = Duration::from_millis(50);

/// Runs `work` with a bar under `title` on the terminal, if anybody watches.
pub(super) fn with_bar<T: Send>(title: &'static str, env: &Env<'_>, work: impl FnOnce() -> T + Send) -> T {
    if !env.watched {
        return work();
    }
    let control = Arc::clone(&env.control);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || show(title, &control, &stopped));
        let result = work();
        drop(stop); // wakes the bar's thread, which then ends
        result
    })
}

fn show(title: &'static str, control: &Control, stopped: &std::sync::mpsc::Receiver<()>) {
    let bar = ProgressBar::new(0).with_message(title);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}") {
        bar.set_style(style);
    }
    while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
        let (done, total) = control.progress();
        bar.set_length(total.max(done));
        bar.set_position(done);
    }
    bar.finish_and_clear();
}
