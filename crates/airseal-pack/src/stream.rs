//! One file made of another, block by block: read, changed and written on all cores, while the calling thread sees the
//! blocks in order. However long the file, a few blocks are in memory.

use crate::control::{Activity, Control};
use crate::parallel::{BufferPool, in_order};
use crate::source::{Source, length};
use crate::{Error, OutputFile};

/// Bytes of a block: a multiple of every cipher's unit, and small enough to stay in a core's cache from reading to writing.
const BLOCK: u64 = 1 << 18;

/// What is read, and where it goes.
pub(crate) struct Stream<'a> {
    pub(crate) source: &'a Source,
    /// The first byte taken of the source.
    pub(crate) from: u64,
    /// Bytes taken.
    pub(crate) len: u64,
    /// The file and the offset of its first byte; without one nothing is written.
    pub(crate) output: Option<(&'a OutputFile, u64)>,
}

/// What the watcher sees of each block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The bytes as they were read.
    Before,
    /// The bytes as they are written.
    After,
}

impl Stream<'_> {
    /// Takes everything through `change`, which is told the offset within what is taken, and shows it to `watch`.
    ///
    /// # Errors
    /// Those of `change`; `Io`; cancelled.
    pub(crate) fn run(
        &self,
        when: Watch,
        change: impl Fn(u64, &mut [u8]) -> Result<(), Error> + Sync,
        mut watch: impl FnMut(&[u8]),
        (activity, control): (Activity, &Control<'_>),
    ) -> Result<(), Error> {
        let pool = BufferPool::default();
        let offsets = (0..self.len.div_ceil(BLOCK)).map(|block| block * BLOCK);
        let mut done = 0;
        in_order(
            offsets,
            |offset| {
                let mut bytes = pool.take(length(BLOCK.min(self.len - offset)));
                self.source.read_at(self.from + offset, &mut bytes)?;
                let before = (when == Watch::Before).then(|| {
                    let mut before = pool.take(bytes.len());
                    before.copy_from_slice(&bytes);
                    before
                });
                change(offset, &mut bytes)?;
                if let Some((output, at)) = self.output {
                    output.write_at(&bytes, at + offset)?;
                }
                Ok(match before {
                    Some(before) => {
                        pool.give(bytes);
                        before
                    }
                    None => bytes,
                })
            },
            |seen| {
                watch(&seen);
                done += seen.len() as u64;
                pool.give(seen);
                control.report(activity, done, self.len)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )]
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::output::{Access, Existing};

    /// More than two blocks, and no whole number of them.
    fn bytes() -> Vec<u8> {
        let len = u32::try_from(2 * BLOCK + 77).unwrap();
        (0..len).map(|n| n.to_le_bytes()[1] ^ 0x5A).collect()
    }

    fn copied(when: Watch, control: &Control<'_>, target: &Path) -> Result<Vec<u8>, Error> {
        let source = Source::spool("source", &mut &bytes()[..])?;
        let output = OutputFile::create(target, Existing::Refuse, Access::Owner)?;
        let mut seen = Vec::new();
        Stream {
            source: &source,
            from: 7,
            len: source.len() - 7,
            output: Some((&output, 3)),
        }
        .run(
            when,
            |offset, block| {
                let first = bytes().get(7 + length(offset)).copied();
                assert_eq!(first, block.first().copied());
                block.iter_mut().for_each(|byte| *byte = !*byte);
                Ok(())
            },
            |block| seen.extend_from_slice(block),
            (Activity::Copying, control),
        )?;
        output.commit()?;
        Ok(seen)
    }

    #[test]
    fn every_block_is_changed_once_written_at_its_place_and_seen_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let before = bytes().split_off(7);
        let after: Vec<u8> = before.iter().map(|byte| !byte).collect();
        for (when, expected) in [(Watch::Before, &before), (Watch::After, &after)] {
            let target = dir.path().join(expected[0].to_string());
            let seen = copied(when, &Control::default(), &target).unwrap();
            assert!(seen == *expected);
            assert!(std::fs::read(&target).unwrap()[3..] == after);
        }
    }

    #[test]
    fn a_cancelled_run_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let control = Control {
            progress: None,
            cancel: Some(&AtomicBool::new(true)),
        };
        let error = copied(Watch::After, &control, &dir.path().join("out")).unwrap_err();
        assert!(matches!(error, Error::Cancelled));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
