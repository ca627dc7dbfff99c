//! Updates from any file server: an index at an unguessable path, and blobs that never
//! change. `airseal export static` writes such a tree.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use airseal_format::Digest;
use airseal_update::blocking::block_on;
use airseal_update::port::Device;
use airseal_update::transport::BundleReader;
use airseal_update::{Action, Fetch, Refusal, UpdateSession};

use crate::device::SimDevice;
use crate::fault::{FaultPlan, FaultTransport, Faulty, UNKNOWN_LEN};
use crate::https::ClientError;
use crate::source::Source;
use crate::traffic::Traffic;

/// Files by path, whole or in part. Errors never name the path: it is a secret.
pub trait StaticFiles {
    /// Opens the file at `path`, `wanted` bytes of it if given.
    ///
    /// # Errors
    /// The server's or the file system's.
    fn open(
        &mut self,
        path: &str,
        wanted: Option<Fetch>,
    ) -> Result<Box<dyn Read + '_>, ClientError>;

    /// What came over the network, where there is one.
    fn traffic(&self) -> Option<&Traffic> {
        None
    }

    /// Starts the count anew.
    fn forget_traffic(&mut self) {}
}

/// A folder on this machine.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl StaticFiles for Folder {
    fn open(
        &mut self,
        path: &str,
        wanted: Option<Fetch>,
    ) -> Result<Box<dyn Read + '_>, ClientError> {
        let mut file = File::open(self.0.join(path))?;
        match wanted {
            None => Ok(Box::new(file)),
            Some(wanted) => {
                file.seek(SeekFrom::Start(wanted.offset))?;
                Ok(Box::new(file.take(wanted.len)))
            }
        }
    }
}

/// One device's release among static files.
pub struct Exported {
    files: Box<dyn StaticFiles>,
    /// The path that is the device's secret.
    capability: String,
    faults: Option<FaultTransport>,
}

impl Exported {
    /// What lies under `capability` in `files`.
    #[must_use]
    pub fn new(files: Box<dyn StaticFiles>, capability: String) -> Self {
        Self {
            files,
            capability,
            faults: None,
        }
    }
}

impl StaticFiles for Exported {
    fn open(
        &mut self,
        path: &str,
        wanted: Option<Fetch>,
    ) -> Result<Box<dyn Read + '_>, ClientError> {
        let stream = self.files.open(path, wanted);
        let stream = stream.map_err(|error| explain(error, wanted.is_some()))?;
        let faults = self.faults.as_mut();
        Ok(Box::new(Faulty { stream, faults }))
    }
}

/// A file server's answer names no reason: this is what it means for a device.
fn explain(error: ClientError, is_payload: bool) -> ClientError {
    match error {
        ClientError::Problem {
            status: status @ (404 | 410),
            code,
            retry_after,
            ..
        } => ClientError::Problem {
            status,
            code,
            title: match is_payload {
                true => format!(
                    "HTTP {status} for the payload, although the index is there; copy the whole exported folder, with blobs"
                ),
                false => format!(
                    "HTTP {status}, there is no release at this address; compare it with the list of paths that `airseal export static` wrote, and copy the exported folder to the server's root"
                ),
            },
            retry_after,
        },
        other => other,
    }
}

impl Source for Exported {
    fn install(
        &mut self,
        device: &mut SimDevice,
        _: Option<Digest>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        let capability = self.capability.clone();
        device.update_from_static(self, &capability, progress)
    }

    fn set_faults(&mut self, plan: &FaultPlan, _: Option<u64>) {
        self.faults = Some(FaultTransport::new(plan, UNKNOWN_LEN));
    }

    fn may_recover(&self) -> bool {
        true
    }

    fn disconnect(&mut self) {
        if let Some(faults) = &mut self.faults {
            faults.reconnect();
        }
    }

    fn traffic(&self) -> Option<&Traffic> {
        self.files.traffic()
    }

    fn forget_traffic(&mut self) {
        self.files.forget_traffic();
    }
}

impl SimDevice {
    /// Installs what the index under `capability` names, up to the staged slot.
    ///
    /// # Errors
    /// The device's refusal, or that of the files; another call goes on where it stopped.
    pub fn update_from_static(
        &mut self,
        files: &mut dyn StaticFiles,
        capability: &str,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        self.with(|device, config, buffers| {
            block_on(async {
                let mut session = UpdateSession::begin(device, config, buffers).await?;
                read_index(&mut session, files, capability).await?;
                let release = session.release().ok_or(Refusal::Ended)?;
                let blob = format!("blobs/{release}");
                loop {
                    match session.next() {
                        Action::Fetch(wanted) => {
                            let mut part = files.open(&blob, Some(wanted))?;
                            read_part(&mut session, &mut part, wanted, progress).await?;
                        }
                        Action::Stage => session.stage().await?,
                        Action::Reboot => return Ok(()),
                        Action::Refused(refusal) => return Err(refusal.into()),
                        Action::NeedManifest | Action::NeedEnvelope => {
                            return Err(Refusal::Ended.into());
                        }
                    }
                }
            })
        })
    }
}

/// The index is a bundle up to its payload's first byte.
async fn read_index<D: Device>(
    session: &mut UpdateSession<'_, D>,
    files: &mut dyn StaticFiles,
    capability: &str,
) -> Result<(), ClientError> {
    let mut index = files.open(&format!("{capability}/index"), None)?;
    let mut reader = BundleReader::new();
    while !matches!(session.next(), Action::Fetch(_) | Action::Stage) || !reader.is_in_payload() {
        let mut piece = [0; 512];
        let wanted = usize::try_from(reader.wanted()).unwrap_or(usize::MAX);
        let len = wanted.min(piece.len());
        let read = read_some(&mut index, &mut piece[..len])?;
        reader.push(session, &piece[..read]).await?;
    }
    Ok(())
}

async fn read_part<D: Device>(
    session: &mut UpdateSession<'_, D>,
    part: &mut dyn Read,
    wanted: Fetch,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), ClientError> {
    let mut left = wanted.len;
    while left > 0 {
        let mut piece = [0; 4096];
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let read = read_some(part, &mut piece[..len])?;
        left -= read as u64;
        let mut bytes = &piece[..read];
        while !bytes.is_empty() {
            let taken = session.push(bytes).await?;
            bytes = &bytes[taken..];
            if taken == 0 {
                return Ok(());
            }
        }
        if let Some((written, all)) = session.progress() {
            progress(written, all);
        }
    }
    Ok(())
}

fn read_some(source: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, ClientError> {
    loop {
        match source.read(buffer) {
            Ok(0) => return Err(Refusal::Ended.into()),
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
