use std::path::{Path, PathBuf};

use airseal_esp::nvs::{NvsKey, Version, keys_partition};
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::esp::nvs::{
    Contents, Layout, make_keys, read_hmac_keys, read_keys, to_bin, to_csv,
};
use airseal_pack::output::Access;

use super::shared::flash_size;
use crate::commands::shared::{FileArgs, OutputArgs, Target, count, warn_of_readable};
use crate::failure::Failure;
use crate::ui::Ui;

/// Make NVS partitions (key-value pairs) of CSV, and read them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    ToBin(ToBinArgs),
    ToCsv(ToCsvArgs),
    Keys(KeysArgs),
}

/// Make a partition, as nvs_partition_gen.py does
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.value_name("IN.csv").help(CSV_HELP)),
    mut_arg("output", |arg| arg.help("Write the partition here; - is standard output")),
    after_help = "Example: airseal esp nvs to-bin factory.csv nvs.bin --size 0x6000 --keys nvs-keys.bin"
)]
struct ToBinArgs {
    #[command(flatten)]
    files: FileArgs,

    /// The partition's size, as in the partition table: 0x6000, 24K
    #[arg(long, value_name = "SIZE", value_parser = partition_size)]
    size: u32,

    /// The format: 2 cuts long blobs into chunks, 1 is for firmware that can't read those
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::builder::PossibleValuesParser::new(["1", "2"]))]
    version: String,

    /// Leave out the rows that nvs_partition_gen.py adds to keys of the Wi-Fi driver
    #[arg(long)]
    no_wifi_rows: bool,

    #[command(flatten)]
    keys: KeyArgs,
}

/// Read a partition, as far as a device would find what is in it
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The partition, cut out of a flash; - is standard input")),
    mut_arg("output", |arg| arg.value_name("OUT.csv").help("Write the CSV here; - is standard output")),
    after_help = "Example: airseal esp nvs to-csv nvs.bin found.csv --keys nvs-keys.bin"
)]
struct ToCsvArgs {
    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    keys: KeyArgs,
}

/// Make a keys partition, with new keys or with those that a device derives
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("output", |arg| arg.help(
        "Write the partition here, readable by its owner alone; - is standard output"
    )),
    after_help = "Example: airseal esp nvs keys nvs-keys.bin"
)]
struct KeysArgs {
    #[command(flatten)]
    output: OutputArgs,

    /// Derive them from the key in the device's eFuses (purpose HMAC_UP), 32 bare bytes
    #[arg(long, value_name = "FILE")]
    hmac_key: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct KeyArgs {
    /// The keys partition that it is encrypted with, or its first 64 bytes
    #[arg(long, value_name = "FILE", conflicts_with = "hmac_key")]
    keys: Option<PathBuf>,

    /// The key in the device's eFuses (purpose HMAC_UP) that the keys are derived from, 32 bare bytes
    #[arg(long, value_name = "FILE")]
    hmac_key: Option<PathBuf>,
}

impl KeyArgs {
    fn read(&self, ui: &Ui) -> Result<Option<NvsKey>, Failure> {
        warn_of_readable(self.files(), ui);
        match (&self.keys, &self.hmac_key) {
            (Some(file), _) => Ok(Some(read_keys(file)?)),
            (None, Some(file)) => read_hmac_key(file).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.keys.iter().chain(&self.hmac_key)
    }
}

/// The NVS keys that come of the key in a device's eFuses.
pub(super) fn read_hmac_key(file: &Path) -> Result<NvsKey, Failure> {
    NvsKey::new(&*read_hmac_keys(file)?).map_err(|fault| {
        Failure::refused(format_args!("{}: {fault}", file.display())).hint("burn another key")
    })
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::ToBin(args) => run_to_bin(args, ui),
        Command::ToCsv(args) => run_to_csv(args, ui),
        Command::Keys(args) => run_keys(args, ui),
    }
}

fn run_to_bin(args: &ToBinArgs, ui: &Ui) -> Result<(), Failure> {
    let target = args.files.target(args.keys.files())?;
    let key = args.keys.read(ui)?;
    let version = match args.version.as_str() {
        "1" => Version::One,
        _ => Version::Two,
    };
    let layout = Layout {
        size: args.size,
        version,
        key: key.as_ref(),
        wifi_rows: !args.no_wifi_rows,
    };
    let made = to_bin(&args.files.input, &layout)?;
    ui.warn_all(&made.warnings);
    made.notes.iter().for_each(|note| ui.note(note));
    target.write(&made.bytes, Access::Public)?;
    report(&target, &made.contents, ui)
}

fn run_to_csv(args: &ToCsvArgs, ui: &Ui) -> Result<(), Failure> {
    let target = args.files.target(args.keys.files())?;
    let key = args.keys.read(ui)?;
    let dump = to_csv(&args.files.input, key.as_ref())?;
    ui.warn_all(&dump.warnings);
    // What was encrypted is secret.
    let access = match key {
        Some(_) => Access::Owner,
        None => Access::Public,
    };
    target.write(dump.csv.as_bytes(), access)?;
    report(&target, &dump.contents, ui)
}

fn run_keys(args: &KeysArgs, ui: &Ui) -> Result<(), Failure> {
    let target = args.output.target(&args.hmac_key)?;
    warn_of_readable(&args.hmac_key, ui);
    let (keys, from) = match &args.hmac_key {
        Some(file) => (read_hmac_keys(file)?, "derived"),
        None => (make_keys(&SystemEntropy)?, "new"),
    };
    target.write(&keys_partition(&keys)[..], Access::Owner)?;
    let written = serde_json::json!({ "keys": from });
    target.report(&written, ui, |_| format!("{from} NVS keys"))
}

fn report(target: &Target<'_>, contents: &Contents, ui: &Ui) -> Result<(), Failure> {
    let written = serde_json::json!({ "nvs": contents });
    target.report(&written, ui, |_| {
        format!(
            "{} in {}, {} of {} in use{}",
            count(contents.pairs, "key", "keys"),
            count(contents.namespaces, "namespace", "namespaces"),
            contents.pages,
            count(contents.usable_pages, "page", "pages"),
            if contents.encrypted {
                ", encrypted"
            } else {
                ""
            }
        )
    })
}

const CSV_HELP: &str = "The CSV with the columns key,type,encoding,value; files it names lie beside it; - is standard input";

fn partition_size(text: &str) -> Result<u32, String> {
    let size = u32::try_from(flash_size(text)?);
    size.map_err(|_| "needed is a size below 4 GiB, such as 0x6000 or 24K".to_owned())
}
