use airseal_format::{Part, Reason};
use airseal_protocol::ProblemCode;
use airseal_update::port::{Fault, Operation};
use airseal_update::{Refusal, Seen};

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
    remedy: Option<&'static str>,
    said_by: &'static str,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let entries = entries();
    let Some(code) = &args.code else {
        return ui.result(&entries, |entries| {
            entries
                .iter()
                .map(|entry| format!("{:>5}  {}: {}\n", entry.code, entry.word, entry.meaning))
                .collect()
        });
    };
    let number = code.parse::<u16>().ok();
    let found = entries
        .iter()
        .find(|entry| number == Some(entry.code) || entry.word == *code);
    let Some(entry) = found else {
        return Err(
            Failure::usage(format_args!("no refusal has the number or word {code}"))
                .hint("airseal explain, without a number, lists them all"),
        );
    };
    ui.result(entry, |entry| {
        let remedy = entry
            .remedy
            .map(|remedy| format!("what to do   {remedy}\n"))
            .unwrap_or_default();
        format!(
            "{} {}\nmeaning      {}\n{remedy}said by      {}",
            entry.code, entry.word, entry.meaning, entry.said_by
        )
    })
}

fn entries() -> Vec<Entry> {
    let format = Reason::ALL.iter().map(|reason| Entry {
        code: reason.code(),
        word: reason.word().to_owned(),
        meaning: reason.message(),
        remedy: match Refusal::Format(airseal_format::Error::new(Part::Bundle, "", 0, *reason))
            .remedy()
        {
            "" => None,
            remedy => Some(remedy),
        },
        said_by: "whoever reads the sealed file: device, server, command line",
    });
    let flash = [Operation::Read, Operation::Write, Operation::Erase].map(|operation| {
        Refusal::Flash(Fault {
            operation,
            offset: 0,
        })
    });
    let with_data = [Refusal::NotARelease(Seen([0; 8])), Refusal::HttpStatus(0)];
    let device = Refusal::PLAIN
        .iter()
        .chain(&flash)
        .chain(&with_data)
        .map(|refusal| Entry {
            code: refusal.code(),
            word: refusal.word().to_owned(),
            meaning: refusal.message(),
            remedy: Some(refusal.remedy()),
            said_by: "the device",
        });
    let protocol = ProblemCode::ALL.iter().map(|problem| Entry {
        code: problem.number(),
        word: kebab(&format!("{problem:?}")),
        meaning: problem.title(),
        remedy: None,
        said_by: "the server, to a device",
    });
    let mut entries: Vec<Entry> = format.chain(device).chain(protocol).collect();
    entries.sort_by_key(|entry| entry.code);
    entries
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
