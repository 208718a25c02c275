//! A session as it is seen from here, over however many links that takes: `run` and `attach`, asking
//! (PROTOCOL 7.1, 7.5).
//!
//! What is sent only queues; [`Remote::next`] waits, and makes the link again where it was lost.

mod output;
mod received;
mod relink;
mod stdin;

use std::io;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tow_net::{Link, LinkEvent};
use tow_proto::message::{
    Attach, Attached, Credit, End, Lease, Request, Run, RunEvent, STDERR, STDIN, STDOUT, Upward,
    View, Window,
};
use tow_proto::{Code, Frame, Kind, json};

pub use self::output::{Attaching, Outage, Output, Patience, request_id};
use self::received::Received;
use self::relink::{Down, Opened, PAUSE_MAX, Way, longer};
use self::stdin::Stdin;
use super::{AskError, Client, Connection, Target, head};

/// A session as it is seen from here.
pub struct Remote {
    /// `None` where a link that is lost is not made again.
    way: Option<Way>,
    view: View,
    writer: String,
    session: String,
    is_terminal: bool,
    /// The channel goes on behind the reply.
    is_viewed: bool,
    link: State,
    stdin: Stdin,
    stdout: Received,
    stderr: Received,
    unsaid: Unsaid,
    window: Option<Window>,
    /// When the link was made, and after which pause; `None` where it is a good one.
    linked: (Instant, Option<Duration>),
    /// What is to be told before anything else.
    told: Option<Output>,
}

enum State {
    Up(Box<Connection>),
    Down(Box<Down>),
    /// The last that is to be told has been; the link only serves to end the channel.
    Over(Option<Box<Connection>>),
}

/// What the node may not have heard.
#[derive(Default)]
struct Unsaid {
    /// Asked for and not confirmed.
    lease: Option<Lease>,
    /// Asked for and not drawn.
    refresh: bool,
    /// Given while there was no link. One that was sent is not sent again: a program may take a
    /// second one for impatience.
    signals: Vec<String>,
    /// The size that the node knows.
    window: Option<Window>,
}

impl Remote {
    /// Starts the program of `run` (whose credit fields are filled in here). Asks again with the same
    /// id where the link is lost before the reply. With `view` false there is nothing to do then but
    /// [`Self::finish`].
    ///
    /// # Errors
    /// No connection, the refusal, or a link that was lost for longer than `patience`.
    pub async fn start(
        client: &Client,
        target: &Target,
        run: Run,
        patience: Patience,
    ) -> Result<Self, AskError> {
        let way = Way { client: client.clone(), target: target.clone(), patience };
        let (remote, request) = Self::starting(Some(way.clone()), run);
        let opened = way.open(request).await?;
        remote.begin(opened)
    }

    /// The same over a link that is there; when it is lost, that is all.
    ///
    /// # Errors
    /// The refusal, or a lost link.
    pub async fn start_on(connection: Connection, run: Run) -> Result<Self, AskError> {
        let (remote, request) = Self::starting(None, run);
        let opened = relink::open_on(connection, &request).await?;
        remote.begin(opened)
    }

    fn starting(way: Option<Way>, mut run: Run) -> (Self, Request) {
        let window = run.terminal;
        let room = if window.is_some() { TERMINAL_WINDOW } else { PIPE_WINDOW };
        (run.stdout_to, run.stderr_to) = (room, room);
        let (mut stdout, mut stderr) =
            (Received::new(STDOUT, Some(0)), Received::new(STDERR, Some(0)));
        stdout.ask(room);
        stderr.ask(room);
        let mut remote = Self::new(way, View::Type, run.id.clone(), [stdout, stderr], window);
        remote.is_viewed = run.view;
        (remote, Request::Run(Box::new(run)))
    }

    fn begin(mut self, opened: Opened) -> Result<Self, AskError> {
        self.session.clone_from(&opened.reply.session);
        self.adopt(opened, None)?;
        if !self.is_viewed {
            self.is_over();
        }
        Ok(self)
    }

    /// Looks at a session that is there.
    ///
    /// # Errors
    /// No connection, the refusal, or a link that was lost for longer than `patience`.
    pub async fn attach(
        client: &Client,
        target: &Target,
        attaching: Attaching,
        patience: Patience,
    ) -> Result<Self, AskError> {
        let way = Way { client: client.clone(), target: target.clone(), patience };
        let (remote, request) = Self::attaching(Some(way.clone()), attaching)?;
        let opened = way.open(request).await?;
        remote.begin(opened)
    }

