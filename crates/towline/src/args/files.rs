//! Arguments of the commands on single files of a machine.

use std::ffi::OsString;

use clap::Parser;

#[derive(Debug, Parser)]
pub(crate) struct StatArgs {
    /// HOST:PATH
    #[arg(required = true, value_name = "HOST:PATH")]
    pub(crate) paths: Vec<OsString>,
    /// What a symbolic link leads to, not the link
    #[arg(short = 'L')]
    pub(crate) follow: bool,
    /// Print JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct CatArgs {
    /// HOST:PATH
    #[arg(required = true, value_name = "HOST:PATH")]
    pub(crate) paths: Vec<OsString>,
}

#[derive(Debug, Parser)]
pub(crate) struct MkdirArgs {
    /// HOST:PATH
    #[arg(required = true, value_name = "HOST:PATH")]
    pub(crate) paths: Vec<OsString>,
    /// Make the directories above it too; no error where it is there already
    #[arg(short)]
    pub(crate) parents: bool,
    /// Print JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct MvArgs {
    /// HOST:SRC…, then HOST:DEST on the same machine; into DEST where that is a directory
    #[arg(required = true, num_args = 2.., value_name = "HOST:SRC… HOST:DEST")]
    pub(crate) paths: Vec<OsString>,
    /// Replace what is there [default: that is an error]
    #[arg(short)]
    pub(crate) force: bool,
    /// Leave alone what is there, and say nothing
    #[arg(short, conflicts_with = "force")]
    pub(crate) no_clobber: bool,
    /// Print JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct RmArgs {
    /// HOST:PATH
    #[arg(required = true, value_name = "HOST:PATH")]
    pub(crate) paths: Vec<OsString>,
    /// Directories too, with everything in them; links are removed, not followed
    #[arg(short, visible_short_alias = 'R')]
    pub(crate) recursive: bool,
    /// No error where nothing is
    #[arg(short)]
    pub(crate) force: bool,
    /// Print JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}
