//! The configuration of a batch: one TOML file, whole or refused.
//!
//! Reading is strict: a key that is not known is an error, and so is a word that no setting takes. What the settings mean
//! together (a partition that is not in the table, a key block the chip does not have) is looked at in [`crate::product`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use serde::Deserialize;

/// The only schema there is.
pub const SCHEMA: u32 = 1;

/// Longest configuration that is read, bytes.
pub(crate) const MAX_CONFIG: u64 = 1 << 20;

/// Everything that decides what a batch is. Paths are relative to the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Names files and labels.
    pub product: String,
    /// Becomes the vendor id.
    pub vendor: String,
    /// Becomes the class id.
    pub class: String,
    /// The hardware revision of these boards.
    pub hw_rev: u16,
    /// An ESP-IDF build to take chip, files and offsets from.
    pub idf: Option<Idf>,
    /// The chip.
    pub chip: ChipConfig,
    /// What is flashed, and where.
    pub flash: Flash,
    /// How the flash is encrypted.
    pub flash_encryption: FlashEncryptionConfig,
    /// Who may sign what boots.
    pub secure_boot: SecureBootConfig,
    /// Where the device's own identity lives.
    pub device_key: DeviceKey,
    /// What else is burned.
    #[serde(default)]
    pub efuse: Efuse,
    /// NVS partitions that are built here, by the name after `nvs:`.
    #[serde(default)]
    pub nvs: BTreeMap<String, Nvs>,
    /// How many boards, and what they are called.
    pub batch: Batch,
    /// What the factory image is.
    pub release: Release,
    /// Who can open the boxes, and what becomes of the keys.
    pub keys: Keys,
    /// What is printed.
    pub label: Option<Label>,
}

/// An ESP-IDF build folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idf {
    /// The folder with `flasher_args.json`; `sdkconfig` lies there or above.
    pub build: PathBuf,
}

/// The chip of these boards.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipConfig {
    /// `esp32c3` and so on; from `idf` if left out.
    pub family: Option<String>,
    /// Oldest chip revision taken, major * 100 + minor.
    #[serde(default)]
    pub min_revision: u16,
    /// `4MB` and so on.
    pub flash_size: Option<String>,
}

/// What is flashed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flash {
    /// The second-stage bootloader.
    pub bootloader: Option<PathBuf>,
    /// The partition table, CSV or binary.
    pub partition_table: Option<PathBuf>,
    /// Where the table lies, bytes.
    pub partition_table_offset: Option<u32>,
    /// Whether the table ends with its checksum.
    #[serde(default = "yes")]
    pub partition_table_md5: bool,
    /// What comes first on the bench.
    #[serde(default)]
    pub order: Order,
    /// Whether a whole-flash file is made for each device.
    #[serde(default)]
    pub merged: bool,
    /// Content by the name of the row: a file, `blank`, `ota_N`, `generate`, `nvs:NAME`, `state`.
    #[serde(default)]
    pub partitions: BTreeMap<String, String>,
}

/// What comes first on the bench.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Flash, verify, burn: a board with bad flash costs no chip.
    #[default]
    FlashFirst,
    /// Burn, then flash with `--force`.
    BurnFirst,
}

/// How the flash is encrypted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlashEncryptionConfig {
    /// For good, for the bench, or not.
    pub mode: EncryptionMode,
    /// A key of its own for each device, or a file (development only).
    #[serde(default)]
    pub key: FlashKeyConfig,
    /// 128 or 256, on chips that have both.
    #[serde(default = "xts_128")]
    pub bits: u16,
    /// `auto` or the name of a block.
    #[serde(default = "auto")]
    pub block: String,
}

/// Whether flash encryption is switched on, and whether it can be switched off again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncryptionMode {
    /// For good.
    Release,
    /// The chip can go back a few times.
    Development,
    /// Plain flash.
    Off,
}

/// Whose flash key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FlashKeyConfig {
    /// Made here, one for each device.
    #[default]
    PerDevice,
    /// The same for all.
    File(PathBuf),
}

