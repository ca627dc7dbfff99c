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

/// The text in a terminal's frame. Lines past the frame are cut with an ellipsis.
fn picture(text: &str) -> String {
    let mut lines: Vec<String> = vec!["$ cargo run --release -- demo".to_owned()];
    lines.extend(text.lines().map(|line| fitted(line.trim_end())));
    let width = MARGIN * 2 + u32::try_from(COLUMNS).unwrap_or(u32::MAX) * CHARACTER_TENTHS / 10;
    let count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    let height = TOP + count * LINE + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Output of airseal demo\">\n\
         <style>text{{font:{FONT}px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d8dee9;white-space:pre}}\
         .prompt{{fill:#88c0d0;font-weight:bold}}.head{{fill:#ebcb8b;font-weight:bold}}.good{{fill:#a3be8c}}.bad{{fill:#bf616a}}.quiet{{fill:#8f9bb0}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#1f2430\"/>\n\
         <circle cx=\"20\" cy=\"18\" r=\"5\" fill=\"#bf616a\"/><circle cx=\"38\" cy=\"18\" r=\"5\" fill=\"#ebcb8b\"/>\
         <circle cx=\"56\" cy=\"18\" r=\"5\" fill=\"#a3be8c\"/>\n"
    );
    let mut y = TOP;
    for (number, line) in lines.iter().enumerate() {
        y += LINE;
        if line.is_empty() {
            continue;
        }
        let class = if number == 0 { "prompt" } else { class(line) };
        svg.push_str(&format!(
            "<text x=\"{MARGIN}\" y=\"{y}\" class=\"{class}\">{}</text>\n",
            escaped(line)
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

fn class(line: &str) -> &'static str {
    let words = line.to_lowercase();
    let has = |list: &[&str]| list.iter().any(|word| words.contains(word));
    if has(&["unexpected", "not as expected", "error:"]) {
        "bad"
    } else if !line.starts_with(' ') {
        "head"
    } else if has(&[
        "as expected",
        "confirmed",
        "installed",
        "refused",
        "resumed",
    ]) {
        "good"
    } else {
        "quiet"
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

fn escaped(line: &str) -> String {
    line.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const COLUMNS: usize = 118;
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
        let svg = picture("1. Seal <1.0.0> & publish\n\n  esp-3  refused: \"downgrade\"\n");
        assert!(svg.contains("&lt;1.0.0&gt; &amp; publish"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_long_line_is_cut_inside_the_frame() {
        let line = "x".repeat(300);
        assert_eq!(fitted(&line).chars().count(), COLUMNS);
    }
}
