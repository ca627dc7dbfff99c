use std::fmt::Write as _;
use std::path::PathBuf;

use airseal_pack::esp::info::{Content, FlashInfo, ImageInfo, Info, Trailing, read};
use airseal_pack::esp::nvs::NvsInfo;
use airseal_pack::esp::partitions::RowInfo;

use super::otadata::records_text;
use super::shared::address;
use crate::failure::Failure;
use crate::ui::Ui;

/// Tell what a file is and whether it is whole: image, partition table, otadata, NVS or a whole flash
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airseal esp info app.bin --json")]
pub(crate) struct Args {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// In a flash dump: where the partition table lies; without it, it is looked for
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    table_offset: Option<u32>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let info = read(&args.file, args.table_offset)?;
    ui.warn_all(&info.warnings);
    ui.result(&info, text)?;
    match &info.damage {
        Some(damage) => Err(Failure::refused(format_args!("{}: {damage}", info.file))
            .hint("build or copy the file again")),
        None => Ok(()),
    }
}

fn text(info: &Info) -> String {
    let mut text = String::new();
    let _ = match &info.content {
        Content::App(image) => writeln!(text, "application for {}", image.chip)
            .and_then(|()| image_text(&mut text, image)),
        Content::Bootloader(image) => writeln!(text, "second-stage bootloader for {}", image.chip)
            .and_then(|()| image_text(&mut text, image)),
        Content::Image(image) => writeln!(text, "image for {}, without a descriptor", image.chip)
            .and_then(|()| image_text(&mut text, image)),
        Content::PartitionTable(table) => {
            let md5 = if table.md5 { ", checksum holds" } else { "" };
            writeln!(text, "partition table ({}{md5})", table.form)
                .and_then(|()| rows_text(&mut text, &table.partitions))
        }
        Content::Otadata(data) => writeln!(text, "otadata").and_then(|()| {
            text.push_str(&records_text(data));
            Ok(())
        }),
        Content::Nvs(nvs) => nvs_text(&mut text, nvs),
        Content::Flash(flash) => writeln!(text, "flash of {} bytes", info.file_len)
            .and_then(|()| flash_text(&mut text, flash)),
    };
    text
}

fn image_text(text: &mut String, image: &ImageInfo) -> std::fmt::Result {
    if let Some(app) = &image.app_desc {
        writeln!(text, "project      {} {}", app.project_name, app.version)?;
        writeln!(
            text,
            "built        {} {}, ESP-IDF {}",
            app.date, app.time, app.idf_ver
        )?;
        writeln!(text, "secure ver.  {}", app.secure_version)?;
        writeln!(text, "ELF SHA-256  {}", app.app_elf_sha256)?;
    }
    if let Some(boot) = &image.bootloader_desc {
        writeln!(
            text,
            "version      {}, ESP-IDF {}",
            boot.version, boot.idf_ver
        )?;
        writeln!(text, "secure ver.  {}", boot.secure_version)?;
    }
    let most = match image.max_rev_full {
        0 | u16::MAX => "any".to_owned(),
        revision => revision_text(revision),
    };
    let least = revision_text(image.min_rev_full);
    writeln!(text, "revisions    {least} to {most}")?;
    writeln!(
        text,
        "flash        {}, {}",
        image.spi_mode_name.unwrap_or("unknown mode"),
        image.flash_size.map_or_else(
            || "unknown size".to_owned(),
            |size| format!("{} MiB", size >> 20)
        )
    )?;
    writeln!(text, "entry        {:#010x}", image.entry)?;
    for (number, segment) in image.segments.iter().enumerate() {
        let what = if segment.load_addr == 0 {
            " padding"
        } else {
            ""
        };
        writeln!(
            text,
            "segment {number:<4} {:#010x} {:8} bytes at {:#x}{what}",
            segment.load_addr, segment.len, segment.data_off
        )?;
    }
    let verdict = |holds| if holds { "holds" } else { "is wrong" };
    writeln!(
        text,
        "checksum     {:#04x} {}",
        image.checksum,
        verdict(image.checksum_ok)
    )?;
    match (&image.sha256, image.sha256_ok) {
        (Some(hash), Some(holds)) => writeln!(text, "SHA-256      {hash} {}", verdict(holds))?,
        _ => writeln!(text, "SHA-256      none: damage may go unnoticed")?,
    }
    for block in &image.signature_blocks {
        let what = match (block.scheme, &block.key_digest, block.image_digest_ok) {
            (Some(scheme), Some(digest), Some(true)) => format!("{scheme}, key digest {digest}"),
            (Some(scheme), ..) => format!("{scheme}, of another image"),
            _ => block.damage.clone().unwrap_or_default(),
        };
        writeln!(text, "signature {}  {what}", block.index)?;
    }
    let behind = match image.trailing {
        Trailing::Nothing => "",
        Trailing::Erased => ", then 0xFF",
        Trailing::Signature => ", then padding and the signature sector",
        Trailing::Data => ", then other data",
    };
    writeln!(text, "length       {} bytes{behind}", image.image_len)
}

fn rows_text(text: &mut String, rows: &[RowInfo]) -> std::fmt::Result {
    for row in rows {
        writeln!(text, "{}", row_text(row))?;
    }
    Ok(())
}

fn row_text(row: &RowInfo) -> String {
    format!(
        "{:16} {:15} {:10} {:#9x} {:#9x} {}",
        row.label, row.type_name, row.subtype_name, row.offset, row.size, row.flag_names
    )
    .trim_end()
    .to_owned()
}

fn nvs_text(text: &mut String, nvs: &NvsInfo) -> std::fmt::Result {
    let encrypted = if nvs.encrypted { ", encrypted" } else { "" };
    writeln!(text, "NVS partition, format {}{encrypted}", nvs.version)?;
    writeln!(
        text,
        "pages        {} of {} in use{}",
        nvs.used_pages,
        nvs.usable_pages,
        if nvs.usable_pages < nvs.pages {
            ", one more in reserve"
        } else {
            ""
        }
    )?;
    if !nvs.encrypted {
        writeln!(text, "items        {}", nvs.items)?;
        writeln!(text, "namespaces   {}", nvs.namespaces.join(", "))?;
    }
    Ok(())
}

fn flash_text(text: &mut String, flash: &FlashInfo) -> std::fmt::Result {
    match (&flash.bootloader, flash.bootloader_offset) {
        (Some(image), Some(offset)) => writeln!(
            text,
            "bootloader   at {offset:#x}, for {}, {} bytes",
            image.chip, image.image_len
        )?,
        _ => writeln!(text, "bootloader   none found")?,
    }
    writeln!(text, "table        at {:#x}", flash.table_offset)?;
    for partition in &flash.partitions {
        let holds = match (&partition.image, partition.holds) {
            (Some(image), "image") => match &image.app_desc {
                Some(app) => format!("{} {}", app.project_name, app.version),
                None => "an image without a descriptor".to_owned(),
            },
            (_, other) => other.to_owned(),
        };
        writeln!(text, "{} {holds}", row_text(&partition.row))?;
    }
    if let Some(data) = &flash.otadata {
        text.push_str(&records_text(data));
    }
    Ok(())
}

fn revision_text(revision: u16) -> String {
    format!("v{}.{}", revision / 100, revision % 100)
}
