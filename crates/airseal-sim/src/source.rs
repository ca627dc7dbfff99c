//! Where a device's releases come from: a server, any file server, a sealed file.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use airseal_format::Digest;
use airseal_protocol::{PollResponse, Stage};

use crate::device::SimDevice;
use crate::fault::{FaultPlan, FaultTransport, Faulty, UNKNOWN_LEN};
use crate::https::ClientError;
use crate::traffic::Traffic;

/// Where releases come from. Only a server can be asked and told.
pub trait Source {
    /// Asks what to do; `None` where nobody can be asked and the release is simply tried.
    ///
    /// # Errors
    /// The server's problem, a failed connection, or the device's flash.
    fn poll(&mut self, device: &mut SimDevice) -> Result<Option<PollResponse>, ClientError> {
        let _ = device;
        Ok(None)
    }

    /// Downloads and installs the release that was named, or whatever there is, up to the
    /// staged slot. `progress` hears of bytes written and bytes in all.
    ///
    /// # Errors
    /// The device's refusal, or that of the source; another call goes on where it stopped.
    fn install(
        &mut self,
        device: &mut SimDevice,
        release: Option<Digest>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError>;

    /// Tells how an update went.
    ///
    /// # Errors
    /// The server's problem, or a failed connection.
    fn report(
        &mut self,
        release: Digest,
        stage: Stage,
        code: u16,
        attempt: u32,
        detail: &str,
    ) -> Result<(), ClientError> {
        let _ = (release, stage, code, attempt, detail);
        Ok(())
    }

    /// Puts faults into the bytes of a release, whose payload's length is known or not.
    fn set_faults(&mut self, plan: &FaultPlan, payload_len: Option<u64>);

    /// True when what failed in the transport may succeed with the next try.
    fn may_recover(&self) -> bool;

    /// Ends what a reset of the device ends.
    fn disconnect(&mut self) {}

    /// What came over the network for the release at hand, where there is a network.
    fn traffic(&self) -> Option<&Traffic> {
        None
    }

    /// Starts the count for another release.
    fn forget_traffic(&mut self) {}
}

/// A sealed file, or standard input, read front to back.
#[derive(Debug)]
pub struct SealedFile {
    /// `None` for standard input.
    path: Option<PathBuf>,
    is_spent: bool,
    faults: Option<FaultTransport>,
}

impl SealedFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path: Some(path),
            is_spent: false,
            faults: None,
        }
    }

    /// Standard input, which can be read once.
    #[must_use]
    pub fn standard_input() -> Self {
        Self {
            path: None,
            is_spent: false,
            faults: None,
        }
    }

    fn open(&mut self) -> Result<(Box<dyn Read>, Option<u64>), ClientError> {
        let Some(path) = &self.path else {
            return match std::mem::replace(&mut self.is_spent, true) {
                true => Err(ClientError::Spent),
                false => Ok((Box::new(io::stdin()), None)),
            };
        };
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let len = metadata.is_file().then_some(metadata.len());
        Ok((Box::new(file), len))
    }
}

impl Source for SealedFile {
    fn install(
        &mut self,
        device: &mut SimDevice,
        _: Option<Digest>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        let (stream, len) = self.open()?;
        let faults = self.faults.as_mut();
        let mut stream = Faulty { stream, faults };
        Ok(device.update_from(&mut stream, len, progress)?)
    }

    fn set_faults(&mut self, plan: &FaultPlan, _: Option<u64>) {
        let file = self.path.as_ref().map(std::fs::metadata);
        let len = file.and_then(Result::ok).map(|metadata| metadata.len());
        self.faults = Some(FaultTransport::new(plan, len.unwrap_or(UNKNOWN_LEN)));
    }

    fn may_recover(&self) -> bool {
        self.faults.is_some()
    }

    fn disconnect(&mut self) {
        if let Some(faults) = &mut self.faults {
            faults.reconnect();
        }
    }
}
