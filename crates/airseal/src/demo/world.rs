//! The stage: a folder, the vendor, a server with TLS and a database, and the fleet.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use airseal_format::component::{FlashEncryption, RECORD_AREA_LEN};
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::keyset::KeysetFile;
use airseal_pack::recipient::Recipients;
use airseal_pack::recognise::{FileKind, recognise};
use airseal_pack::seal::{class_id, vendor_id};
use airseal_server::api::types::{
    Claim, CreateDevice, ProductTrust, Published, ServerInfo, SetTrust,
};
use airseal_server::{Config, Ready, RunningBlocking, Server};
use airseal_sim::Model;
use airseal_sim::fleet::{Fleet, Member, Round, in_words};
use airseal_update::{Factory, Policy};
use base64::Engine as _;
use tempfile::TempDir;

use super::event::Story;
use super::vendor::{CLASS, Plan, VENDOR, Vendor};
use crate::client::{Client, ServerArgs};
use crate::failure::Failure;
use crate::interrupt;
use crate::ui::Ui;

/// Everybody and everything in the story.
pub(super) struct World {
    server: RunningBlocking,
    /// The vendor.
    pub(super) vendor: Vendor,
    /// The administrator's connection.
    pub(super) admin: Client,
    /// The devices that know the server.
    pub(super) fleet: Fleet,
    images: [PathBuf; 3],
    /// Removed last, when nothing runs in it any more.
    folder: TempDir,
}

/// Which of three builds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Build {
    /// 1.0.0
    First,
    /// 1.0.1
    Second,
    /// 1.1.0
    Third,
}

impl World {
    /// Makes keys, starts the server, enrols the fleet.
    pub(super) fn start(firmware: Option<&Path>, story: &mut Story<'_>) -> Result<World, Failure> {
        check(firmware)?;
        story.chapter("Keys, a server and a fleet")?;
        let folder = tempfile::Builder::new()
            .prefix("airseal-demo-")
            .tempdir()
            .map_err(|error| Failure::io("can't make a temporary folder", &error))?;
        let (images, chip) = images(firmware, folder.path())?;
        let vendor = Vendor::start(folder.path(), chip)?;
        let keyset = KeysetFile::read(&vendor.keyset)?;
        story.event_with(
            "vendor",
            "keyset 1 by 2 of 3 root keys",
            "holds",
            if keyset.trust(None).is_ok() {
                "holds"
            } else {
                "does not hold"
            },
            "one release key; the private keys never leave the vendor's folder".to_owned(),
        );
        let server = Server::start_blocking(Config::local(folder.path().join("server")))
            .map_err(|error| crate::commands::serve::failure(&error))?;
        let ready = server.ready().clone();
        let admin = Client::new(&ServerArgs {
            server: ready.admin_url(),
            token_file: Some(ready.admin_token_file.clone()),
            ca: Some(ready.ca.clone()),
            data: folder.path().join("server"),
        })?;
        set_trust(&admin, &keyset)?;
        let info: ServerInfo = admin.get("server")?;
        story.event_with(
            "server",
            "starts with its own CA and SQLite",
            "content keys held: 0",
            format!("content keys held: {}", info.content_keys_held),
            format!("TLS 1.3 on {}", ready.https),
        );
        let vendor_id = vendor_id(VENDOR);
        let model = Model {
            vendor_id,
            class_id: class_id(vendor_id, CLASS),
            hw_rev: 1,
            chip: chip_id(&images[0], chip)?,
            keyset: keyset.last()?.keyset.signed_bytes().to_vec(),
            policy: Policy::default(),
            flash_encryption: FlashEncryption::None,
            slot_len: slot_len(&images)?,
            slots: None,
            factory: Some(Factory::default()),
        };
        let ca = fs::read(&ready.ca)
            .map_err(|error| Failure::io("can't read the server's certificate", &error))?;
        let mut world = World {
            folder,
            server,
            vendor,
            admin,
            fleet: Fleet::new(model, ready.https_url(), ca),
            images,
        };
        for name in ["porch", "hall", "attic", "cellar", "gate"] {
            world.enroll(name, story)?;
        }
        Ok(world)
    }

    /// Where everything lies.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the server is.
    pub(super) fn ready(&self) -> &Ready {
        self.server.ready()
    }

