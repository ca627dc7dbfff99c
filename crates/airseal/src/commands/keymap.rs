use std::path::PathBuf;

use airseal_factory::keymap::{KeyMap, keymap};

use crate::failure::Failure;
use crate::ui::Ui;

/// Say where each key of a batch of devices lives, and what falls if it leaks; needs no key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The batch's folder
    #[arg(long, value_name = "DIR")]
    batch: PathBuf,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    ui.result(&keymap(&args.batch)?, text)
}

fn text(map: &KeyMap) -> String {
    let mut text = format!(
        "batch {} ({}): {} finished, {} begun, {} scrapped, {} not begun; {} boxes\n",
        map.batch,
        map.chip,
        map.boards.finished,
        map.boards.begun,
        map.boards.scrapped,
        map.boards.free,
        map.boxes
    );
    for key in &map.keys {
        text.push_str(&format!("\n{}, one for {}\n", key.key, key.one_for));
        let rows = [
            ("on device", &key.device),
            ("elsewhere", &key.elsewhere),
            ("if it leaks", &key.leak),
        ];
        for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
            text.push_str(&format!("  {name:12} {value}\n"));
        }
    }
    for door in &map.open_doors {
        text.push_str(&format!("\nOPEN: {door}\n"));
    }
    text
}