    /// The same over a link that is there; when it is lost, that is all.
    ///
    /// # Errors
    /// The refusal, or a lost link.
    pub async fn attach_on(connection: Connection, attaching: Attaching) -> Result<Self, AskError> {
        let (remote, request) = Self::attaching(None, attaching)?;
        let opened = relink::open_on(connection, &request).await?;
        remote.begin(opened)
    }

    fn attaching(way: Option<Way>, attaching: Attaching) -> Result<(Self, Request), AskError> {
        let Attaching { session, view, window, stdout_from, stderr_from } = attaching;
        let writer = match view {
            View::Type => request_id().ok_or(AskError::Here(Code::Internal.into()))?,
            _ => String::new(),
        };
        let streams = [Received::new(STDOUT, stdout_from), Received::new(STDERR, stderr_from)];
        let mut remote = Self::new(way, view, writer, streams, window);
        remote.session = session;
        // Whether it is one is only known with the reply.
        remote.is_terminal = matches!(view, View::Type | View::Watch) && window.is_some();
        let request = remote.request();
        Ok((remote, request))
    }

    fn new(
        way: Option<Way>,
        view: View,
        writer: String,
        [stdout, stderr]: [Received; 2],
        window: Option<Window>,
    ) -> Self {
        Self {
            way,
            view,
            writer,
            session: String::new(),
            is_terminal: false,
            is_viewed: true,
            link: State::Over(None),
            stdin: Stdin::new(),
            stdout,
            stderr,
            unsaid: Unsaid { window, ..Unsaid::default() },
            window,
            linked: (Instant::now(), None),
            told: None,
        }
    }

    /// The session's id.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// True where it runs on a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Waits for what comes next, and makes the link again where it was lost. May be cancelled at any
    /// time without losing anything.
    ///
    /// # Errors
    /// The end of it all: a refusal, a link that was lost for too long, output that is not what it
    /// should be. So is asking for more after [`Output::Exit`] or [`Output::CaughtUp`].
    pub async fn next(&mut self) -> Result<Output, AskError> {
        let result = self.step().await;
        if result.is_err() {
            self.link = State::Over(None);
        }
        result
    }

