//! The arguments of `airseal simulate device`.

use std::path::PathBuf;

use airseal_sim::agent::Cuts;
use airseal_sim::random::Noise;

use crate::commands::shared::ForceArgs;
use crate::dates;

/// One device: flash, two slots, a boot loader, keys of its own; it lives in a folder
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The first run makes the device and needs --vendor, --class and --trust or --keyset. STATE/device.pub is the key to seal to. Without --server and --from it only boots. Exit code 0: it runs the newest release it can have."
)]
pub(super) struct DeviceArgs {
    /// The folder the device lives in
    #[arg(long, value_name = "DIR")]
    pub(super) state: PathBuf,

    /// Ask this server for an update: https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,

    /// The certificate the device trusts the server by, PEM
    #[arg(long, value_name = "FILE", default_value = "airseal-data/ca.pem")]
    pub(super) ca: PathBuf,

    /// Enrol first, with the claim token in this file (or in AIRSEAL_CLAIM)
    #[arg(long, value_name = "FILE")]
    pub(super) claim_file: Option<PathBuf>,

    /// Take a sealed file without any server (- is standard input), or DIR/CAPABILITY or https://HOST/CAPABILITY/ of `export static`
    #[arg(long, value_name = "FROM", conflicts_with = "server")]
    pub(super) from: Option<PathBuf>,

    /// The way it takes: https with --server, static with --from [default: the one that fits]
    #[arg(long, value_name = "https|static|noise", value_parser = ["https", "static", "noise"], hide_possible_values = true)]
    pub(super) transport: Option<String>,

    /// Let power fail after every N chunks until the update is done, or at random
    #[arg(long, value_name = "N|random", allow_negative_numbers = true, value_parser = cuts)]
    pub(super) cut_power_at: Option<Cuts>,

    /// Faults of the network or cable: a file with one per line, or cut@63%, stall@1000:5s, short@0, ...
    #[arg(long, value_name = "FILE")]
    pub(super) faults: Option<String>,

    /// The new image fails its self-test
    #[arg(long)]
    pub(super) fail_self_test: bool,

    /// The device holds this group key too, in this run (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(super) group_key: Vec<PathBuf>,

    /// The device's clock, to test the expiry date of releases [default: dates do not matter]
    #[arg(long, value_name = "TIME", value_parser = dates::parse)]
    pub(super) clock: Option<u64>,

    /// Also write what happened to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    #[command(flatten)]
    pub(super) force: ForceArgs,

    /// Vendor of a new device
    #[arg(long, value_name = "NAME", help_heading = "A new device")]
    pub(super) vendor: Option<String>,

    /// Class of a new device
    #[arg(long, value_name = "NAME", help_heading = "A new device")]
    pub(super) class: Option<String>,

    /// Keyset built into its firmware
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "trust",
        help_heading = "A new device"
    )]
    pub(super) keyset: Option<PathBuf>,

    /// Or: the key whose releases it takes
    #[arg(long, value_name = "PUB", help_heading = "A new device")]
    pub(super) trust: Option<PathBuf>,

    /// Board revision [default: 1]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "A new device"
    )]
    pub(super) hw_rev: Option<u16>,

    /// Chip [default: esp32c3]
    #[arg(long, value_name = "CHIP", help_heading = "A new device")]
    pub(super) chip: Option<String>,

    /// Size of each of its two slots, KiB [default: 4096]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(16..=65536), help_heading = "A new device")]
    pub(super) slot_kib: Option<u32>,

    /// Its slots are the first two OTA slots of this partition table, CSV or binary
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "slot_kib",
        help_heading = "A new device"
    )]
    pub(super) partitions: Option<PathBuf>,

    /// Its flash is encrypted under the key in this file, for releases made with seal --raw-flash-key; only the key's check value is kept
    #[arg(long, value_name = "FILE", help_heading = "A new device")]
    pub(super) flash_key: Option<PathBuf>,

    /// Its keys come from the 32-byte seed in this file, as `esp line run --simulate BOARD` keeps it in BOARD/seed [default: a new seed]
    #[arg(long, value_name = "FILE", help_heading = "A new device")]
    pub(super) seed: Option<PathBuf>,

    /// Security version of the image it is born with [default: 0]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "A new device"
    )]
    pub(super) security_version: Option<u32>,

    /// It takes releases that are not encrypted
    #[arg(long, help_heading = "A new device")]
    pub(super) allow_plain: bool,
}

fn cuts(text: &str) -> Result<Cuts, String> {
    match text.parse::<u64>() {
        Ok(chunks) if chunks >= FEWEST_CHUNKS => Ok(Cuts::Every(chunks * OPERATIONS_PER_CHUNK)),
        _ if text == "random" => Ok(Cuts::Random(
            RANDOM_CHUNKS * OPERATIONS_PER_CHUNK,
            Noise::new(0x5EED),
        )),
        _ => Err(format!(
            "write a number of chunks from {FEWEST_CHUNKS}, or random"
        )),
    }
}

/// With less between two cuts the download gets nowhere.
const FEWEST_CHUNKS: u64 = 4;
const RANDOM_CHUNKS: u64 = 60;
/// A 4 KiB chunk is erased, written and entered in the journal.
const OPERATIONS_PER_CHUNK: u64 = 3;
