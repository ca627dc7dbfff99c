use std::fs;
use std::path::{Path, PathBuf};

use crate::cli;
use crate::commands::shared::ForceArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use airseal_pack::output::{Access, write_file};

/// Write a manual page for every command into a folder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder, made when missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    fs::create_dir_all(&args.directory).map_err(|error| {
        Failure::io(
            format_args!("can't make {}", args.directory.display()),
            &error,
        )
    })?;
    let mut root = cli::shown().disable_help_flag(true);
    root.build();
    let mut pages = 0_usize;
    write_pages(&root, "airseal", args, &mut pages)?;
    ui.result(
        &serde_json::json!({"directory": args.directory, "pages": pages}),
        |_| {
            format!(
                "{pages} pages in {}; try: man -l {}",
                args.directory.display(),
                page_path(&args.directory, "airseal").display()
            )
        },
    )
}

fn write_pages(
    command: &clap::Command,
    name: &str,
    args: &Args,
    pages: &mut usize,
) -> Result<(), Failure> {
    let mut page = Vec::new();
    // clap wants a name that lives as long as the program; there are some eighty of them.
    let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
    clap_mangen::Man::new(command.clone().name(title))
        .title(title)
        .render(&mut page)
        .map_err(|error| Failure::io("can't write a manual page", &error))?;
    // The usual heading for what stands behind the options.
    let page = String::from_utf8_lossy(&page).replace(".SH EXTRA", ".SH NOTES");
    write_file(
        &page_path(&args.directory, name),
        page.as_bytes(),
        args.force.existing(),
        Access::Public,
    )?;
    *pages += 1;
    for sub in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        write_pages(sub, &format!("{name}-{}", sub.get_name()), args, pages)?;
    }
    Ok(())
}

fn page_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.1"))
}
