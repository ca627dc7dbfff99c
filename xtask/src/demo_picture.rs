//! `cargo xtask demo-picture`: what the demo prints, as a picture for the README.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::workshop::{Failure, Workshop, read};

/// Where the text comes from and where the picture goes.
#[derive(Args)]
pub(crate) struct Options {
    /// The demo's output in a file; without it the demo is run
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The picture
    #[arg(short, long, value_name = "FILE", default_value = "docs/demo.svg")]
    output: PathBuf,
}

/// Writes the picture.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> Result<bool, Failure> {
    let text = match &options.from {
        Some(file) => fs::read_to_string(file)?,
        None => {
            read(&mut workshop.cargo(["run", "--quiet", "--locked", "--release", "--", "demo"]))?
        }
    };
    let output = workshop.root.join(&options.output);
    fs::write(&output, picture(&text))?;
    println!("{}", options.output.display());
    Ok(true)
}

/// The chapters in the middle of the story and its last line, in a terminal's frame.
fn picture(text: &str) -> String {
    let mut lines = vec!["$ cargo run --release -- demo".to_owned(), "…".to_owned()];
    for block in text
        .split("\n\n")
        .filter(|block| SHOWN.iter().any(|chapter| block.starts_with(chapter)))
    {
        lines.push(String::new());
        lines.extend(
            block
                .lines()
                .filter(|line| !line.starts_with(DETAIL))
                .map(fitted),
        );
    }
    lines.extend([
        String::new(),
        "…".to_owned(),
        fitted(text.lines().next_back().unwrap_or_default()),
    ]);
    let width = MARGIN * 2 + u32::try_from(COLUMNS).unwrap_or(u32::MAX) * CHARACTER_TENTHS / 10;
    let height = TOP + u32::try_from(lines.len()).unwrap_or(u32::MAX) * LINE + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Output of airseal demo\">\n\
         <style>text{{font:{FONT}px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d8dee9;white-space:pre}}\
         .head{{fill:#ebcb8b;font-weight:bold}}.seen{{fill:#a3be8c}}.quiet{{fill:#8f9bb0}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#1f2430\"/>\n\
         <circle cx=\"20\" cy=\"18\" r=\"5\" fill=\"#bf616a\"/><circle cx=\"38\" cy=\"18\" r=\"5\" fill=\"#ebcb8b\"/>\
         <circle cx=\"56\" cy=\"18\" r=\"5\" fill=\"#a3be8c\"/>\n"
    );
    let mut y = TOP;
    for line in &lines {
        y += LINE;
        if !line.is_empty() {
            svg.push_str(&format!(
                "<text x=\"{MARGIN}\" y=\"{y}\"{}</text>\n",
                coloured(line)
            ));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Rest of a text element: a heading, or who did what and, in another colour, what was seen.
fn coloured(line: &str) -> String {
    if !line.starts_with(' ') {
        let class = if line == "…" { "quiet" } else { "head" };
        return format!(" class=\"{class}\">{}", escaped(line));
    }
    match line.split_once(": ") {
        Some((event, seen)) => {
            format!(
                " class=\"quiet\">{}:\u{a0}<tspan class=\"seen\">{}</tspan>",
                escaped(event),
                escaped(seen)
            )
        }
        None => format!(">{}", escaped(line)),
    }
}

fn fitted(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(COLUMNS - 1).collect();
    cut.push('…');
    cut
}

/// Spaces become non-breaking ones: not every viewer keeps the others.
fn escaped(line: &str) -> String {
    line.replace(' ', "\u{a0}")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Chapters that are shown.
const SHOWN: [&str; 4] = ["3. ", "4. ", "5. ", "6. "];
/// How lines that only add a detail begin.
const DETAIL: &str = "            ";
const COLUMNS: usize = 96;
const FONT: u32 = 13;
/// Advance of a character at that size, in tenths of a pixel.
const CHARACTER_TENTHS: u32 = 79;
const LINE: u32 = 18;
const MARGIN: u32 = 18;
const TOP: u32 = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_well_formed_whatever_the_demo_prints() {
        let svg = picture(
            "1. Keys\n  vendor  x: y\n\n3. Seal <1.0.0> & publish\n  hall  a \"downgrade\": refused\n            a detail\n\nAll 3.\n",
        );
        assert!(svg.contains("&lt;1.0.0&gt;\u{a0}&amp;\u{a0}publish"));
        assert!(svg.contains("<tspan class=\"seen\">refused</tspan>"));
        assert!(!svg.contains("vendor") && !svg.contains("detail"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(svg.ends_with("All\u{a0}3.</text>\n</svg>\n"));
    }

    #[test]
    fn a_long_line_is_cut_inside_the_frame() {
        let line = "x".repeat(300);
        assert_eq!(fitted(&line).chars().count(), COLUMNS);
    }
}
