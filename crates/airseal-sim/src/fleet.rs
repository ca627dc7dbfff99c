//! Many devices: each with keys of its own, flash, a boot loader, and a connection of its own.

use std::io;

use airseal_format::RecipientId;
use airseal_format::recipient::seed::{self, Purpose};
use airseal_pack::key::{DevicePublicKey, PrivateKey};
use airseal_pack::recipient::{Recipient, Recipients};
use airseal_protocol::ProblemCode;
use airseal_update::Refusal;

use crate::agent::{Agent, Event, Outcome};
use crate::device::{Model, SimDevice};
use crate::https::{ClientError, HttpsClient};
use crate::source::Source;

/// Devices of one model that know one server.
pub struct Fleet {
    model: Model,
    url: String,
    ca_pem: Vec<u8>,
    members: Vec<Member>,
}

/// One device.
pub struct Member {
    /// Its name.
    pub name: String,
    /// The device and its connection.
    pub agent: Agent<HttpsClient>,
    seed: [u8; 32],
}

/// What a round with the server came to.
pub struct Round {
    /// In a few words.
    pub seen: String,
    /// How often power failed.
    pub power_cuts: usize,
    /// Bytes of payload that came twice.
    pub twice: u64,
    /// All bytes of payload that came.
    pub payload: u64,
}

impl Fleet {
    /// Nobody yet: devices of one model that look for their server at `url` and trust it by
    /// the certificate in `ca_pem`.
    #[must_use]
    pub fn new(model: Model, url: String, ca_pem: Vec<u8>) -> Self {
        Self {
            model,
            url,
            ca_pem,
            members: Vec::new(),
        }
    }

    /// What all of them are.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A device with keys of its own, which does not belong to the fleet yet.
    ///
    /// # Errors
    /// `Address` for a URL or a certificate that can't be used; `Io` without randomness.
    pub fn make(&self, name: &str) -> Result<Member, ClientError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let device = SimDevice::new(self.model.clone(), &seed);
        let client = HttpsClient::new(&self.url, &self.ca_pem, &seed)?;
        Ok(Member {
            name: name.to_owned(),
            agent: Agent::new(device, client),
            seed,
        })
    }

    /// Takes a device in.
    pub fn add(&mut self, member: Member) {
        self.members.push(member);
    }

    /// A device by its name.
    pub fn member(&mut self, name: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.name == name)
    }

    /// Everybody but those named, as recipients.
    #[must_use]
    pub fn recipients_without(&self, left_out: &[&str]) -> Recipients {
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
    #[must_use]
    pub fn names_without(&self, left_out: &[&str]) -> Vec<String> {
        let names = self.members.iter().map(|member| member.name.clone());
        names
            .filter(|name| !left_out.contains(&name.as_str()))
            .collect()
    }
}

impl Member {
    /// Its public key, to seal to.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient::Device(DevicePublicKey::X25519(self.agent.device.public()))
    }

    /// The id its envelopes carry.
    #[must_use]
    pub fn recipient_id(&self) -> RecipientId {
        self.recipient().id()
    }

    /// Its secret, as somebody who opened it would have it.
    #[must_use]
    pub fn stolen_key(&self) -> PrivateKey {
        PrivateKey::Device(seed::derive(&self.seed, Purpose::HpkeX25519))
    }

    /// Asks the server once and does what it says.
    pub fn round(&mut self) -> Round {
        let mut happened = Vec::new();
        let outcome = self.agent.round(&mut |event| happened.push(event));
        let seen = match outcome {
            Ok(outcome) => self.words(outcome, &happened),
            Err(error) => in_words(&error),
        };
        let traffic = self.agent.source.traffic().cloned().unwrap_or_default();
        Round {
            seen,
            power_cuts: happened
                .iter()
                .filter(|event| matches!(event, Event::PowerLost { .. }))
                .count(),
            twice: traffic.twice,
            payload: traffic.payload,
        }
    }

    /// Hands a sealed file to the device; what it says, and the flash operations that took.
    pub fn hand(&mut self, bundle: &[u8]) -> (String, usize) {
        self.agent.device.flash_mut().clear_log();
        let seen = match self.agent.device.update_from_bytes(bundle) {
            Ok(()) => "installed".to_owned(),
            Err(refusal) => refused(&refusal),
        };
        (seen, self.agent.device.flash().log().len())
    }

    /// Version of the image that runs.
    pub fn version(&mut self) -> String {
        let version = match self.agent.device.running() {
            Some(slot) => self.agent.device.version_in(slot).ok().flatten(),
            None => None,
        };
        version.unwrap_or_else(|| "the factory image".to_owned())
    }

    fn words(&mut self, outcome: Outcome, happened: &[Event]) -> String {
        match outcome {
            Outcome::Updated => format!("{} confirmed", self.version()),
            Outcome::Reverted => format!("went back to {}", self.version()),
            Outcome::Idle | Outcome::Refused | Outcome::Interrupted => happened
                .iter()
                .rev()
                .find_map(|event| match event {
                    Event::NothingNewer => Some("nothing newer".to_owned()),
                    Event::NoEnvelope { .. } => Some("no envelope yet".to_owned()),
                    Event::Held { .. } => Some("held back".to_owned()),
                    Event::Refused { code, name, .. } => Some(format!("refused: {code} {name}")),
                    Event::ServerRefused { code, .. } => Some(problem(*code)),
                    Event::Interrupted { why } => Some(format!("interrupted: {why}")),
                    _ => None,
                })
                .unwrap_or_else(|| format!("{outcome:?}")),
        }
    }
}

/// `refused: 212 older`.
#[must_use]
pub fn refused(refusal: &Refusal) -> String {
    format!("refused: {} {}", refusal.code(), refusal.word())
}

/// What a failed request comes to, in a few words.
#[must_use]
pub fn in_words(error: &ClientError) -> String {
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