/// Who may sign what boots.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecureBootConfig {
    /// Kind of signature.
    pub scheme: BootScheme,
    /// Keys that sign now, or `already-signed` alone.
    #[serde(default)]
    pub sign: Vec<String>,
    /// Public keys whose digests are burned, in this order.
    #[serde(default)]
    pub digests: Vec<PathBuf>,
    /// Whether digest slots without a key are closed.
    #[serde(default = "yes")]
    pub revoke_unused: bool,
    /// Whether one bad signature revokes its key.
    #[serde(default)]
    pub aggressive_revoke: bool,
}

/// Kind of secure boot signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootScheme {
    /// RSA-3072.
    V2Rsa,
    /// ECDSA P-256.
    V2Ecdsa256,
    /// ECDSA P-384.
    V2Ecdsa384,
    /// The original ESP32's first scheme.
    V1,
    /// None.
    Off,
}

/// Where the device's own identity lives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceKey {
    /// The place of the 32-byte seed.
    pub source: SeedSource,
    /// `auto` or the name of a block.
    #[serde(default = "auto")]
    pub block: String,
    /// Whether the key for the vendor's pre-encrypted images is derived and recorded.
    #[serde(default)]
    pub vendor_image: bool,
}

/// The place of the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedSource {
    /// A read-protected block with purpose `HMAC_UP`.
    EfuseHmac,
    /// The field `{seed}` of one encrypted NVS partition.
    Nvs,
    /// The device has none.
    None,
}

/// What else is burned.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Efuse {
    /// The serial loader at the end.
    #[serde(default)]
    pub download: Download,
    /// The debug port.
    #[serde(default)]
    pub jtag: Jtag,
    /// Anti-rollback counter.
    #[serde(default)]
    pub secure_version: u8,
    /// Names and values that nothing above sets.
    #[serde(default)]
    pub custom: BTreeMap<String, u64>,
}

/// What the serial loader still does on a finished board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Download {
    /// Secure Download Mode: it writes, and reads nothing.
    #[default]
    Secure,
    /// Nothing.
    Off,
    /// Everything.
    Open,
}

impl Download {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Download::Secure => "secure",
            Download::Off => "off",
            Download::Open => "open",
        }
    }
}

/// What the debug port still does on a finished board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jtag {
    /// Nothing.
    #[default]
    Off,
    /// It can be switched on again by the key for it.
    Soft,
    /// Everything.
    Open,
}

/// An NVS partition built for each device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nvs {
    /// Columns key,type,encoding,value with placeholders.
    pub fields: PathBuf,
    /// One row for each device, joined by the column `serial`.
    pub values: Option<PathBuf>,
    /// How the partition is encrypted.
    pub encrypt: NvsEncryption,
}

/// How an NVS partition is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NvsEncryption {
    /// Under keys derived from the HMAC block.
    Hmac,
    /// Under the keys of the `nvs_keys` partition.
    Keys,
    /// Not at all.
    None,
}

/// How many boards, and what they are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The batch's name.
    pub id: String,
    /// Boards wanted.
    pub count: u32,
    /// Sets for boards that die on the line.
    #[serde(default)]
    pub spare: u32,
    /// Pattern with `{batch}` and `{n:05}`.
    pub serial: Option<String>,
    /// A list, where labels are printed already.
    pub serials: Option<PathBuf>,
    /// Tags of the device records.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What the factory image is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// For people.
    pub version: String,
    /// Release sequence.
    pub seq: u64,
    /// Security version.
    #[serde(default)]
    pub security_version: u32,
    /// The keyset that devices start with.
    pub keyset: Option<PathBuf>,
}

/// Who can open the boxes, and what becomes of the keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Public keys, or `plain-for-tests` alone.
    pub at_rest: Vec<String>,
    /// What happens to a board's box once the board is verified.
    pub after: AfterVerification,
    /// Who gets them then.
    #[serde(default)]
    pub escrow_to: Vec<PathBuf>,
}

