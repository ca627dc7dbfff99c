use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_esp::otadata::{
    BootSlot, Layout, OTADATA_LEN, OtaData, OtaState, Rollback, SecureVersions,
};
use airseal_pack::esp::flash_key;
use airseal_pack::esp::otadata::{OtaInfo, describe, parse, select, to_partition};
use airseal_pack::output::Access;
use airseal_pack::source::Source;

use super::shared::{CryptConfigArgs, RollbackArgs, RollbackChoice, address, chip};
use crate::commands::shared::{FileArgs, warn_of_readable};
use crate::failure::Failure;
use crate::ui::Ui;

/// Show and change which slot starts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(ShowArgs),
    Select(SelectArgs),
}

/// Say which slot the bootloader starts, and what it writes before
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airseal esp otadata show otadata.bin --slots 2 --rollback on")]
struct ShowArgs {
    /// The otadata partition, 0x2000 bytes; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    layout: LayoutArgs,

    #[command(flatten)]
    rollback: RollbackArgs,

    /// With anti-rollback: the secure version of the application in each slot, ota_0 first
    #[arg(long, value_name = "N,N..", value_delimiter = ',')]
    slot_versions: Vec<u32>,

    /// Decrypt it first: the flash encryption key, as bare bytes
    #[arg(long, value_name = "FILE", requires_all = ["chip", "address"])]
    key: Option<PathBuf>,

    /// The chip the key belongs to
    #[arg(long, value_name = "CHIP", value_parser = chip(), requires = "key")]
    chip: Option<Chip>,

    /// Where the partition lies in flash, on which its encryption depends
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "key")]
    address: Option<u32>,

    #[command(flatten)]
    crypt_config: CryptConfigArgs,
}

/// Make the partition in which another slot is chosen
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The partition as it is now, 0x2000 bytes; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the new one here; - is standard output")),
    after_help = "Example: airseal esp otadata select --slots 2 --running ota_0 --slot ota_1 otadata.bin new.bin"
)]
struct SelectArgs {
    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    layout: LayoutArgs,

    /// What runs now: its record is kept
    #[arg(long, value_name = "SLOT", value_parser = slot)]
    running: BootSlot,

    /// What is to start next
    #[arg(long, value_name = "SLOT", value_parser = slot)]
    slot: BootSlot,

    /// What is known of it: new for a bootloader with rollback, undefined for one without
    #[arg(long, value_enum, default_value = "undefined")]
    state: StateChoice,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct LayoutArgs {
    /// Number of OTA slots in the partition table
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=16))]
    slots: u8,

    /// The table has a factory application
    #[arg(long)]
    factory: bool,
}

impl From<LayoutArgs> for Layout {
    fn from(args: LayoutArgs) -> Layout {
        Layout {
            slots: args.slots,
            factory: args.factory,
        }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StateChoice {
    New,
    Valid,
    Undefined,
}

impl From<StateChoice> for OtaState {
    fn from(choice: StateChoice) -> OtaState {
        match choice {
            StateChoice::New => OtaState::New,
            StateChoice::Valid => OtaState::Valid,
            StateChoice::Undefined => OtaState::Undefined,
        }
    }
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Show(args) => show(args, ui),
        Command::Select(args) => choose(args, ui),
    }
}

/// The records for people.
pub(crate) fn records_text(info: &OtaInfo) -> String {
    let mut text = String::new();
    for (number, entry) in info.entries.iter().enumerate() {
        let _ = match entry.seq {
            None => writeln!(text, "record {number}     erased"),
            Some(seq) => writeln!(
                text,
                "record {number}     seq {seq}, {}, CRC {}{}{}",
                entry.state,
                if entry.crc_ok { "holds" } else { "is wrong" },
                entry
                    .slot
                    .as_ref()
                    .map(|slot| format!(", {slot}"))
                    .unwrap_or_default(),
                if info.active == Some(number) {
                    ", followed"
                } else {
                    ""
                },
            ),
        };
    }
    if let Some(boots) = &info.boots {
        let _ = writeln!(text, "boots        {boots}");
        let others = info.tries.get(1..).unwrap_or_default();
        if !others.is_empty() {
            let _ = writeln!(text, "else         {}", others.join(", "));
        }
    }
    for (number, entry) in info.entries_after.iter().flatten().enumerate() {
        if info.entries.get(number) != Some(entry) {
            let seq = entry
                .seq
                .map_or_else(|| "none".to_owned(), |seq| seq.to_string());
            let _ = writeln!(
                text,
                "at boot      record {number} becomes seq {seq}, {}",
                entry.state
            );
        }
    }
    if let Some(version) = info.raises_secure_version {
        let _ = writeln!(text, "at boot      secure version {version} is burned");
    }
    text
}

fn show(args: &ShowArgs, ui: &Ui) -> Result<(), Failure> {
    let mut bytes = read_bytes(&args.file)?;
    if let (Some(key), Some(chip), Some(address)) = (&args.key, args.chip, args.address) {
        warn_of_readable([key], ui);
        let key = flash_key::read(key, chip, args.crypt_config.flash_crypt_conf)?;
        key.decrypt(address, &mut bytes).map_err(|fault| {
            Failure::refused(format_args!("{}: {fault}", args.file.display()))
                .hint("give the offset of the partition, and the whole partition of 0x2000 bytes")
        })?;
    }
    let data = parse(&args.file.display().to_string(), &bytes)?;
    let versions: Vec<Option<u32>> = args.slot_versions.iter().copied().map(Some).collect();
    if args.rollback.rollback == RollbackChoice::Anti
        && versions.len() != usize::from(args.layout.slots)
    {
        return Err(
            Failure::usage("anti-rollback depends on the secure version of every slot")
                .hint("give --slot-versions, one number for each slot"),
        );
    }
    let rollback = match args.rollback.rollback {
        RollbackChoice::None => Rollback::Off,
        RollbackChoice::On => Rollback::On,
        RollbackChoice::Anti => Rollback::Anti(SecureVersions {
            efuse: args.rollback.efuse_version,
            slots: &versions,
        }),
    };
    let info = describe(&data, Some(args.layout.into()), rollback);
    ui.result(&info, records_text)
}

fn choose(args: &SelectArgs, ui: &Ui) -> Result<(), Failure> {
    let target = args.files.target([])?;
    let data = read(&args.files.input)?;
    let layout = args.layout.into();
    let name = args.files.input.display().to_string();
    let after = select(
        &name,
        &data,
        layout,
        args.running,
        args.slot,
        args.state.into(),
    )?;
    target.write(&to_partition(&after), Access::Public)?;
    let info = describe(&after, Some(layout), Rollback::Off);
    target.report(&info, ui, |info| format!("otadata\n{}", records_text(info)))
}

fn read(path: &Path) -> Result<OtaData, Failure> {
    Ok(parse(&path.display().to_string(), &read_bytes(path)?)?)
}

/// The whole partition, or one byte more of a longer file.
fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let source = Source::open(path)?;
    let len = usize::try_from(source.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len.min(OTADATA_LEN + 1)];
    source.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// `factory`, `ota_1` or just `1`.
fn slot(text: &str) -> Result<BootSlot, String> {
    let text = text.to_ascii_lowercase();
    if text == "factory" {
        return Ok(BootSlot::Factory);
    }
    text.strip_prefix("ota_")
        .unwrap_or(&text)
        .parse()
        .map(BootSlot::Ota)
        .map_err(|_| "a slot is factory, or ota_0 to ota_15".to_owned())
}
