//! The session: bytes in, actions out. No network, no clock, no thread.

use airseal_format::bundle::{Section, SectionKind, check_payload_len};
use airseal_format::cipher::PayloadKeys;
use airseal_format::keyset::{CarriedOrder, Followed, SignedKeyset};
use airseal_format::manifest::Header;
use airseal_format::offer::{Offer, Purpose};
use airseal_format::signature::SignatureBlock;
use airseal_format::{Digest, Error, KeysetVersion, Part, Reason, UnverifiedManifest};

use crate::carried::Keys;
use crate::check::{Checked, Circumstances, check};
use crate::config::{Buffer, Buffers, Config};
use crate::envelopes::{Opener, PackReader};
use crate::install::Install;
use crate::install_record::image_room;
use crate::lifecycle::{Own, heal, release_in};
use crate::port::{BootState, Device};
use crate::{Refusal, carried, keysets};

/// A part of the payload that is needed next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Offset in the payload, bytes.
    pub offset: u64,
    /// How many bytes; all of them are needed.
    pub len: u64,
}

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Deliver keyset sections, if there are any, and the manifest section.
    NeedManifest,
    /// Deliver the envelope pack of this release.
    NeedEnvelope,
    /// Deliver these bytes of the payload to [`UpdateSession::push`].
    Fetch(Fetch),
    /// Every byte is written: call [`UpdateSession::stage`].
    Stage,
    /// The new image is staged: restart to try it.
    Reboot,
    /// The session is over.
    Refused(Refusal),
}

/// One attempt to update this device.
///
/// Sections go in as they stand in a bundle: announce each with
/// [`begin_section`](Self::begin_section) and hand its bytes to [`push`](Self::push) in
/// pieces of any length. Any error ends the session; a new one resumes the download where
/// the journal says.
pub struct UpdateSession<'a, D> {
    device: D,
    config: &'a Config<'a>,
    own: Own,
    boot: BootState,
    staged: Option<Digest>,
    offered: Option<Digest>,
    phase: Phase<'a>,
}

enum Phase<'a> {
    /// Keysets, then the manifest.
    Sections {
        buffers: Buffers<'a>,
        open: Option<OpenSection>,
        order: CarriedOrder,
    },
    /// The release is checked, its content key is missing.
    Envelope {
        checked: Checked<'a>,
        pack: Option<PackReader>,
        /// Top, page and chunk; until the payload begins, page holds what [`carried::keep`] left.
        rest: [Buffer<'a>; 3],
        unwraps: &'a mut u8,
    },
    /// The payload.
    Payload {
        install: Install<'a>,
        unwraps: &'a mut u8,
    },
    /// Done.
    Staged(Digest),
    /// Over.
    Refused(Refusal),
}

struct OpenSection {
    kind: SectionKind,
    len: usize,
}

impl<'a, D: Device> UpdateSession<'a, D> {
    /// Begins an update. First brings the device's state up to the confirmed image, which
    /// writes only after a power cut in confirm.
    ///
    /// # Errors
    /// `Unconfirmed`, without any flash operation, while the running image is on trial;
    /// otherwise the flash's fault.
    pub async fn begin(
        mut device: D,
        config: &'a Config<'a>,
        mut buffers: Buffers<'a>,
    ) -> Result<Self, Refusal> {
        if device.boot_state().await?.is_on_trial() {
            return Err(Refusal::Unconfirmed);
        }
        let own = heal(&mut device, config, &mut buffers).await?;
        let boot = device.boot_state().await?;
        let staged = match boot.pending {
            Some(pending) => release_in(&mut device, pending.slot, &mut buffers).await?,
            None => None,
        };
        carried::keep(&mut device, config, &mut buffers.head, &mut buffers.page).await?;
        buffers.head.clear();
        Ok(Self {
            device,
            config,
            own,
            boot,
            staged: staged.and_then(|staged| staged.digest),
            offered: None,
            phase: Phase::Sections {
                buffers,
                open: None,
                order: CarriedOrder::default(),
            },
        })
    }

