//! A device with a confirmed image, and the questions every test asks it.

use airseal_format::bundle::{Section, SectionKind};
use airseal_format::component::FlashEncryption;
use airseal_format::manifest::SIGNING_CONTEXT;
use airseal_format::{Digest, Error, Part, Reason};
use airseal_sim::fixture::{CLASS, KeysetPlan, ReleasePlan, Sealed, To, VENDOR, sign};
use airseal_sim::random::Noise;
use airseal_sim::{Model, SimDevice};
use airseal_update::blocking::block_on;
use airseal_update::boot::ResetReason;
use airseal_update::port::{Device, Slot};
use airseal_update::{Action, Buffers, Config, Policy, Refusal, UpdateSession};
use sha2::{Digest as _, Sha256};

/// Sequence of the release that runs.
pub(crate) const RUNNING: u64 = 10;

/// Length of every image: two pages of the small profile, the last chunk short.
pub(crate) const IMAGE_LEN: usize = 36 * 1024 + 5;

/// Secret that the device's keys follow from.
pub(crate) const SEED: [u8; 32] = [7; 32];

pub(crate) struct Bench {
    pub(crate) device: SimDevice,
    /// The release that runs.
    pub(crate) running: Sealed,
}

impl Bench {
    /// Release 10 runs, confirmed, in slot A.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same on another model.
    pub(crate) fn with(change: impl FnOnce(&mut Model)) -> Self {
        Self::running(change, |_| {})
    }

    /// The same with another release 10.
    pub(crate) fn running(
        change_model: impl FnOnce(&mut Model),
        change_release: impl FnOnce(&mut ReleasePlan),
    ) -> Self {
        let mut model = model();
        change_model(&mut model);
        let policy = std::mem::take(&mut model.policy);
        let mut device = SimDevice::new(model, &SEED);
        let mut plan = release_for(&device, RUNNING);
        change_release(&mut plan);
        let running = plan.seal();
        device.provision(&running.bundle()).unwrap();
        assert_eq!(device.running(), Some(Slot::A));
        device.model_mut().policy = policy;
        Self { device, running }
    }

    /// A good release with this sequence, for this device.
    pub(crate) fn release(&self, seq: u64) -> ReleasePlan {
        release_for(&self.device, seq)
    }

    /// The good release that comes next.
    pub(crate) fn next(&self) -> ReleasePlan {
        self.release(RUNNING + 1)
    }

    /// A release the device refuses, as a bundle and from a server alike.
    pub(crate) fn refuses(&mut self, sealed: &Sealed) -> Refusal {
        let served = self.untouched(|device| serve(device, sealed));
        let carried = self.refuses_bytes(&sealed.bundle());
        assert_eq!(served, carried, "the ways in disagree");
        carried
    }

    /// A bundle the device refuses.
    pub(crate) fn refuses_bytes(&mut self, bundle: &[u8]) -> Refusal {
        let refusal = self.untouched(|device| device.update_from_bytes(bundle));
        self.still_boots();
        refusal
    }

    /// Runs what must be refused without one operation on the flash.
    pub(crate) fn untouched<T>(
        &mut self,
        attempt: impl FnOnce(&mut SimDevice) -> Result<T, Refusal>,
    ) -> Refusal {
        let operations = self.device.flash().operations();
        let refusal = attempt(&mut self.device).err().expect("it was accepted");
        let done = self.device.flash().operations() - operations;
        assert_eq!(done, 0, "flash operations before {refusal:?}");
        refusal
    }

    /// Runs what must be refused without an operation on a slot; keysets may be stored.
    pub(crate) fn slots_untouched<T>(
        &mut self,
        attempt: impl FnOnce(&mut SimDevice) -> Result<T, Refusal>,
    ) -> Refusal {
        self.device.flash_mut().clear_log();
        let refusal = attempt(&mut self.device).err().expect("it was accepted");
        let slots = self.device.slots();
        let touched = self.device.flash().touched(&slots);
        assert_eq!(touched, 0, "slot operations before {refusal:?}");
        refusal
    }

    /// The confirmed image is the one that boots, byte for byte, without a trial.
    pub(crate) fn still_boots(&mut self) {
        let slot = self.device.running();
        let booted = self.device.boot(ResetReason::Power).unwrap();
        assert_eq!((booted.slot, booted.on_trial), (slot, false));
        assert_eq!((booted.ended, booted.is_fallback), (None, false));
        assert_eq!(self.device.release().unwrap(), Some(self.running.digest));
    }

    /// A release the device installs, tries and keeps: the counter-example of a refusal.
    pub(crate) fn accepts(&mut self, sealed: &Sealed) {
        self.device.update_from_bytes(&sealed.bundle()).unwrap();
        self.confirms(sealed);
    }

    /// Boots the staged release and confirms it.
    pub(crate) fn confirms(&mut self, sealed: &Sealed) {
        let booted = self.device.boot(ResetReason::Restart).unwrap();
        assert!(booted.on_trial);
        self.device.confirm().unwrap();
        assert_eq!(self.device.release().unwrap(), Some(sealed.digest));
        self.running = sealed.clone();
    }
}

