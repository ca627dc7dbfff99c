//! The vendor: keys in a folder, sealed files beside them.

use std::fs;
use std::path::{Path, PathBuf};

use airseal_format::ContentSuite;
use airseal_format::RecipientId;
use airseal_format::signature::SigningPublicKey;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::key::{
    KeyKind, NoPassphrase, PrivateKey, PublicKey, private_to_pem, public_to_pem,
};
use airseal_pack::keyset::{KeysetFile, KeysetKeys, NewKeyset, RotateKeyset};
use airseal_pack::output::{Access, Existing, write_file};
use airseal_pack::recipient::Recipients;
use airseal_pack::seal::{SealOutput, SealRequest, seal};
use airseal_pack::signer::{Signer, open_signer};

use crate::failure::Failure;
use crate::interrupt;

/// The vendor's name in the story.
pub(super) const VENDOR: &str = "example.com";
/// The class of all its devices but one release.
pub(super) const CLASS: &str = "lamp";

/// Who may sign, and with what.
pub(super) struct Vendor {
    folder: PathBuf,
    chip: ChipChoice,
    /// The keyset file, which grows with each rotation.
    pub(super) keyset: PathBuf,
    /// Name of the key that signs releases now.
    pub(super) release_key: &'static str,
}

/// A release to be sealed.
pub(super) struct Plan<'a> {
    /// Version text.
    pub(super) version: &'a str,
    /// Number in the class's sequence.
    pub(super) sequence: u64,
    /// The firmware.
    pub(super) image: &'a Path,
    /// Who can open it.
    pub(super) recipients: &'a Recipients,
    /// Who alone may install it; empty for all.
    pub(super) only: &'a [RecipientId],
    /// The class it is for.
    pub(super) class: &'a str,
    /// Name of the signing key.
    pub(super) signed_by: &'a str,
    /// The keyset it is sealed under and carries.
    pub(super) keyset: Option<&'a Path>,
}

impl Vendor {
    /// Makes the first keys: three roots of which two must agree, one release key.
    pub(super) fn start(folder: &Path, chip: ChipChoice) -> Result<Vendor, Failure> {
        let vendor = Vendor {
            folder: folder.to_owned(),
            chip,
            keyset: folder.join("keys/keyset"),
            release_key: "release-1",
        };
        for name in ["keys", "releases"] {
            fs::create_dir_all(folder.join(name))
                .map_err(|error| Failure::io("can't make the demo's folder", &error))?;
        }
        let roots = ["root-1", "root-2", "root-3"].map(|name| vendor.new_key(name));
        let roots: Vec<SigningPublicKey> = roots.into_iter().collect::<Result<_, _>>()?;
        let releases = [vendor.new_key(vendor.release_key)?];
        let keys = KeysetKeys {
            roots: &roots,
            releases: &releases,
            offers: &[],
            root_threshold: 2,
            release_threshold: 1,
        };
        let new = NewKeyset {
            vendor: VENDOR,
            class: None,
            keys,
            max_security_version: 1_000_000,
        };
        let keyset =
            KeysetFile::create("keyset", &new)?.sign(&vendor.signers(&["root-1", "root-2"])?)?;
        keyset.write(&vendor.keyset, Existing::Refuse)?;
        Ok(vendor)
    }

    /// Appends a keyset with a new release key and one new root, signed by two of the old and new roots.
    pub(super) fn rotate(&mut self) -> Result<(), Failure> {
        let before = KeysetFile::read(&self.keyset)?;
        let roots = [
            self.public("root-1")?,
            self.public("root-2")?,
            self.new_key("root-4")?,
        ];
        let releases = [self.new_key("release-2")?];
        let change = RotateKeyset {
            roots: Some(&roots),
            releases: Some(&releases),
            ..RotateKeyset::default()
        };
        let next = before
            .rotate("keyset", &change)?
            .sign(&self.signers(&["root-1", "root-2"])?)?;
        next.write(&self.keyset, Existing::Replace)?;
        self.release_key = "release-2";
        Ok(())
    }

    /// Makes a signing key and writes both halves.
    pub(super) fn new_key(&self, name: &str) -> Result<SigningPublicKey, Failure> {
        let key = PrivateKey::generate(KeyKind::Signing)?;
        let pem = private_to_pem(&key, None)?;
        write_file(
            &self.key_path(name),
            pem.as_bytes(),
            Existing::Refuse,
            Access::Owner,
        )?;
        match key.public() {
            Some(public @ PublicKey::Signing(signing)) => {
                let path = self.folder.join("keys").join(format!("{name}.pub"));
                write_file(
                    &path,
                    public_to_pem(&public).as_bytes(),
                    Existing::Refuse,
                    Access::Public,
                )?;
                Ok(signing)
            }
            _ => Err(Failure::environment("a new signing key has no public half")),
        }
    }

    /// Seals a release; its file is `releases/NAME.seal`, its content key `releases/NAME.content-key`.
    pub(super) fn seal(&self, name: &str, plan: &Plan<'_>) -> Result<PathBuf, Failure> {
        let keyset = plan.keyset.map(KeysetFile::read).transpose()?;
        let signers = self.signers(&[plan.signed_by])?;
        let checks = FirmwareChecks {
            chip: self.chip,
            allow_no_descriptor: true,
            ..FirmwareChecks::default()
        };
        let firmware = Firmware::open(plan.image, &checks)?;
        let request = SealRequest {
            vendor: VENDOR,
            class: plan.class,
            hardware: (0, u16::MAX),
            sequence: plan.sequence,
            version: Some(plan.version),
            security_version: None,
            min_security_version: 0,
            min_sequence: 0,
            built_at: None,
            expires_at: 0,
            suite: ContentSuite::Aes256Ctr,
            raw_flash: None,
            small_ram: false,
            keyset: keyset.as_ref(),
            only: plan.only,
            carry_group: None,
            recipients: plan.recipients,
            signers: &signers,
            allow_unsigned: false,
        };
        let bundle = self.folder.join(format!("releases/{name}.seal"));
        let output = SealOutput {
            bundle: &bundle,
            content_key: Some(&self.content_key(name)),
            detached: None,
            existing: Existing::Refuse,
        };
        let control = Control {
            progress: None,
            cancel: Some(interrupt::flag()),
        };
        seal(&request, &firmware, &output, &SystemEntropy, &control)?;
        Ok(bundle)
    }

    /// Where the content key of a release is kept.
    pub(super) fn content_key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("releases/{name}.content-key"))
    }

    /// Signers by the names of their keys.
    pub(super) fn signers(&self, names: &[&str]) -> Result<Vec<Box<dyn Signer>>, Failure> {
        names
            .iter()
            .map(|name| {
                let path = self.key_path(name);
                Ok(open_signer(&path.display().to_string(), &NoPassphrase)?.key)
            })
            .collect()
    }

    fn public(&self, name: &str) -> Result<SigningPublicKey, Failure> {
        let signers = self.signers(&[name])?;
        signers
            .first()
            .map(|signer| *signer.public_key())
            .ok_or_else(|| Failure::environment(format_args!("no key is called {name}")))
    }

    fn key_path(&self, name: &str) -> PathBuf {
        self.folder.join("keys").join(format!("{name}.key"))
    }
}
