use std::fmt::Write as _;
use std::path::PathBuf;

use airseal_esp::Chip;
use airseal_pack::esp::efuse_audit::{Audit, EfuseState, Policy, audit};

use super::shared::chip;
use crate::failure::Failure;
use crate::ui::Ui;

/// A chip's eFuses
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Audit(AuditArgs),
}

/// Measure a chip against a policy, before anything is burned or shipped
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal esp efuse audit --chip esp32c3 --policy release --state summary.json"
)]
struct AuditArgs {
    /// The chip
    #[arg(long, value_name = "CHIP", value_parser = chip())]
    chip: Chip,

    /// release, development, or a JSON file with name, base, except and rules
    #[arg(long, value_name = "POLICY")]
    policy: String,

    /// What `espefuse summary --format json` printed; - is standard input
    #[arg(long, value_name = "SUMMARY.json")]
    state: PathBuf,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let Command::Audit(args) = &args.command;
    let state = EfuseState::read(&args.state)?;
    let result = audit(args.chip, &state, &Policy::open(&args.policy)?)?;
    ui.result(&result, text)?;
    if result.ok {
        return Ok(());
    }
    let fields: Vec<String> = result
        .rules
        .iter()
        .filter_map(|rule| Some(format!("{} ({})", rule.field, rule.repair?)))
        .collect();
    Err(Failure::refused(format_args!(
        "{}: not as policy {} wants it: {}",
        args.state.display(),
        result.policy,
        fields.join(", ")
    ))
    .hint("in brackets: whether it can be repaired now, later or never"))
}

fn text(audit: &Audit) -> String {
    let mut text = format!("{}, policy {}\n", audit.chip, audit.policy);
    for rule in &audit.rules {
        let mark = if rule.ok { "ok " } else { "BAD" };
        let _ = write!(text, "{mark} {:28} {}", rule.field, rule.found);
        let _ = match rule.repair {
            None => writeln!(text),
            Some(repair) => writeln!(text, "; wanted {}; {repair}: {}", rule.want, rule.message),
        };
    }
    text
}