    /// A release of the newest build for the fleet, under the keyset in force.
    pub(super) fn plan<'a>(
        &'a self,
        version: &'a str,
        sequence: u64,
        recipients: &'a Recipients,
    ) -> Plan<'a> {
        Plan {
            version,
            sequence,
            image: self.image(Build::Third),
            recipients,
            only: &[],
            class: CLASS,
            signed_by: self.vendor.release_key,
            keyset: Some(&self.vendor.keyset),
        }
    }

    /// A build of the firmware.
    pub(super) fn image(&self, build: Build) -> &Path {
        let [first, second, third] = &self.images;
        match build {
            Build::First => first,
            Build::Second => second,
            Build::Third => third,
        }
    }

    /// Hands a sealed file to the server.
    pub(super) fn publish(&self, bundle: &Path) -> Result<Published, Failure> {
        self.admin.upload("releases", bundle)
    }

    /// Publishes and tells of it.
    pub(super) fn publish_and_tell(
        &self,
        bundle: &Path,
        version: &str,
        recipients: &Recipients,
        story: &mut Story<'_>,
    ) -> Result<String, Failure> {
        let published = self.publish(bundle)?;
        let size = fs::metadata(bundle)
            .map(|metadata| metadata.len())
            .unwrap_or_default();
        story.event_with(
            "vendor",
            format!("seals and publishes {version}"),
            format!("verified, {} can open it", recipients.len()),
            format!("verified, {} can open it", published.new_envelopes),
            format!("{size} bytes, the same for every device"),
        );
        Ok(published.release.manifest_digest)
    }

    /// Stops the server and removes the folder.
    pub(super) fn end(self) {
        self.server.stop();
    }

    /// A device that nobody has announced.
    pub(super) fn make(&self, name: &str) -> Result<Member, Failure> {
        self.fleet.make(name).map_err(Failure::environment)
    }

    /// A device by its name.
    pub(super) fn member(&mut self, name: &str) -> Result<&mut Member, Failure> {
        self.fleet
            .member(name)
            .ok_or_else(|| Failure::environment(format_args!("no device is called {name}")))
    }

    /// Announces a device and lets it enrol with its claim token.
    fn enroll(&mut self, name: &str, story: &mut Story<'_>) -> Result<(), Failure> {
        let model = self.fleet.model();
        let request = CreateDevice {
            name: Some(name.to_owned()),
            vendor_id: Some(hex::encode(model.vendor_id.0)),
            class_id: Some(hex::encode(model.class_id.0)),
            expires_in_s: None,
        };
        let claim: Claim = self.admin.post("devices", &request)?;
        let mut member = self.make(name)?;
        let agent = &mut member.agent;
        let seen = match agent.source.enroll(&agent.device, &claim.claim_token) {
            Ok(_) => "enrolled".to_owned(),
            Err(error) => in_words(&error),
        };
        story.event(name, "shows its key and a one-time token", "enrolled", seen);
        self.fleet.add(member);
        Ok(())
    }
}

/// One device asks the server once and does what it says.
pub(super) fn ask(member: &mut Member, ui: &Ui) -> Result<Round, Failure> {
    interrupt::check()?;
    let bar = ui.progress("installing", 0);
    member.agent.on_progress(bar.setter());
    Ok(member.round())
}

/// What the server and the devices say in the end.
pub(super) fn proofs(world: &mut World, story: &mut Story<'_>) -> Result<(), Failure> {
    story.chapter("What is left")?;
    let info: ServerInfo = world.admin.get("server")?;
    story.event(
        "server",
        "what it could give away",
        "content keys: 0, signing keys: 0",
        format!(
            "content keys: {}, signing keys: {}",
            info.content_keys_held, info.signing_keys_held
        ),
    );
    let states = ["active", "revoked"]
        .map(|state| format!("{state}: {}", info.devices.get(state).copied().unwrap_or(0)));
    story.event(
        "server",
        "the fleet",
        "active: 4, revoked: 1",
        states.join(", "),
    );
    Ok(())
}

