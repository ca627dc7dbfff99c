//! Manifest, payload, envelopes and keysets as separate files.

use std::path::{Path, PathBuf};

use airseal_format::RecipientId;

use crate::Error;
use crate::control::{Activity, Control};
use crate::output::{Access, Existing, OutputFile, check_target, write_file};

/// The separate files of `--detached`.
pub(super) struct Detached {
    dir: PathBuf,
    existing: Existing,
}

impl Detached {
    pub(super) fn new(dir: &Path, existing: Existing) -> Result<Detached, Error> {
        let detached = Detached {
            dir: dir.to_owned(),
            existing,
        };
        for name in ["manifest", "payload", "keysets"] {
            check_target(&dir.join(name), existing)?;
        }
        std::fs::create_dir_all(dir.join("envelopes"))
            .map_err(|error| Error::io("create", dir, error))?;
        Ok(detached)
    }

    pub(super) fn envelope(&self, id: RecipientId, bytes: &[u8]) -> Result<(), Error> {
        write_file(
            &self.dir.join("envelopes").join(id.to_string()),
            bytes,
            self.existing,
            Access::Public,
        )
    }

    pub(super) fn rest(
        &self,
        manifest_section: &[u8],
        keysets: &[Vec<u8>],
        bundle: &std::fs::File,
        payload_at: u64,
        payload_len: u64,
        control: &Control<'_>,
    ) -> Result<(), Error> {
        use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
        let mut output =
            OutputFile::create(&self.dir.join("payload"), self.existing, Access::Public)?;
        let mut input = bundle;
        let mut block = vec![0; 256 * 1024];
        let mut done = 0;
        input
            .seek(SeekFrom::Start(payload_at))
            .map_err(|error| output.write_error(error))?;
        while done < payload_len {
            let step = usize::try_from(payload_len - done)
                .unwrap_or(usize::MAX)
                .min(block.len());
            let bytes = block.get_mut(..step).unwrap_or_default();
            input
                .read_exact(bytes)
                .map_err(|error| output.write_error(error))?;
            output
                .write_all(bytes)
                .map_err(|error| output.write_error(error))?;
            done += step as u64;
            control.report(Activity::Copying, done, payload_len)?;
        }
        output.commit()?;
        if !keysets.is_empty() {
            write_file(
                &self.dir.join("keysets"),
                &keysets.concat(),
                self.existing,
                Access::Public,
            )?;
        }
        write_file(
            &self.dir.join("manifest"),
            manifest_section,
            self.existing,
            Access::Public,
        )
    }
}
