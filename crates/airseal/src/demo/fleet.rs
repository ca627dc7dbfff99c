//! Devices: each with keys of its own, flash, a boot loader, and a connection of its own.

use airseal_format::RecipientId;
use airseal_format::recipient::seed::{self, Purpose};
use airseal_pack::key::{DevicePublicKey, PrivateKey};
use airseal_pack::recipient::{Recipient, Recipients};
use airseal_pack::seal::{class_id, vendor_id};
use airseal_protocol::ProblemCode;
use airseal_server::Ready;
use airseal_server::api::types::{Claim, CreateDevice};
use airseal_sim::agent::{Agent, Event as Happened, Outcome};
use airseal_sim::https::{ClientError, HttpsClient};
use airseal_sim::{Model, SimDevice};
use airseal_update::{Factory, Policy, Refusal};

use super::event::Story;
use super::vendor::{CLASS, VENDOR};
use crate::client::Client;
use crate::failure::Failure;
use crate::interrupt;
use crate::ui::Ui;

/// The devices that know the server.
pub(super) struct Fleet {
    model: Model,
    https: String,
    ca: Vec<u8>,
    members: Vec<Member>,
}

/// One device.
pub(super) struct Member {
    /// Its name in the story.
    pub(super) name: String,
    /// The device and its connection.
    pub(super) agent: Agent,
    seed: [u8; 32],
}

/// What a round with the server came to.
pub(super) struct Round {
    /// In a few words.
    pub(super) seen: String,
    /// How often power failed.
    pub(super) power_cuts: usize,
    /// Bytes of payload that came twice.
    pub(super) twice: u64,
    /// All bytes of payload that came.
    pub(super) payload: u64,
}

impl Fleet {
    /// Nobody yet.
    pub(super) fn new(
        keyset: Vec<u8>,
        chip: u16,
        slot_len: u32,
        ready: &Ready,
    ) -> Result<Fleet, Failure> {
        let vendor_id = vendor_id(VENDOR);
        let model = Model {
            vendor_id,
            class_id: class_id(vendor_id, CLASS),
            hw_rev: 1,
            chip,
            keyset,
            policy: Policy::default(),
            slot_len,
            factory: Some(Factory::default()),
        };
        let ca = std::fs::read(&ready.ca)
            .map_err(|error| Failure::io("can't read the server's certificate", &error))?;
        Ok(Fleet {
            model,
            https: ready.https_url(),
            ca,
            members: Vec::new(),
        })
    }

    /// Makes a device, announces it, and lets it enrol with its claim token.
    pub(super) fn enroll(
        &mut self,
        name: &str,
        admin: &Client,
        story: &mut Story<'_>,
    ) -> Result<(), Failure> {
        let request = CreateDevice {
            name: Some(name.to_owned()),
            vendor_id: Some(hex::encode(self.model.vendor_id.0)),
            class_id: Some(hex::encode(self.model.class_id.0)),
            expires_in_s: None,
        };
        let claim: Claim = admin.post("devices", &request)?;
        let mut member = self.make(name)?;
        let seen = match member
            .agent
            .client
            .enroll(&member.agent.device, &claim.claim_token)
        {
            Ok(_) => "enrolled".to_owned(),
            Err(error) => in_words(&error),
        };
        story.event(name, "shows its key and a one-time token", "enrolled", seen);
        self.members.push(member);
        Ok(())
    }

    /// A device that nobody has announced.
    pub(super) fn make(&self, name: &str) -> Result<Member, Failure> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| {
            Failure::environment(format_args!("the system gives no random bytes: {error}"))
        })?;
        let device = SimDevice::new(self.model.clone(), &seed);
        let client =
            HttpsClient::new(&self.https, &self.ca, &seed).map_err(Failure::environment)?;
        Ok(Member {
            name: name.to_owned(),
            agent: Agent::new(device, client),
            seed,
        })
    }

    /// A device by its name.
    pub(super) fn member(&mut self, name: &str) -> Result<&mut Member, Failure> {
        self.members
            .iter_mut()
            .find(|member| member.name == name)
            .ok_or_else(|| Failure::environment(format_args!("no device is called {name}")))
    }

    /// Everybody but those named, as recipients.
    pub(super) fn recipients_without(&self, left_out: &[&str]) -> Recipients {
        let mut recipients = Recipients::new();
        for member in self
            .members
            .iter()
            .filter(|member| !left_out.contains(&member.name.as_str()))
        {
            recipients.add(member.recipient());
        }
        recipients
    }

    /// Names of everybody but those named.
    pub(super) fn names_without(&self, left_out: &[&str]) -> Vec<String> {
        let names = self.members.iter().map(|member| member.name.clone());
        names
            .filter(|name| !left_out.contains(&name.as_str()))
            .collect()
    }
}

