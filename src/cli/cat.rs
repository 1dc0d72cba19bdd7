//! `nanovhd cat`.

use super::args::Cat;
use super::{Env, output};
use crate::error::{Context, Error, Result};
use crate::image::{content, lookup};

pub(super) fn run(command: &Cat, env: &mut Env<'_>) -> Result<()> {
    let source = command.source.open(env)?;
    let name = || source.name.clone();
    // All are found before the first is written: half of an answer is worse than none.
    let find = |path: &String| lookup::find_stream(&source.tree, path).context(name);
    let contents = command.paths.iter().map(find).collect::<Result<Vec<_>>>()?;
    for (found, content) in contents {
        let mut reader_is_there = true;
        let out = &mut *env.stdout;
        content::copy(&source.tree, content, &mut |piece| {
            reader_is_there = output::raw(out, piece)?;
            Ok(reader_is_there)
        })
        .context(|| &found.path)
        .context(name)?;
        if !reader_is_there {
            return Ok(());
        }
    }
    match env.stdout.flush() {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("the result cannot be printed", e)),
        _ => Ok(()),
    }
}
