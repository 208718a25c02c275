//! The web's peer: nginx with TLS 1.3, on loopback, for one directory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::is_installed;
use crate::wait;

/// A running server; dropping it ends it.
pub(crate) struct Nginx {
    address: SocketAddr,
    child: Child,
}

impl Nginx {
    /// Serves `files` from `dir`, which is made; says so where there is no nginx or no curl.
    pub(crate) fn start(dir: &Path, files: &Path) -> Result<Option<Self>> {
        for program in ["nginx", "curl", "openssl"] {
            if !is_installed(program) {
                println!("{program} is missing, nginx is skipped: apt-get install {program}");
                return Ok(None);
            }
        }
        fs::create_dir(dir)?;
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-subj", "/CN=127.0.0.1", "-keyout", "key", "-out", "certificate"])
            .current_dir(dir)
            .output()?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        // It takes no port 0: one that is free now.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        fs::write(dir.join("config"), config(dir, files, address))?;
        let child = Command::new("/usr/sbin/nginx")
            .arg("-e")
            .arg(dir.join("log"))
            .arg("-c")
            .arg(dir.join("config"))
            .stdin(Stdio::null())
            .spawn()
            .context("nginx")?;
        let server = Self { address, child };
        wait::until(|| TcpStream::connect(address).is_ok())
            .with_context(|| format!("nginx does not answer; see {}/log", dir.display()))?;
        Ok(Some(server))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process without a master, so that its processor time is in one place.
fn config(dir: &Path, files: &Path, address: SocketAddr) -> String {
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid {dir}/pid;\nevents {{}}\nhttp {{\n{temporary}\
         access_log off;\nsendfile on;\ndefault_type application/octet-stream;\n\
         server {{\nlisten {address} ssl;\nroot {files};\nssl_protocols TLSv1.3;\n\
         ssl_certificate {dir}/certificate;\nssl_certificate_key {dir}/key;\n}}\n}}\n",
        files = files.display(),
    )
}
