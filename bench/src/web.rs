//! The browser's door: one large file each way and long listings over HTTPS, beside nginx and dufs.
//! All take turns in each round; a ratio is the median of the ratios of the rounds.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::file::make;
use crate::node::Node;
use crate::peers::{Nginx, is_installed};
use crate::stats::median;
use crate::table::{Table, verdict};
use crate::wait;

pub(crate) fn measure(tow: &Path, dir: &Path, rounds: usize, mib: u64) -> Result<()> {
    let files = dir.join("files");
    fs::create_dir_all(files.join("many"))?;
    let _hash = make(&files.join("file"), mib << 20)?;
    for index in 0..ENTRIES {
        File::create(files.join(format!("many/entry-{index:04}.txt")))?;
    }
    let node = Node::start(tow, &dir.join("tow"), None)?;
    let nginx = Nginx::start(&dir.join("nginx"), &files)?;
    let dufs = Dufs::start(dir, &files)?;
    let ours = Server {
        name: "tow",
        base: format!("https://{}/api/v1/files{}", node.address(), files.display()),
        list: "/many",
        bearer: Some(node.token()?),
    };
    let mut servers = vec![ours];
    if let Some(nginx) = &nginx {
        let base = format!("https://{}", nginx.address());
        servers.push(Server { name: "nginx", base, list: "", bearer: None });
    }
    if let Some(dufs) = &dufs {
        let base = format!("https://{}", dufs.address);
        servers.push(Server { name: "dufs", base, list: "/many?json", bearer: None });
    }
    let mut all = Samples::default();
    // The first round warms up.
    for round in 0..=rounds {
        for server in &servers {
            let count = round > 0;
            all.add(count, "download", server, server.download(dir)?);
            if server.name != "nginx" {
                all.add(count, "upload", server, server.upload(&files, round)?);
                if let Some(rate) = server.list(dir)? {
                    all.add(count, "list", server, rate);
                }
            }
        }
    }
    report(&all, mib, rounds);
    Ok(())
}

fn report(all: &Samples, mib: u64, rounds: usize) {
    println!("web: {mib} MiB and {ENTRIES} entries over HTTPS, {rounds} rounds, medians\n");
    let mut table = Table::new(&["", "tow", "nginx", "dufs"]);
    for (case, unit) in [("download", "s"), ("upload", "s"), ("list", "1/s")] {
        let cell = |server| match all.of(case, server) {
            values if values.is_empty() => "-".to_owned(),
            values => format!("{:.2}", median(values)),
        };
        table.row([format!("{case}, {unit}"), cell("tow"), cell("nginx"), cell("dufs")]);
    }
    println!("{table}");
    for (case, peer, aim) in [("download", "nginx", 1.0), ("upload", "dufs", 3.0)] {
        if let Some(ratio) = all.ratio(case, peer, "tow") {
            let what = format!("web: {case} {ratio:.2} times as fast as {peer}, aim {aim}");
            verdict(ratio >= aim, what);
        }
    }
    if let Some(ratio) = all.ratio("list", "tow", "dufs") {
        let what = format!("web: {ratio:.2} times as many listings a second as dufs, aim 1");
        verdict(ratio >= 1.0, what);
    }
}

/// Who serves.
struct Server {
    name: &'static str,
    base: String,
    list: &'static str,
    bearer: Option<String>,
}

impl Server {
    fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--insecure", "--http1.1"]);
        curl.args(["--tls13-ciphers", "TLS_AES_128_GCM_SHA256"]);
        if let Some(bearer) = &self.bearer {
            curl.args(["--header", &format!("Authorization: Bearer {bearer}")]);
        }
        curl
    }

    /// Seconds.
    fn download(&self, dir: &Path) -> Result<f64> {
        let mut curl = self.curl();
        curl.arg("--output").arg(dir.join("downloaded")).arg(format!("{}/file", self.base));
        timed(curl, self.name)
    }

    /// Seconds, to a name of its own.
    fn upload(&self, files: &Path, round: usize) -> Result<f64> {
        let name = format!("upload-{}-{round}", self.name);
        let mut curl = self.curl();
        curl.arg("--upload-file").arg(files.join("file"));
        curl.args(["--output", "/dev/null"]).arg(format!("{}/{name}", self.base));
        let seconds = timed(curl, self.name)?;
        let whole = fs::metadata(files.join("file"))?.len();
        let got = fs::metadata(files.join(&name))?.len();
        ensure!(got == whole, "{}: {got} bytes of {whole}", self.name);
        fs::remove_file(files.join(&name))?;
        Ok(seconds)
    }

    /// Requests a second by eight connections.
    fn list(&self, dir: &Path) -> Result<Option<f64>> {
        if !is_installed("wrk") {
            println!("wrk is missing, listings are skipped: apt-get install wrk");
            return Ok(None);
        }
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", "8", "--duration", "3s"]).current_dir(dir);
        if let Some(bearer) = &self.bearer {
            wrk.args(["--header", &format!("Authorization: Bearer {bearer}")]);
        }
        let output = wrk.arg(format!("{}{}", self.base, self.list)).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(!text.contains("Non-2xx"), "{}: {text}", self.name);
        let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        Ok(Some(rate.with_context(|| text.clone())?.trim().parse()?))
    }
}

fn timed(mut command: Command, name: &str) -> Result<f64> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(seconds)
}

#[derive(Default)]
struct Samples(Vec<(&'static str, &'static str, f64)>);

impl Samples {
    fn add(&mut self, counts: bool, case: &'static str, server: &Server, value: f64) {
        if counts {
            self.0.push((case, server.name, value));
        }
    }

    fn of(&self, case: &str, server: &str) -> Vec<f64> {
        let of = self.0.iter().filter(|sample| sample.0 == case && sample.1 == server);
        of.map(|sample| sample.2).collect()
    }

    /// The median of one's value divided by the other's, round by round.
    fn ratio(&self, case: &str, one: &str, other: &str) -> Option<f64> {
        let (ones, others) = (self.of(case, one), self.of(case, other));
        let ratios: Vec<f64> = ones.iter().zip(&others).map(|(one, other)| one / other).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }
}

/// A file server for browsers; dropping it ends it.
struct Dufs {
    address: SocketAddr,
    child: Child,
}

impl Dufs {
    /// Serves `files`, with the certificate that was made for nginx.
    fn start(dir: &Path, files: &Path) -> Result<Option<Self>> {
        let certificate = dir.join("nginx/certificate");
        if !is_installed("dufs") || !certificate.exists() {
            println!("dufs is missing and skipped: make dufs");
            return Ok(None);
        }
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new("dufs")
            .arg(files)
            .args(["--allow-all", "--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .arg("--tls-cert")
            .arg(certificate)
            .arg("--tls-key")
            .arg(dir.join("nginx/key"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("dufs")?;
        let server = Self { address, child };
        wait::until(|| TcpStream::connect(address).is_ok()).context("dufs does not answer")?;
        Ok(Some(server))
    }
}

impl Drop for Dufs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ENTRIES: usize = 2_000;
