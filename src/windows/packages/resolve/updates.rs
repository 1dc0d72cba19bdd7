//! Which updates of a package are on.

use std::collections::HashMap;

use crate::format::assembly::{Condition, Update};

/// For each update, whether it is on: if all that it needs holds, and if it is one that need not be chosen, or is chosen by itself.
///
/// An update may need others of its package, in any order. Those that need each other are off. What concerns others than this package is asked.
pub(super) fn switched_on(updates: &[Update], holds: impl Fn(&Condition) -> bool) -> Vec<bool> {
    let mut on = vec![false; updates.len()];
    // How many updates of the package each still waits for, and who waits for a name.
    let mut missing = vec![0usize; updates.len()];
    let mut waiting: HashMap<String, Vec<usize>> = HashMap::new();
    let mut ready = Vec::new();
    for (at, update) in updates.iter().enumerate() {
        if !is_chosen(update, &holds) {
            continue;
        }
        let (own, others): (Vec<_>, Vec<_>) = update.applicable.iter().partition(|condition| own(condition).is_some());
        if !others.iter().all(|condition| holds(condition)) {
            continue;
        }
        for name in own.iter().filter_map(|condition| self::own(condition)) {
            waiting.entry(name.to_lowercase()).or_default().push(at);
            missing[at] += 1;
        }
        if missing[at] == 0 {
            ready.push(at);
        }
    }
    while let Some(at) = ready.pop() {
        on[at] = true;
        // Taken out: of two updates of one name, the first that is on counts.
        for waits in waiting.remove(&updates[at].name.to_lowercase()).unwrap_or_default() {
            missing[waits] -= 1;
            if missing[waits] == 0 {
                ready.push(waits);
            }
        }
    }
    on
}

fn is_chosen(update: &Update, holds: impl Fn(&Condition) -> bool) -> bool {
    let by_others = !update.selected_by.is_empty() && update.selected_by.iter().all(holds);
    !update.selectable || update.is_default || by_others
}

/// The update of the same package that is needed.
fn own(condition: &Condition) -> Option<&str> {
    match condition {
        Condition::Update { packages, name } if packages.is_empty() => Some(name),
        _ => None,
    }
}