    async fn step(&mut self) -> Result<Output, AskError> {
        loop {
            if let Some(output) = self.told.take() {
                return Ok(output);
            }
            let handled = match &mut self.link {
                State::Up(connection) => match connection.link.next_event().await {
                    Ok(event) => self.handle_event(event),
                    Err(error) => Err(error.into()),
                },
                State::Down(down) => {
                    let opened = down.back().await?;
                    let pause = down.pause();
                    self.adopt(opened, Some(pause))?;
                    return Ok(Output::LinkBack);
                }
                State::Over(_) => return Err(broken("asked for more after the end")),
            };
            match handled {
                Ok(Some(output)) => {
                    if matches!(output, Output::Bytes { .. } | Output::StdinRoom) {
                        // Whoever makes progress may be asked again at once.
                        self.linked.1 = None;
                    }
                    return Ok(output);
                }
                Ok(None) => {}
                Err(error) if error.is_retryable() => return self.handle_lost(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// Bytes of stdin that may be written now, also while there is no link.
    pub fn stdin_room(&self) -> usize {
        self.stdin.room()
    }

    /// Sends stdin, at most [`Self::stdin_room`] bytes.
    pub fn write_stdin(&mut self, bytes: &[u8]) {
        self.stdin.write(bytes);
        self.send_stdin();
    }

    /// No more stdin.
    pub fn end_stdin(&mut self) {
        self.stdin.end();
        self.send_stdin();
    }

    /// So many bytes of a stream were written where they belong: more may come.
    pub fn consumed(&mut self, stream: u8, bytes: u64) {
        let Ok(received) = self.received(stream) else { return };
        if let Some(credit) = received.handle_consumed(bytes)
            && let Some(link) = self.link()
        {
            link.send(Kind::Credit, &json::to_vec(&credit));
        }
    }

    /// Delivers a signal to the program, as soon as there is a link.
    pub fn signal(&mut self, name: &str) {
        let signal = Upward::Signal { name: name.to_owned() };
        if !self.say(&signal) && self.unsaid.signals.len() < SIGNALS_MAX {
            self.unsaid.signals.push(name.to_owned());
        }
    }

    /// Nobody reads this stream here any more.
    pub fn stop(&mut self, stream: u8) {
        if let Ok(received) = self.received(stream) {
            received.stop();
            self.say(&Upward::Stop { stream });
        }
    }

    /// The terminal here has this size now.
    pub fn resize(&mut self, window: Window) {
        self.window = Some(window);
        if self.say(&Upward::Resize(window)) {
            self.unsaid.window = Some(window);
        }
    }

    /// From now on the session outlives its last viewer so long; answered by [`Output::Lease`].
    pub fn set_lease(&mut self, lease: Lease) {
        self.unsaid.lease = Some(lease);
        self.say(&Upward::Lease { lease });
    }

    /// Asks for [`Output::Screen`].
    pub fn refresh(&mut self) {
        self.unsaid.refresh = true;
        self.say(&Upward::Refresh);
    }

    /// Goes away for good and says so, where there is a link.
    pub async fn leave(mut self) {
        self.say(&Upward::Leave);
        if let State::Up(connection) | State::Over(Some(connection)) = self.link {
            connection.close().await;
        }
    }

    /// After [`Output::Exit`] or [`Output::CaughtUp`]: ends the channel and the link in order.
    pub async fn finish(mut self) {
        if let State::Up(connection) | State::Over(Some(connection)) = &mut self.link {
            self.stdin.end();
            self.stdin.send(&mut connection.link);
        }
        if let State::Up(connection) | State::Over(Some(connection)) = self.link {
            connection.close().await;
        }
    }

    /// How long there has been no link; `None` while there is one.
    pub fn outage(&self) -> Option<Outage<'_>> {
        match &self.link {
            State::Down(down) => Some(down.outage()),
            State::Up(_) | State::Over(_) => None,
        }
    }
}

/// What happens.
impl Remote {
    fn handle_event(&mut self, event: LinkEvent) -> Result<Option<Output>, AskError> {
        match event {
            LinkEvent::Frame(frame) => {
                let output = self.handle_frame(frame);
                let credits = [self.stdout.restate(), self.stderr.restate()];
                if let State::Up(connection) = &mut self.link {
                    for credit in credits.into_iter().flatten() {
                        connection.link.send(Kind::Credit, &json::to_vec(&credit));
                    }
                }
                output
            }
            LinkEvent::Room => {
                self.send_stdin();
                Ok(None)
            }
            // No exit, so no end: the node stops, or something in between thought that it was idle.
            LinkEvent::Closed => {
                Err(AskError::Link(io::Error::from(io::ErrorKind::UnexpectedEof).into()))
            }
        }
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<Option<Output>, AskError> {
        match frame.kind {
            Kind::Data => self.stdout.take(frame.payload),
            Kind::DataErr => self.stderr.take(frame.payload),
            Kind::End => {
                let end: End = parse(&frame.payload)?;
                self.received(end.stream)?.handle_end(end)
            }
            Kind::Credit => {
                let credit: Credit = parse(&frame.payload)?;
                if credit.stream != STDIN || !self.stdin.handle_credit(credit.to)? {
                    return Ok(None);
                }
                self.send_stdin();
                Ok(Some(Output::StdinRoom))
            }
            Kind::Head => self.handle_head(head(&frame)?),
            Kind::Ping | Kind::Pong => Ok(None),
            Kind::Pack | Kind::DataZstd => Err(broken("a session has no packs")),
        }
    }

    fn handle_head(&mut self, event: RunEvent) -> Result<Option<Output>, AskError> {
        Ok(Some(match event {
            RunEvent::StdinClosed if self.stdin.handle_closed() => Output::StdinClosed,
            RunEvent::Screen { at, rows, cols, bytes } => {
                if !self.is_terminal {
                    return Err(broken("a screen without a terminal"));
                }
                self.unsaid.refresh = false;
                return self.stdout.handle_screen(at, (rows, cols), bytes);
            }
            RunEvent::Gap { stream, from, to } => {
                return self.received(stream)?.handle_gap(from, to);
            }
            RunEvent::Lease { lease } => {
                self.unsaid.lease.take_if(|asked| *asked == lease);
                Output::Lease(lease)
            }
            RunEvent::Viewers { typing, watching } => Output::Viewers { typing, watching },
            RunEvent::CaughtUp => {
                if !matches!(self.view, View::Log | View::Follow) {
                    return Err(broken("the end of a log that was not asked for"));
                }
                self.is_over();
                Output::CaughtUp
            }
            RunEvent::Exit(record) => {
                // Who only asks how it ends is not told what it wrote.
                if self.view != View::Exit {
                    self.stdout.check_exit(record.stdout)?;
                    self.stderr.check_exit(record.stderr)?;
                }
                self.is_over();
                Output::Exit(record)
            }
            _ => return Ok(None),
        }))
    }

    fn handle_lost(&mut self, why: AskError) -> Result<Output, AskError> {
        let way = self.way.clone();
        let Some(way) = way.filter(|way| way.patience.give_up_after != Some(Duration::ZERO)) else {
            return Err(why);
        };
        let pause = match self.linked {
            // A node that lets us in and hangs up at once is not asked at once again.
            (since, Some(pause)) if since.elapsed() < PAUSE_MAX => longer(pause),
            _ => Duration::ZERO,
        };
        let output = Output::LinkLost { why: why.to_string() };
        let request = self.request();
        self.link = State::Down(Box::new(Down::new(way, request, why, pause)));
        Ok(output)
    }

    /// Nothing comes any more.
    fn is_over(&mut self) {
        self.link = match std::mem::replace(&mut self.link, State::Over(None)) {
            State::Up(connection) => State::Over(Some(connection)),
            other => other,
        };
    }

    /// Goes on over a link on which the session has just been asked for.
    fn adopt(&mut self, opened: Opened, pause: Option<Duration>) -> Result<(), AskError> {
        let Opened { connection, reply } = opened;
        let Attached { session, terminal, stdout_from, stderr_from, stdin } = reply;
        if session != self.session {
            return Err(broken("another session than was asked for"));
        }
        let was_closed = self.stdin.is_closed();
        self.is_terminal = terminal;
        self.stdout.resume(stdout_from, terminal)?;
        self.stderr.resume(stderr_from, false)?;
        self.stdin.resume(stdin)?;
        if self.stdin.is_closed() && !was_closed && self.view == View::Type {
            self.told = Some(Output::StdinClosed);
        }
        self.link = State::Up(Box::new(connection));
        self.linked = (Instant::now(), pause);
        self.say_again();
        self.send_stdin();
        Ok(())
    }

    /// What the link before may not have carried, or was said without one.
    fn say_again(&mut self) {
        for (stream, wants_stop) in
            [(STDOUT, self.stdout.wants_stop()), (STDERR, self.stderr.wants_stop())]
        {
            if wants_stop {
                self.say(&Upward::Stop { stream });
            }
        }
        if let Some(lease) = self.unsaid.lease {
            self.say(&Upward::Lease { lease });
        }
        if let Some(window) = self.window
            && self.unsaid.window != self.window
        {
            self.resize(window);
        }
        if self.unsaid.refresh {
            self.say(&Upward::Refresh);
        }
        for name in std::mem::take(&mut self.unsaid.signals) {
            self.say(&Upward::Signal { name });
        }
    }

    /// What to ask for on the next link: to go on where this one stopped.
    fn request(&mut self) -> Request {
        let room = if self.is_terminal { TERMINAL_WINDOW } else { PIPE_WINDOW };
        self.unsaid.window = self.window;
        Request::Attach(Box::new(Attach {
            session: self.session.clone(),
            view: self.view,
            writer: self.writer.clone(),
            window: self.window,
            stdout_from: self.stdout.ask(room),
            stderr_from: self.stderr.ask(room),
            room,
        }))
    }
}

/// What is said.
impl Remote {
    fn link(&mut self) -> Option<&mut Link> {
        match &mut self.link {
            State::Up(connection) => Some(&mut connection.link),
            State::Down(_) | State::Over(_) => None,
        }
    }

    /// Says it where there is a link, and says whether.
    fn say(&mut self, event: &Upward) -> bool {
        self.link().map(|link| link.send_head(event)).is_some()
    }

    fn send_stdin(&mut self) {
        if let State::Up(connection) = &mut self.link {
            self.stdin.send(&mut connection.link);
        }
    }

    fn received(&mut self, stream: u8) -> Result<&mut Received, AskError> {
        match stream {
            STDOUT => Ok(&mut self.stdout),
            STDERR => Ok(&mut self.stderr),
            _ => Err(broken("no such stream")),
        }
    }
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, AskError> {
    json::from_slice(payload).map_err(|_| broken("a frame that can't be read"))
}

fn broken(what: &'static str) -> AskError {
    AskError::Protocol { what }
}

/// Output that may be on its way or waiting to be written here, for each stream, in bytes. At
/// 100 ms of round trip it allows 40 MB/s.
const PIPE_WINDOW: u64 = 4 << 20;
/// The same for a terminal, where a person waits for what comes after it: all of it may still be
/// written here after Ctrl-C, which takes a slow terminal emulator some tens of milliseconds.
const TERMINAL_WINDOW: u64 = 256 << 10;
/// Signals that wait for a link.
const SIGNALS_MAX: usize = 8;
