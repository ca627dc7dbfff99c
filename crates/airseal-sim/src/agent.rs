//! What the firmware of a simulated device does all day: start, test itself, ask its
//! source, install, restart. Power may go at any flash operation.

use airseal_format::{Digest, Part};
use airseal_protocol::{PollResponse, Stage};
use airseal_update::Refusal;
use airseal_update::boot::{ResetReason, Selection};

use crate::device::SimDevice;
use crate::fault::FaultPlan;
use crate::flash::{Cut, PowerCut, Torn};
use crate::https::ClientError;
use crate::random::Noise;
use crate::source::Source;

mod event;

pub use event::{Event, Outcome};

/// When power is lost.
#[derive(Clone, Debug)]
pub enum Cuts {
    /// Never.
    Never,
    /// Once, at this many flash operations from the start of the update.
    At(u64),
    /// After every so many flash operations; a 4 KiB chunk takes three.
    Every(u64),
    /// After a random number of operations up to this, again and again.
    Random(u64, Noise),
}

/// A device, where its releases come from, and what its firmware does.
pub struct Agent<S> {
    /// The device.
    pub device: SimDevice,
    /// Where releases come from.
    pub source: S,
    /// When it loses power.
    pub cuts: Cuts,
    /// What befalls the bytes of the next release.
    pub faults: Option<FaultPlan>,
    progress: Box<dyn FnMut(u64, u64) + Send>,
    self_test: Box<dyn FnMut(&mut SimDevice) -> bool + Send>,
    is_on: bool,
    on_trial: bool,
    /// The release tried last, and how often its installation began.
    attempts: (Option<Digest>, u32),
}

impl<S: Source> Agent<S> {
    /// A device that is switched off. Its firmware passes every self-test.
    #[must_use]
    pub fn new(device: SimDevice, source: S) -> Self {
        Self {
            device,
            source,
            cuts: Cuts::Never,
            faults: None,
            progress: Box::new(|_, _| {}),
            self_test: Box::new(|_| true),
            is_on: false,
            on_trial: false,
            attempts: (None, 0),
        }
    }

    /// Called with bytes written and bytes in all while a download goes on.
    pub fn on_progress(&mut self, progress: impl FnMut(u64, u64) + Send + 'static) {
        self.progress = Box::new(progress);
    }

    /// What the firmware tests before it confirms itself; it may look at its own image.
    pub fn set_self_test(&mut self, test: impl FnMut(&mut SimDevice) -> bool + Send + 'static) {
        self.self_test = Box::new(test);
    }