/// What happens to a board's box once the board is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterVerification {
    /// Nobody keeps the keys.
    Destroy,
    /// The box is sealed anew to `escrow_to`.
    Escrow,
}

/// What is printed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Lines with placeholders.
    pub text: Vec<String>,
    /// Content of the QR code, with placeholders.
    pub qr: Option<String>,
    /// Which files are made.
    pub files: Vec<LabelFile>,
}

/// A kind of label file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelFile {
    /// One table for a label printer.
    Csv,
    /// One picture for each device.
    Svg,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// `Io`; refused with line and key as [`Config::parse`].
    pub fn read(path: &Path) -> Result<Config, Error> {
        Config::read_text(path).map(|(config, _)| config)
    }

    /// Reads a configuration file, and gives its text with it: whatever is made is made of one reading.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn read_text(path: &Path) -> Result<(Config, String), Error> {
        let name = path.display().to_string();
        let text = airseal_pack::bundle::read_small(path, MAX_CONFIG, "a configuration")?;
        let text = String::from_utf8(text).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::refused(&name, format!("is no text: byte {at}"), "save it as UTF-8")
        })?;
        Ok((Config::parse(&name, &text)?, text))
    }

    /// Every setting that names a file, by the setting's name; keys that sign or encrypt are not among them.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let flash = &self.flash;
        let single = [
            ("flash.bootloader", &flash.bootloader),
            ("flash.partition_table", &flash.partition_table),
            ("batch.serials", &self.batch.serials),
            ("release.keyset", &self.release.keyset),
        ];
        let mut files: Vec<(String, PathBuf)> = single
            .into_iter()
            .filter_map(|(name, path)| Some((name.to_owned(), path.clone()?)))
            .collect();
        for (row, content) in flash.partitions.iter().filter(|(_, text)| is_path(text)) {
            files.push((format!("flash.partitions.{row}"), content.into()));
        }
        for (name, nvs) in &self.nvs {
            files.push((format!("nvs.{name}.fields"), nvs.fields.clone()));
            let values = nvs.values.clone();
            files.extend(values.map(|path| (format!("nvs.{name}.values"), path)));
        }
        let at_rest = self.keys.at_rest.iter().map(PathBuf::from).enumerate();
        for (index, path) in at_rest.filter(|(_, path)| path.as_os_str() != PLAIN_FOR_TESTS) {
            files.push((format!("keys.at_rest.{index}"), path));
        }
        let lists = [
            ("keys.escrow_to", &self.keys.escrow_to),
            ("secure_boot.digests", &self.secure_boot.digests),
        ];
        for (name, paths) in lists {
            let named = paths.iter().cloned().enumerate();
            files.extend(named.map(|(index, path)| (format!("{name}.{index}"), path)));
        }
        files
    }

    /// Reads the text of one; `name` is for messages.
    ///
    /// # Errors
    /// Refused for a key that is not known, missing or of the wrong kind, with its line; and for another schema.
    pub fn parse(name: &str, text: &str) -> Result<Config, Error> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            Error::refused(
                name,
                format!("line {line}: {}", error.message()),
                "the keys are listed in docs/FACTORY.md",
            )
        })?;
        if config.schema != SCHEMA {
            return Err(Error::refused(
                name,
                format!("schema is {}, this version knows {SCHEMA}", config.schema),
                "take the version of airseal the file was written for",
            ));
        }
        Ok(config)
    }
}

/// The word of `keys.at_rest` that is no file.
const PLAIN_FOR_TESTS: &str = "plain-for-tests";

/// Whether the content of a row is a file: everything that is no word.
fn is_path(content: &str) -> bool {
    let slot = content
        .strip_prefix("ota_")
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    !slot && !content.starts_with("nvs:") && !["blank", "generate", "state"].contains(&content)
}

fn yes() -> bool {
    true
}

fn auto() -> String {
    "auto".to_owned()
}

fn xts_128() -> u16 {
    128
}
