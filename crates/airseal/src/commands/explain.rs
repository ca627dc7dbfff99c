use airseal_format::Reason;
use airseal_protocol::ProblemCode;

use crate::failure::Failure;
use crate::ui::Ui;

/// Say what the number of a refusal means and what to do
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The number, or its word; without it, all of them are listed
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Entry {
    code: u16,
    word: String,
    meaning: &'static str,
    raised_by: &'static str,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let entries = entries();
    let Some(code) = &args.code else {
        return ui.result(&entries, |entries| {
            entries.iter().map(|entry| format!("{:>5}  {}: {}\n", entry.code, entry.word, entry.meaning)).collect()
        });
    };
    let number = code.parse::<u16>().ok();
    let found = entries.iter().find(|entry| number == Some(entry.code) || entry.word == *code);
    let Some(entry) = found else {
        return Err(Failure::usage(format_args!("no refusal has the number or word {code}"))
            .hint("airseal explain, without a number, lists them all"));
    };
    ui.result(entry, |entry| {
        format!("{} {}\n{}\nsaid by: {}", entry.code, entry.word, entry.meaning, entry.raised_by)
    })
}

fn entries() -> Vec<Entry> {
    let format = Reason::ALL.iter().map(|reason| Entry {
        code: reason.code(),
        word: reason.word().to_owned(),
        meaning: reason.message(),
        raised_by: "whoever reads the sealed file: device, server, command line",
    });
    let protocol = ProblemCode::ALL.iter().map(|problem| Entry {
        code: problem.number(),
        word: kebab(&format!("{problem:?}")),
        meaning: problem.title(),
        raised_by: "the server, to a device",
    });
    format.chain(protocol).collect()
}

fn kebab(name: &str) -> String {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}