    /// Starts the device, if it is off, and settles a trial that waits.
    ///
    /// # Errors
    /// The boot loader's refusal.
    pub fn start(
        &mut self,
        reset: ResetReason,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Option<Outcome>, ClientError> {
        let selection = self.boot(reset, tell)?;
        if let Some(ended) = selection.ended {
            self.tell_reverted(&ended, tell)?;
            return Ok(Some(Outcome::Reverted));
        }
        self.settle_trial(tell)
    }

    /// One round: start if needed, ask, install, restart, test, confirm.
    ///
    /// # Errors
    /// A failed connection while asking, a source that can't be read, or a fault of the device.
    pub fn round(&mut self, tell: &mut dyn FnMut(Event)) -> Result<Outcome, ClientError> {
        if !self.is_on
            && let Some(outcome) = self.start(ResetReason::Power, tell)?
            && outcome == Outcome::Reverted
        {
            return Ok(outcome);
        }
        let answer = match self.source.poll(&mut self.device) {
            Ok(Some(answer)) => answer,
            Ok(None) => return self.update(None, tell),
            Err(error) => return self.server_refused(error, tell),
        };
        match answer {
            PollResponse::Install {
                manifest_digest,
                payload_len,
                ..
            } => {
                let release = Digest(manifest_digest);
                tell(Event::Installing {
                    release: release.to_string(),
                    payload_len,
                });
                self.attempts = match self.attempts {
                    (Some(before), count) if before == release => (Some(release), count + 1),
                    _ => (Some(release), 1),
                };
                self.update(Some((release, payload_len)), tell)
            }
            PollResponse::NoEnvelope {
                manifest_digest, ..
            } => {
                let release = Digest(manifest_digest).to_string();
                tell(Event::NoEnvelope { release });
                Ok(Outcome::Idle)
            }
            PollResponse::Held {
                manifest_digest, ..
            } => {
                let release = Digest(manifest_digest).to_string();
                tell(Event::Held { release });
                Ok(Outcome::Idle)
            }
            _ => {
                tell(Event::NothingNewer);
                Ok(Outcome::Idle)
            }
        }
    }

    /// Restarts into what is staged, tests it, and confirms it or goes back.
    ///
    /// # Errors
    /// A fault of the device, or a failed report.
    pub fn restart(&mut self, tell: &mut dyn FnMut(Event)) -> Result<Outcome, ClientError> {
        let outcome = self.start(ResetReason::Restart, tell)?;
        Ok(outcome.unwrap_or(Outcome::Idle))
    }

    /// Takes the power away.
    pub fn switch_off(&mut self) {
        self.is_on = false;
        self.source.disconnect();
    }

    /// Installs the release that the source named, with the length of its payload, or
    /// whatever it has.
    fn update(
        &mut self,
        named: Option<(Digest, u64)>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Outcome, ClientError> {
        let release = named.map(|(release, _)| release);
        self.source.forget_traffic();
        if let Some(plan) = self.faults.take() {
            self.source
                .set_faults(&plan, named.map(|(_, payload_len)| payload_len));
        }
        self.device.flash_mut().clear_log();
        let mut failures = 0;
        self.plan_cut(true);
        loop {
            let progress = &mut *self.progress;
            match self.source.install(&mut self.device, release, progress) {
                Ok(()) => break,
                Err(_) if self.device.flash().is_off() => {
                    let operation = self.device.flash().operations();
                    self.device.flash_mut().power_on();
                    self.source.disconnect();
                    let safe = self.device.checkpoint()?.map_or(0, |point| point.position);
                    tell(Event::PowerLost { operation, safe });
                    // So late that the new image starts.
                    if let Some(outcome) = self.start(ResetReason::Power, tell)? {
                        return Ok(outcome);
                    }
                    self.plan_cut(false);
                }
                Err(error)
                    if error.is_transient()
                        && self.source.may_recover()
                        && failures < MAX_FAILURES =>
                {
                    failures += 1;
                    let why = error.to_string();
                    tell(Event::Interrupted { why });
                    self.source.disconnect();
                }
                Err(ClientError::Refusal(Refusal::AlreadyInstalled)) if release.is_none() => {
                    self.device.flash_mut().set_cut(None);
                    tell(Event::NothingNewer);
                    return Ok(Outcome::Idle);
                }
                Err(ClientError::Refusal(refusal)) => {
                    self.device.flash_mut().set_cut(None);
                    return self.refused(release, &refusal, tell);
                }
                Err(error) => {
                    self.device.flash_mut().set_cut(None);
                    return self.server_refused(error, tell);
                }
            }
        }
        self.device.flash_mut().set_cut(None);
        let traffic = self.source.traffic().cloned();
        tell(Event::Staged { traffic });
        self.restart(tell)
    }

    fn boot(
        &mut self,
        reset: ResetReason,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Selection, ClientError> {
        let selection = self.device.boot(reset)?;
        self.is_on = true;
        self.on_trial = selection.on_trial;
        let version = self.version()?;
        let slot = selection
            .slot
            .map_or_else(|| "factory".to_owned(), |slot| slot.to_string());
        tell(Event::Booted {
            slot,
            version,
            on_trial: selection.on_trial,
        });
        self.device.heal()?;
        Ok(selection)
    }

    fn settle_trial(
        &mut self,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Option<Outcome>, ClientError> {
        if !self.on_trial {
            return Ok(None);
        }
        if (self.self_test)(&mut self.device) {
            self.device.confirm()?;
            self.on_trial = false;
            let version = self.version()?;
            tell(Event::Confirmed { version });
            if let Some(release) = self.device.release()? {
                let attempt = self.attempts.1.max(1);
                self.source
                    .report(release, Stage::Confirm, 0, attempt, "")?;
            }
            return Ok(Some(Outcome::Updated));
        }
        self.device.revert()?;
        self.boot(ResetReason::Restart, tell)?;
        self.tell_reverted(&Refusal::SelfTestFailed, tell)?;
        Ok(Some(Outcome::Reverted))
    }

    fn tell_reverted(
        &mut self,
        why: &Refusal,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), ClientError> {
        let version = self.version()?;
        tell(Event::Reverted {
            code: why.code(),
            why: why.to_string(),
            version,
        });
        if let Some(failure) = self.device.state()?.failure {
            let attempt = u32::from(failure.count);
            self.source.report(
                failure.digest,
                Stage::Revert,
                why.code(),
                attempt,
                why.message(),
            )?;
        }
        Ok(())
    }

    fn refused(
        &mut self,
        release: Option<Digest>,
        refusal: &Refusal,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Outcome, ClientError> {
        let slots = self.device.slots();
        tell(Event::Refused {
            code: refusal.code(),
            name: refusal.word(),
            why: refusal.to_string(),
            slot_operations: self.device.flash().touched(&slots),
        });
        let stage = match refusal {
            Refusal::Format(error) if error.part == Part::Envelope => Stage::Unwrap,
            Refusal::Format(error) if error.part == Part::Payload => Stage::Download,
            _ => Stage::Check,
        };
        if let Some(release) = release {
            let (code, attempt) = (refusal.code(), self.attempts.1);
            let _ = self
                .source
                .report(release, stage, code, attempt, refusal.message());
        }
        Ok(Outcome::Refused)
    }

    fn server_refused(
        &mut self,
        error: ClientError,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Outcome, ClientError> {
        match error {
            ClientError::Problem {
                status,
                code,
                title,
                ..
            } => {
                tell(Event::ServerRefused {
                    code,
                    status,
                    why: title,
                });
                Ok(Outcome::Refused)
            }
            error if error.is_transient() => {
                let why = error.to_string();
                tell(Event::Interrupted { why });
                Ok(Outcome::Interrupted)
            }
            error => Err(error),
        }
    }

    fn version(&mut self) -> Result<Option<String>, Refusal> {
        match self.device.running() {
            Some(slot) => self.device.version_in(slot),
            None => Ok(None),
        }
    }

    fn plan_cut(&mut self, is_first: bool) {
        let now = self.device.flash().operations();
        let (at, seed) = match &mut self.cuts {
            Cuts::Never => return,
            Cuts::At(_) if !is_first => return,
            Cuts::At(at) | Cuts::Every(at) => (*at, now),
            Cuts::Random(most, noise) => (noise.below(*most), noise.bits()),
        };
        let how = match seed % 5 {
            0 => Cut::Before,
            1 => Cut::Torn(Torn::Half),
            2 => Cut::Torn(Torn::Words(seed)),
            3 => Cut::Torn(Torn::Bits(seed)),
            _ => Cut::After,
        };
        let cut = PowerCut { at: now + at, how };
        self.device.flash_mut().set_cut(Some(cut));
    }
}

/// Tries after failures of the network before a round ends.
const MAX_FAILURES: u32 = 5;