impl Member {
    /// Its public key, to seal to.
    pub(super) fn recipient(&self) -> Recipient {
        Recipient::Device(DevicePublicKey::X25519(self.agent.device.public()))
    }

    /// The id its envelopes carry.
    pub(super) fn recipient_id(&self) -> RecipientId {
        self.recipient().id()
    }

    /// Its secret, as somebody who opened it would have it.
    pub(super) fn stolen_key(&self) -> PrivateKey {
        PrivateKey::Device(seed::derive(&self.seed, Purpose::HpkeX25519))
    }

    /// Asks the server once and does what it says.
    pub(super) fn round(&mut self, ui: &Ui) -> Result<Round, Failure> {
        interrupt::check()?;
        let bar = ui.progress("installing", 1);
        self.agent.client.on_progress(bar.setter());
        let mut happened = Vec::new();
        let outcome = self.agent.round(&mut |event| happened.push(event));
        let seen = match outcome {
            Ok(outcome) => self.words(outcome, &happened),
            Err(error) => in_words(&error),
        };
        let traffic = self.agent.client.traffic();
        Ok(Round {
            seen,
            power_cuts: happened
                .iter()
                .filter(|event| matches!(event, Happened::PowerLost { .. }))
                .count(),
            twice: traffic.twice,
            payload: traffic.payload,
        })
    }

    /// Hands a sealed file to the device; what it says, and the flash operations that took.
    pub(super) fn hand(&mut self, bundle: &[u8]) -> (String, usize) {
        self.agent.device.flash_mut().clear_log();
        let seen = match self.agent.device.update_from_bytes(bundle) {
            Ok(()) => "installed".to_owned(),
            Err(refusal) => refused(&refusal),
        };
        (seen, self.agent.device.flash().log().len())
    }

    /// Version of the image that runs.
    pub(super) fn version(&mut self) -> String {
        let version = match self.agent.device.running() {
            Some(slot) => self.agent.device.version_in(slot).ok().flatten(),
            None => None,
        };
        version.unwrap_or_else(|| "the factory image".to_owned())
    }

    fn words(&mut self, outcome: Outcome, happened: &[Happened]) -> String {
        match outcome {
            Outcome::Updated => format!("{} confirmed", self.version()),
            Outcome::Reverted => format!("went back to {}", self.version()),
            Outcome::Idle | Outcome::Refused | Outcome::Interrupted => happened
                .iter()
                .rev()
                .find_map(|event| match event {
                    Happened::NothingNewer => Some("nothing newer".to_owned()),
                    Happened::NoEnvelope { .. } => Some("no envelope yet".to_owned()),
                    Happened::Held { .. } => Some("held back".to_owned()),
                    Happened::Refused { code, name, .. } => Some(format!("refused: {code} {name}")),
                    Happened::ServerRefused { code, .. } => Some(problem(*code)),
                    Happened::Interrupted { why } => Some(format!("interrupted: {why}")),
                    _ => None,
                })
                .unwrap_or_else(|| format!("{outcome:?}")),
        }
    }
}

/// `refused: 212 older`.
pub(super) fn refused(refusal: &Refusal) -> String {
    format!("refused: {} {}", refusal.code(), refusal.word())
}

/// What a failed request comes to, in a few words.
pub(super) fn in_words(error: &ClientError) -> String {
    match error {
        ClientError::Refusal(refusal) => refused(refusal),
        ClientError::Problem { code, .. } => problem(*code),
        other => format!("failed: {other}"),
    }
}

fn problem(code: u16) -> String {
    let name = ProblemCode::from_number(code).map(|known| format!("{known:?}").to_lowercase());
    format!("refused: {code} {}", name.unwrap_or_default())
}
