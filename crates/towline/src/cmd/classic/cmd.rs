//! `tow classic cmd`: the REPL client of a command server.

use std::io::{self, BufRead, IsTerminal as _, Read as _, StdoutLock, Write as _};

use encoding_rs::{Encoding, UTF_8};
use tow_net::Address;
use tow_proto::byte_string::escape;
use tow_proto::classic::{COMMAND_LEN_MAX, checked_len, send_data};

use super::client::{Connection, connect, read_some};
use crate::encoding::{self, Decoder};
use crate::failure::Failure;

/// Arguments of `tow classic cmd`.
#[derive(Debug, clap::Args)]
pub(super) struct CmdArgs {
    /// The server: HOST:PORT, [IPV6]:PORT or unix:/PATH
    address: Address,
    /// The encoding of the answers, such as gbk; utf-8 is passed on byte by byte
    #[arg(long, value_name = "NAME", default_value = "utf-8", value_parser = encoding::parse)]
    encoding: &'static Encoding,
}

pub(super) fn run(args: &CmdArgs) -> Result<(), Failure> {
    let connection = connect(&args.address)?;
    let mut screen = Screen::new(args.encoding);
    let mut input = io::stdin().lock();
    let is_asked = io::stdin().is_terminal() && io::stderr().is_terminal();
    loop {
        if is_asked {
            write!(io::stderr(), "> ")?;
        }
        let Some(line) = read_line(&mut input)? else {
            break;
        };
        match line.trim_ascii() {
            b"" => {}
            b"q" => return Ok(()),
            command => ask(&connection, command, &mut screen)?,
        }
    }
    if is_asked {
        writeln!(io::stderr())?;
    }
    Ok(())
}

/// The next line, `None` at the end of the input. The last one may lack its line break.
fn read_line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    let room = COMMAND_LEN_MAX + 1;
    input.take(room).read_until(b'\n', &mut line).map_err(Failure::other)?;
    if line.len() as u64 == room && !line.ends_with(b"\n") {
        return Err(Failure::other(format!("a command has at most {COMMAND_LEN_MAX} bytes")));
    }
    Ok(if line.is_empty() { None } else { Some(line) })
}

/// One command, and its answer as it comes.
fn ask(mut connection: &Connection, command: &[u8], screen: &mut Screen) -> Result<(), Failure> {
    send_data(&mut connection, command).map_err(lost)?;
    let mut prefix = [0; 8];
    connection.read_exact(&mut prefix).map_err(lost)?;
    let len = checked_len(prefix, ANSWER_LEN_MAX).map_err(Failure::other)?;
    let mut buffer = vec![0; READ_LEN];
    let mut answer = screen.begin();
    let mut left = len;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(READ_LEN).min(READ_LEN);
        match read_some(connection, &mut buffer[..room]).map_err(lost)? {
            0 => {
                let got = len - left;
                let what = format!("the answer ended after {got} of {len} bytes");
                return Err(Failure::other(what));
            }
            read => {
                answer.show(&buffer[..read])?;
                left -= read as u64;
            }
        }
    }
    answer.end()
}

fn lost(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            Failure::other("the server closed the connection")
        }
        _ => Failure::other(format!("the connection was lost: {error}")),
    }
}

/// Stdout, and how answers get there.
struct Screen {
    encoding: &'static Encoding,
    is_terminal: bool,
}

/// One answer on its way to the screen.
struct Answer {
    out: StdoutLock<'static>,
    /// `None` passes bytes on as they are.
    decoder: Option<Decoder>,
    is_terminal: bool,
    ends_line: bool,
}

impl Screen {
    fn new(encoding: &'static Encoding) -> Self {
        Self { encoding, is_terminal: io::stdout().is_terminal() }
    }

    fn begin(&mut self) -> Answer {
        let decodes = self.encoding != UTF_8 || self.is_terminal;
        Answer {
            out: io::stdout().lock(),
            decoder: decodes.then(|| Decoder::new(self.encoding)),
            is_terminal: self.is_terminal,
            ends_line: true,
        }
    }
}

impl Answer {
    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.decoder {
            None => self.out.write_all(bytes),
            Some(decoder) => {
                let text = decoder.decode(bytes);
                self.show_text(&text)
            }
        }
    }

    fn show_text(&mut self, text: &str) -> io::Result<()> {
        if let Some(last) = text.chars().next_back() {
            self.ends_line = last == '\n';
        }
        if !self.is_terminal {
            return self.out.write_all(text.as_bytes());
        }
        for piece in text.split_inclusive(LAYOUT) {
            let body = piece.trim_end_matches(LAYOUT);
            write!(self.out, "{}{}", escape(body.as_bytes()), &piece[body.len()..])?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Failure> {
        if let Some(mut decoder) = self.decoder.take() {
            let rest = decoder.finish();
            self.show_text(&rest)?;
        }
        if self.is_terminal && !self.ends_line {
            self.out.write_all(b"\n")?;
        }
        self.out.flush()?;
        Ok(())
    }
}

/// Control characters that a terminal gets from an answer; all others are shown as escapes.
const LAYOUT: [char; 3] = ['\n', '\r', '\t'];

/// Longest answer that is taken, in bytes. Nothing is kept of it, so memory sets no limit.
const ANSWER_LEN_MAX: u64 = 1 << 40;

const READ_LEN: usize = 64 << 10;
