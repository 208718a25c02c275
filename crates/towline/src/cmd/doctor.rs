//! `tow doctor`: what is wrong with a set-up, and how to mend it.

use std::fs;
use std::process::ExitCode;

use serde::Serialize;
use tow_node::ask::admin;
use tow_node::hosts::Hosts;
use tow_node::identity::Identity;
use tow_node::keys::Keys;
use tow_node::state::StateDir;
use tow_proto::message::Status;

use crate::args::DoctorArgs;
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::{home, output};

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    Warning,
    Wrong,
}

/// Looks at everything; fails where something is wrong.
pub(crate) fn run(args: DoctorArgs) -> Result<ExitCode, Failure> {
    let mut findings = Vec::new();
    let mut status = None;
    match StateDir::open(home::layout()?) {
        Ok(state) => {
            findings.push(Finding::good("state directory", state.layout().state.display()));
            look_at_files(&state, &mut findings);
            match ask_node() {
                Ok(found) => {
                    findings.push(links(&found));
                    status = Some(found);
                }
                Err(failure) => {
                    findings.push(Finding::warning("node", failure, "start it with: tow serve"));
                }
            }
        }
        Err(error) => {
            let cure = error.cure();
            findings.push(Finding::wrong("state directory", error).cured(cure));
        }
    }
    look_at_kernel(&mut findings);
    for finding in &findings {
        if args.json {
            output::json(finding)?;
        } else {
            finding.show()?;
        }
    }
    if let Some(status) = status {
        show_node(&status, args.json)?;
    }
    let is_wrong = findings.iter().any(|finding| finding.state == State::Wrong);
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn look_at_files(state: &StateDir, findings: &mut Vec<Finding>) {
    for (what, path) in [("node key", state.node_key_path()), ("user key", state.user_key_path())] {
        findings.push(match Identity::load(&path) {
            Ok(identity) => Finding::good(what, identity.public().id()),
            Err(_) if !path.exists() => Finding::good(what, "not made yet; it is on first use"),
            Err(error) => {
                let cure = error.cure();
                Finding::wrong(what, error).cured(cure)
            }
        });
    }
    findings.push(match Hosts::load(&state.hosts_path()) {
        Ok(hosts) => Finding::good("known machines", hosts.iter().count()),
        Err(error) => Finding::wrong("known machines", error),
    });
    match Keys::load(&state.keys_dir()) {
        Ok(keys) => {
            findings.push(Finding::good("keys that may come in", keys.list().count()));
            for broken in keys.broken() {
                let detail = format!("{}: {}", broken.path.display(), broken.reason);
                findings.push(
                    Finding::wrong("key file", detail)
                        .mended("mend the file, or remove it and invite the device again"),
                );
            }
        }
        Err(error) => findings.push(Finding::wrong("keys that may come in", error)),
    }
}

fn look_at_kernel(findings: &mut Vec<Finding>) {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    if let Some(cookies) = number("/proc/sys/net/ipv4/tcp_syncookies") {
        findings.push(match cookies {
            0 => Finding::warning(
                "SYN cookies",
                "off: a flood of half-open connections keeps everybody out",
                "sysctl -w net.ipv4.tcp_syncookies=1",
            ),
            _ => Finding::good("SYN cookies", "on"),
        });
    }
    if let Some(max) = number("/proc/sys/net/core/somaxconn") {
        findings.push(if max < BACKLOG_WANTED {
            Finding::warning(
                "backlog",
                format!("the kernel keeps at most {max} connections waiting"),
                "sysctl -w net.core.somaxconn=4096",
            )
        } else {
            Finding::good("backlog", format!("the kernel keeps up to {max} connections waiting"))
        });
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    findings.push(match limit {
        Some(limit) if limit < BACKLOG_WANTED => Finding::warning(
            "open files",
            format!("at most {limit} for each process"),
            "raise it: ulimit -Hn 16384, or LimitNOFILE= in the service",
        ),
        Some(limit) => Finding::good("open files", format!("at most {limit} for each process")),
        None => Finding::good("open files", "no limit"),
    });
}

fn ask_node() -> Result<Status, String> {
    let ask = || {
        let here = Here::open()?;
        let host = here.host(".")?;
        client::block_on(async {
            let mut connection = here.connect(&host).await?;
            let status = admin::status(&mut connection).await;
            connection.close().await;
            status.map_err(|error| client::failure(&host, error))
        })
    };
    ask().map_err(|failure: Failure| failure.to_string())
}

fn links(status: &Status) -> Finding {
    let links = status.links;
    if links.half_open * 2 > links.half_open_max {
        let detail =
            format!("{} of {} half-open connections", links.half_open, links.half_open_max);
        return Finding::warning(
            "connections",
            detail,
            "somebody may be flooding this machine; known devices still get in",
        );
    }
    Finding::good("connections", format!("{} open, {} half-open", links.open, links.half_open))
}

fn show_node(status: &Status, json: bool) -> Result<(), Failure> {
    if json {
        #[derive(Serialize)]
        struct Node<'a> {
            what: &'static str,
            status: &'a Status,
        }
        return Ok(output::json(&Node { what: "node", status })?);
    }
    let links = status.links;
    output::line(format_args!(
        "\nnode {} ({}), up {} s\n  key          {}\n  listening    {}\n  sessions     {}\n  connections  {} open, {} half-open of at most {}, {} accepted\n  dropped      {} because the budget was full, {} too late, {} not understood\n  backlog      {}",
        status.machine.escape_debug(),
        status.agent.escape_debug(),
        status.uptime_secs,
        status.id,
        status.listen.join(" "),
        status.sessions,
        links.open,
        links.half_open,
        links.half_open_max,
        links.accepted,
        links.dropped_full,
        links.dropped_late,
        links.dropped_bad,
        status.backlog,
    ))?;
    Ok(())
}

impl Finding {
    fn good(what: &'static str, detail: impl ToString) -> Self {
        Self { what, state: State::Good, detail: detail.to_string(), mend: None }
    }

    fn warning(what: &'static str, detail: impl ToString, mend: &str) -> Self {
        Self { state: State::Warning, ..Self::good(what, detail) }.mended(mend)
    }

    fn wrong(what: &'static str, detail: impl ToString) -> Self {
        Self { state: State::Wrong, ..Self::good(what, detail) }
    }

    fn cured(self, mend: Option<String>) -> Self {
        Self { mend, ..self }
    }

    fn mended(self, mend: &str) -> Self {
        Self { mend: Some(mend.to_owned()), ..self }
    }

    fn show(&self) -> std::io::Result<()> {
        let mark = match self.state {
            State::Good => "good   ",
            State::Warning => "warning",
            State::Wrong => "WRONG  ",
        };
        output::line(format_args!("{mark}  {:<22} {}", self.what, self.detail))?;
        match &self.mend {
            Some(mend) => output::line(format_args!("         {:<22} -> {mend}", "")),
            None => Ok(()),
        }
    }
}

const BACKLOG_WANTED: u64 = 4096;