    /// What to do next.
    pub fn next(&self) -> Action {
        match &self.phase {
            Phase::Sections { .. } => Action::NeedManifest,
            Phase::Envelope { .. } => Action::NeedEnvelope,
            Phase::Payload { install, .. } if install.is_written() => Action::Stage,
            Phase::Payload { install, .. } => Action::Fetch(install.wanted()),
            Phase::Staged(_) => Action::Reboot,
            Phase::Refused(refusal) => Action::Refused(*refusal),
        }
    }

    /// The running release.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Digest of the release that is being installed, once its manifest was accepted.
    pub fn release(&self) -> Option<Digest> {
        match &self.phase {
            Phase::Envelope { checked, .. } => Some(checked.digest()),
            Phase::Payload { install, .. } => Some(install.digest()),
            Phase::Staged(digest) => Some(*digest),
            Phase::Sections { .. } | Phase::Refused(_) => None,
        }
    }

    /// The accepted manifest's header, until the payload begins.
    pub fn manifest(&self) -> Option<&Header> {
        match &self.phase {
            Phase::Envelope { checked, .. } => Some(checked.manifest().header()),
            _ => None,
        }
    }

    /// Bytes of the image that are in the slot, and its whole length.
    pub fn progress(&self) -> Option<(u64, u64)> {
        match &self.phase {
            Phase::Payload { install, .. } => Some(install.progress()),
            _ => None,
        }
    }

    /// True when the download goes on where an earlier session stopped.
    pub fn is_resumed(&self) -> bool {
        matches!(&self.phase, Phase::Payload { install, .. } if install.is_resumed())
    }

    /// Version of the keyset in force, to ask a server for newer ones.
    ///
    /// # Errors
    /// `WrongCall` once the manifest was accepted, or the flash's fault.
    pub async fn keyset_version(&mut self) -> Result<KeysetVersion, Refusal> {
        let Phase::Sections { buffers, .. } = &mut self.phase else {
            return Err(Refusal::WrongCall);
        };
        let scratch = buffers.chunk.scratch();
        let keyset = keysets::in_force(&mut self.device, self.config, scratch).await?;
        Ok(keyset.header().version)
    }

    /// Takes a fresh offer, `elapsed` seconds after its nonce was drawn. Returns what it
    /// says. Needed before the manifest when the policy asks for offers.
    ///
    /// # Errors
    /// `OfferStale`, or the field that is wrong. The session goes on.
    pub async fn accept_offer(&mut self, bytes: &[u8], elapsed: u32) -> Result<Purpose, Refusal> {
        let Phase::Sections { buffers, .. } = &mut self.phase else {
            return Err(Refusal::WrongCall);
        };
        let question = self.config.policy.offer.ok_or(Refusal::WrongCall)?;
        let scratch = buffers.chunk.scratch();
        let keyset = keysets::in_force(&mut self.device, self.config, scratch).await?;
        let offer = Offer::verify(bytes, &keyset, &question)?;
        if elapsed >= offer.valid_for || offer.keyset_version > keyset.header().version {
            return Err(Refusal::OfferStale);
        }
        if offer.purpose == Purpose::Install {
            self.offered = Some(offer.manifest_digest);
        }
        Ok(offer.purpose)
    }

    /// Announces the next section of a bundle. Its bytes go to [`push`](Self::push).
    ///
    /// # Errors
    /// Ends the session: a section out of place, longer than its buffer, or a payload of
    /// another length than the signed one.
    pub async fn begin_section(&mut self, section: Section) -> Result<(), Refusal> {
        let result = self.open_section(section).await;
        self.ending(result)
    }