/// The model of every bench: two slots of 64 KiB.
pub(crate) fn model() -> Model {
    Model {
        vendor_id: VENDOR,
        class_id: CLASS,
        hw_rev: 1,
        chip: 5,
        keyset: KeysetPlan::first().signed(),
        policy: Policy::default(),
        flash_encryption: FlashEncryption::None,
        slot_len: 16 * 4096,
        slots: None,
        factory: None,
    }
}

/// The image of release `seq`.
pub(crate) fn image(seq: u64) -> Vec<u8> {
    Noise::new(seq).bytes(IMAGE_LEN)
}

fn release_for(device: &SimDevice, seq: u64) -> ReleasePlan {
    ReleasePlan::new(seq, image(seq), vec![To::X25519(device.public())])
}

/// Delivers a release part by part, as from a server.
pub(crate) fn serve(device: &mut SimDevice, sealed: &Sealed) -> Result<(), Refusal> {
    serve_counting(device, sealed, &mut 0)
}

/// The same, adding the bytes that came to `fetched`.
pub(crate) fn serve_counting(
    device: &mut SimDevice,
    sealed: &Sealed,
    fetched: &mut u64,
) -> Result<(), Refusal> {
    device
        .with(|device, config, buffers| block_on(deliver(device, config, buffers, sealed, fetched)))
}

/// Delivers a release part by part to any device.
pub(crate) async fn deliver<D: Device>(
    device: D,
    config: &Config<'_>,
    buffers: Buffers<'_>,
    sealed: &Sealed,
    fetched: &mut u64,
) -> Result<(), Refusal> {
    let mut session = UpdateSession::begin(device, config, buffers).await?;
    for keyset in &sealed.keysets {
        *fetched += keyset.len() as u64;
        session.accept_keyset(keyset).await?;
    }
    let manifest = sealed.manifest_section();
    *fetched += manifest.len() as u64;
    session.accept_manifest(&manifest).await?;
    if !sealed.envelopes.is_empty() {
        let pack = sealed.envelopes.concat();
        *fetched += pack.len() as u64;
        session.accept_envelope(&pack).await?;
    }
    let payload = Section {
        kind: SectionKind::Payload,
        len: sealed.payload.len() as u64,
    };
    session.begin_section(payload).await?;
    loop {
        match session.next() {
            Action::Fetch(part) => {
                let from = part.offset as usize;
                let to = (part.offset + part.len.min(SEGMENT)) as usize;
                let bytes = sealed.payload.get(from..to).ok_or(Refusal::Ended)?;
                *fetched += bytes.len() as u64;
                session.push(bytes).await?;
            }
            Action::Stage => session.stage().await?,
            Action::Reboot => return Ok(()),
            Action::Refused(refusal) => return Err(refusal),
            Action::NeedManifest | Action::NeedEnvelope => return Err(Refusal::WrongCall),
        }
    }
}

/// Bytes of the payload that come at once, as in one TCP segment.
const SEGMENT: u64 = 1460;

/// Seals `plan`, changes the signed bytes, and signs and wraps them anew: what a vendor
/// whose tools have a fault would publish.
pub(crate) fn tampered(plan: &ReleasePlan, change: impl FnOnce(&mut Vec<u8>)) -> Sealed {
    let mut sealed = plan.seal();
    change(&mut sealed.manifest);
    sealed.digest = Digest(Sha256::digest(&sealed.manifest).into());
    sealed.signatures = sign(SIGNING_CONTEXT, &sealed.manifest, &plan.signed_by);
    let key = airseal_format::cipher::ContentKey::new(plan.content_key);
    let mut to: Vec<&To> = plan.to.iter().collect();
    to.sort_by_key(|to| to.id());
    sealed.envelopes = to.iter().map(|to| to.seal(sealed.digest, &key)).collect();
    sealed
}

/// The refusal of one field.
pub(crate) fn wrong(part: Part, field: &'static str, offset: usize, reason: Reason) -> Refusal {
    Refusal::Format(Error::new(part, field, offset, reason))
}

/// The refusal of a changed signed byte.
pub(crate) fn bad_signature() -> Refusal {
    wrong(Part::Signatures, "signature", 4, Reason::BadSignature)
}

/// The refusal of a release that nobody trusted signed.
pub(crate) fn too_few() -> Refusal {
    wrong(Part::Signatures, "count", 0, Reason::TooFewSignatures)
}

/// The refusal when no envelope is for this device.
pub(crate) fn not_a_recipient() -> Refusal {
    wrong(Part::Envelope, "recipient_id", 8, Reason::NotARecipient)
}

/// The refusal of an envelope that does not open.
pub(crate) fn unwrap_failed() -> Refusal {
    wrong(Part::Envelope, "wrapped_key", 56, Reason::UnwrapFailed)
}

/// Every bit of `len` bytes, one flipped at a time.
pub(crate) fn bits(len: usize) -> impl Iterator<Item = (usize, u8)> {
    (0..len).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)))
}