fn set_trust(admin: &Client, keyset: &KeysetFile) -> Result<(), Failure> {
    let vendor = vendor_id(VENDOR);
    for class in [CLASS, super::attacks::OTHER_CLASS] {
        let path = format!(
            "products/{}/{}/trust",
            hex::encode(vendor.0),
            hex::encode(class_id(vendor, class).0)
        );
        let text = base64::engine::general_purpose::STANDARD.encode(keyset.as_bytes());
        let _: ProductTrust = admin.put(
            &path,
            &SetTrust {
                keyset: Some(text),
                keys: Vec::new(),
            },
        )?;
    }
    Ok(())
}

/// Looks at the user's firmware before anything is made.
fn check(firmware: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = firmware else {
        return Ok(());
    };
    let failed = |error| Failure::io(format_args!("can't read {}", path.display()), &error);
    let file = fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(
            Failure::refused(format_args!("{}: is a directory", path.display()))
                .hint("name a firmware image"),
        );
    }
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).map_err(failed)?;
    if head.is_empty() {
        return Err(
            Failure::refused(format_args!("{}: is empty", path.display()))
                .hint("name a firmware image"),
        );
    }
    let is_plain = matches!(recognise(&head), None | Some(FileKind::Encrypted));
    if head.first() == Some(&airseal_esp::image::IMAGE_MAGIC) || !is_plain {
        let checks = FirmwareChecks {
            chip: ChipChoice::Auto,
            allow_no_descriptor: true,
            ..FirmwareChecks::default()
        };
        Firmware::open(path, &checks)?;
    }
    slot_len(&[path.to_owned()]).map(|_| ())
}

const HEAD: u64 = 4096;

fn images(firmware: Option<&Path>, folder: &Path) -> Result<([PathBuf; 3], ChipChoice), Failure> {
    let folder = folder.join("firmware");
    let failed = |error| Failure::io(format_args!("can't write to {}", folder.display()), &error);
    fs::create_dir_all(&folder).map_err(failed)?;
    let paths = ["1.0.0.bin", "1.0.1.bin", "1.1.0.bin"].map(|name| folder.join(name));
    let Some(firmware) = firmware else {
        for (path, bytes) in paths.iter().zip(BUILT_IN) {
            fs::write(path, bytes).map_err(failed)?;
        }
        return Ok((paths, ChipChoice::Auto));
    };
    let own = fs::read(firmware)
        .map_err(|error| Failure::io(format_args!("can't read {}", firmware.display()), &error))?;
    for path in &paths {
        fs::write(path, &own).map_err(failed)?;
    }
    // An Espressif image is checked as one; anything else is sealed as it is.
    let chip = if own.first() == Some(&airseal_esp::image::IMAGE_MAGIC) {
        ChipChoice::Auto
    } else {
        ChipChoice::None
    };
    Ok((paths, chip))
}

fn chip_id(image: &Path, chip: ChipChoice) -> Result<u16, Failure> {
    let checks = FirmwareChecks {
        chip,
        allow_no_descriptor: true,
        ..FirmwareChecks::default()
    };
    let firmware = Firmware::open(image, &checks)?;
    Ok(firmware
        .chip()
        .map_or(airseal_update::Config::NO_CHIP, airseal_esp::Chip::id))
}

/// Room for the image and the record area, in whole 64 KiB.
fn slot_len(images: &[PathBuf]) -> Result<u32, Failure> {
    let mut longest = 0;
    for image in images {
        let metadata =
            fs::metadata(image).map_err(|error| Failure::io("can't read the firmware", &error))?;
        longest = longest.max(metadata.len());
    }
    let wanted = (longest + u64::from(RECORD_AREA_LEN)).next_multiple_of(64 * 1024);
    u32::try_from(wanted)
        .ok()
        .filter(|len| *len <= LARGEST_SLOT)
        .ok_or_else(|| {
            Failure::refused("the firmware is larger than the demo's devices")
                .hint("give an image below 30 MiB")
        })
}

const LARGEST_SLOT: u32 = 30 << 20;

const BUILT_IN: [&[u8]; 3] = [
    include_bytes!("../../../../firmware/images/esp32c3-wifi-1.0.0.bin"),
    include_bytes!("../../../../firmware/images/esp32c3-wifi-1.0.1.bin"),
    include_bytes!("../../../../firmware/images/esp32c3-wifi-1.1.0.bin"),
];