    /// Takes the next bytes of the open section, or of the payload at the offset that
    /// [`next`](Self::next) names. Returns how many it took: all of them, unless the
    /// payload bytes needed next lie elsewhere or the section ends before.
    ///
    /// # Errors
    /// Ends the session.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let result = self.take(bytes).await;
        self.ending(result)
    }

    /// Reads the whole image back, compares its digest, and stages the slot.
    ///
    /// # Errors
    /// Ends the session. `ResumeMismatch` asks for another attempt, which starts from zero.
    pub async fn stage(&mut self) -> Result<(), Refusal> {
        let result = match &mut self.phase {
            Phase::Payload { install, unwraps } if install.is_written() => {
                let digest = install.digest();
                let staged = install.stage(&mut self.device).await;
                staged.map(|()| {
                    **unwraps = 0;
                    digest
                })
            }
            Phase::Refused(refusal) => Err(*refusal),
            _ => Err(Refusal::WrongCall),
        };
        let digest = self.ending(result)?;
        self.phase = Phase::Staged(digest);
        Ok(())
    }

    /// Takes one keyset with its signature block.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub async fn accept_keyset(&mut self, section: &[u8]) -> Result<(), Refusal> {
        self.accept(SectionKind::Keyset, section).await
    }

    /// Takes the manifest with its signature block.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub async fn accept_manifest(&mut self, section: &[u8]) -> Result<(), Refusal> {
        self.accept(SectionKind::Manifest, section).await
    }

    /// Takes one envelope, or a pack of them.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub async fn accept_envelope(&mut self, pack: &[u8]) -> Result<(), Refusal> {
        self.accept(SectionKind::EnvelopePack, pack).await
    }

    /// The device, for the caller's own flash use; ends the session.
    pub fn into_device(self) -> D {
        self.device
    }

    async fn accept(&mut self, kind: SectionKind, bytes: &[u8]) -> Result<(), Refusal> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.begin_section(Section { kind, len }).await?;
        let taken = self.push(bytes).await?;
        if taken == bytes.len() {
            Ok(())
        } else {
            self.ending(Err(Refusal::TooLong))
        }
    }

    fn ending<T>(&mut self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        result.inspect_err(|refusal| self.phase = Phase::Refused(*refusal))
    }

    async fn open_section(&mut self, section: Section) -> Result<(), Refusal> {
        let out_of_place = Error::new(Part::Bundle, "section_kind", 0, Reason::Order);
        match (&mut self.phase, section.kind) {
            (Phase::Refused(refusal), _) => Err(*refusal),
            (
                Phase::Sections { buffers, open, .. },
                SectionKind::Keyset | SectionKind::Manifest,
            ) => {
                if open.is_some() {
                    return Err(Refusal::WrongCall);
                }
                let len = usize::try_from(section.len).unwrap_or(usize::MAX);
                if len > buffers.head.capacity() {
                    return Err(match section.kind {
                        SectionKind::Keyset => Refusal::KeysetTooLarge,
                        _ => Refusal::ManifestTooLarge,
                    });
                }
                buffers.head.clear();
                *open = Some(OpenSection {
                    kind: section.kind,
                    len,
                });
                Ok(())
            }
            (
                Phase::Envelope {
                    checked,
                    pack,
                    rest: [_, _, chunk],
                    ..
                },
                SectionKind::EnvelopePack,
            ) => {
                if pack.is_some() {
                    return Err(Refusal::WrongCall);
                }
                chunk.clear();
                *pack = Some(PackReader::new(checked.digest(), section.len)?);
                Ok(())
            }
            (Phase::Envelope { checked, pack, .. }, SectionKind::Payload) => {
                check_payload_len(&section, checked.manifest().header())?;
                Err(match pack {
                    Some(_) => Refusal::WrongCall,
                    None => missing_envelope(),
                })
            }
            (Phase::Payload { install, .. }, SectionKind::EnvelopePack) if install.is_plain() => {
                let error = Error::new(Part::Envelope, "content_suite", 0, Reason::MustBeZero);
                Err(error.into())
            }
            (Phase::Payload { install, .. }, SectionKind::Payload) => {
                if section.len == install.payload_len() {
                    Ok(())
                } else {
                    Err(Error::new(Part::Payload, "section_len", 8, Reason::Sum).into())
                }
            }
            _ => Err(out_of_place.into()),
        }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match &mut self.phase {
            Phase::Refused(refusal) => Err(*refusal),
            Phase::Staged(_) => Ok(0),
            Phase::Payload { install, .. } => install.push(&mut self.device, bytes).await,
            Phase::Sections { buffers, open, .. } => {
                let Some(OpenSection { kind, len }) = *open else {
                    return Err(Refusal::WrongCall);
                };
                let taken = buffers.head.fill_to(len, bytes);
                if buffers.head.len() == len {
                    *open = None;
                    match kind {
                        SectionKind::Keyset => self.take_keyset().await?,
                        _ => self.take_manifest().await?,
                    }
                }
                Ok(taken)
            }
            Phase::Envelope {
                checked,
                pack,
                rest: [_, page, chunk],
                unwraps,
            } => {
                let Some(pack) = pack else {
                    return Err(Refusal::WrongCall);
                };
                let mut opener = Opener {
                    checked,
                    keys: Keys::new(self.config, page),
                    limit: self.config.policy.max_envelopes,
                    unwraps,
                };
                let taken = pack.push(bytes, &mut opener, chunk)?;
                if pack.is_complete() {
                    let keys = pack.take_keys()?;
                    self.unlock(&keys).await?;
                }
                Ok(taken)
            }
        }
    }

    async fn take_keyset(&mut self) -> Result<(), Refusal> {
        let Phase::Sections { buffers, order, .. } = &mut self.phase else {
            return Err(Refusal::WrongCall);
        };
        let scratch = buffers.chunk.scratch();
        let in_force = keysets::in_force(&mut self.device, self.config, scratch).await?;
        let next = SignedKeyset::parse(buffers.head.as_ref())?;
        order.check(&next.keyset)?;
        if let Followed::Newer(accepted) = in_force.follow(next)? {
            if self.boot.pending.is_some() {
                return Err(Refusal::Unconfirmed);
            }
            let vouching = self.own.accepted_under;
            self.device
                .set_keyset(accepted.signed_bytes(), vouching)
                .await?;
        }
        Ok(())
    }

    async fn take_manifest(&mut self) -> Result<(), Refusal> {
        let placeholder = Phase::Refused(Refusal::WrongCall);
        let Phase::Sections { buffers, .. } = core::mem::replace(&mut self.phase, placeholder)
        else {
            return Err(Refusal::WrongCall);
        };
        let Buffers {
            head,
            top,
            page,
            mut chunk,
            unwraps,
        } = buffers;
        let section = head.freeze();
        let target = self.boot.target();
        let checked = {
            let (manifest, signatures) = UnverifiedManifest::parse_prefix(section)
                .map_err(|error| name_what_came(error, section))?;
            let signatures = SignatureBlock::parse(signatures)?;
            let buffers = [top.capacity(), page.capacity(), chunk.capacity()];
            let keyset = keysets::in_force(&mut self.device, self.config, chunk.scratch()).await?;
            let manifest = keyset.verify_manifest(manifest, &signatures)?;
            let state = self.device.device_state().await?;
            let circumstances = Circumstances {
                config: self.config,
                keys: Keys::new(self.config, &page),
                own: &self.own,
                state: &state,
                target,
                target_address: self.device.slot_address(target),
                room: image_room(&self.device, target),
                staged: self.staged,
                offered: self.offered,
                buffers,
            };
            check(manifest, section, &circumstances)?
        };
        let is_plain = checked.is_plain();
        self.phase = Phase::Envelope {
            checked,
            pack: None,
            rest: [top, page, chunk],
            unwraps,
        };
        if is_plain {
            self.unlock(&PayloadKeys::plain()).await?;
        }
        Ok(())
    }

    async fn unlock(&mut self, keys: &PayloadKeys) -> Result<(), Refusal> {
        let placeholder = Phase::Refused(Refusal::WrongCall);
        let Phase::Envelope {
            checked,
            rest,
            unwraps,
            ..
        } = core::mem::replace(&mut self.phase, placeholder)
        else {
            return Err(Refusal::WrongCall);
        };
        let clearance = checked.unlock(keys)?;
        let install = Install::begin(clearance, &mut self.device, rest).await?;
        self.phase = Phase::Payload { install, unwraps };
        Ok(())
    }
}

pub(crate) fn missing_envelope() -> Refusal {
    Error::new(Part::Envelope, "recipient_id", 8, Reason::NotARecipient).into()
}

/// A manifest without its magic number is probably a login page or another file.
fn name_what_came(error: Error, bytes: &[u8]) -> Refusal {
    match (error.reason, bytes.first_chunk()) {
        (Reason::Magic, Some(first)) => Refusal::NotARelease(crate::Seen(*first)),
        _ => error.into(),
    }
}
