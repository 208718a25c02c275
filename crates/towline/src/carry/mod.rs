//! A session and this process: its output to ours, our input to it, until it ends or we go. What
//! happens is waited for in one place and decided in another.

mod end;
mod input;
mod outputs;
mod signals;
mod status;

use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use encoding_rs::Encoding;
use tow_node::ask::AskError;
use tow_node::ask::session::{Output, Remote};
use tow_proto::message::{Lease, STDERR, STDOUT, Window};

use self::end::End;
use self::input::Input;
use self::outputs::Outputs;
use self::signals::{HANGUP, Signals, Told};
use self::status::{Place, Status};
use crate::client::Host;
use crate::encoding;
use crate::escape::{Discipline, Typed};
use crate::failure::Failure;
use crate::output::Quiet;
use crate::stdio::{Through, Written};
use crate::terminal::{self, Raw};

pub(crate) use self::end::{Carried, Outcome};

/// What a session is carried for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It was started here: what happens to this process is what happens to the program.
    Owner,
    /// It was there before, and goes on when its output is of no use here.
    Guest,
    /// To see what it does.
    Watcher,
    /// For one stream of its log, or for none: only for its end.
    Reader(Option<u8>),
}

impl Role {
    fn shows(self, stream: u8) -> bool {
        match self {
            Self::Owner | Self::Guest | Self::Watcher => true,
            Self::Reader(shown) => shown == Some(stream),
        }
    }

    fn types(self) -> bool {
        matches!(self, Self::Owner | Self::Guest)
    }

    /// The stream that was asked for, and so goes to our stdout.
    fn result(self) -> u8 {
        match self {
            Self::Reader(Some(stream)) => stream,
            _ => STDOUT,
        }
    }
}

/// How a session is carried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Where it is.
    pub(crate) host: &'a Host,
    /// What for.
    pub(crate) role: Role,
    /// What its text is in; UTF-8 and bytes are passed on as they are.
    pub(crate) encoding: Option<&'static Encoding>,
    /// How long it outlives us, where that is known.
    pub(crate) lease: Option<Lease>,
    /// Whether to say what becomes of the link.
    pub(crate) quiet: Quiet,
}

/// Carries a session until it ends or is left.
///
/// # Errors
/// The session was lost, or its output can't be written here.
pub(crate) async fn carry(remote: Box<Remote>, plan: Plan<'_>) -> Result<Outcome, Failure> {
    let mut carry = Carry::new(remote, plan)?;
    let end = loop {
        let event = carry.next_event().await;
        if let ControlFlow::Break(end) = carry.apply(event) {
            break end;
        }
        carry.send_input();
    };
    carry.finish(end).await
}

struct Carry<'a> {
    plan: Plan<'a>,
    remote: Box<Remote>,
    outputs: Outputs,
    input: Input,
    /// `None` where they mean to this process what they mean to any.
    signals: Option<Signals>,
    raw: Option<Raw>,
    status: Status,
    window: Window,
    viewers: Option<(u32, u32)>,
    lease: Option<Lease>,
    /// Until when the answer to a wish to detach is waited for.
    detaching: Option<Instant>,
    interrupts: u32,
    screens: u32,
}

/// What happened.
enum Event {
    Output(Result<Output, AskError>),
    Input(Option<Vec<u8>>),
    Written(Written),
    Signal(Told),
    Due,
}

impl<'a> Carry<'a> {
    fn new(remote: Box<Remote>, plan: Plan<'a>) -> Result<Self, Failure> {
        let is_reader = matches!(plan.role, Role::Reader(_));
        // Before raw mode: from here on no signal ends this process behind our back.
        let signals = if is_reader { None } else { Some(Signals::new()?) };
        let is_typed_at = terminal::is_typed_at() && !is_reader;
        let is_raw = is_typed_at && remote.is_terminal();
        let raw = if is_raw { Some(Raw::enter()?) } else { None };
        let through = if is_raw { Through::Terminal } else { Through::Threads };
        let discipline = if is_raw { Discipline::Raw } else { Discipline::Lines };
        let encoding = encoding::foreign(plan.encoding);
        let input = if is_typed_at || plan.role.types() {
            Input::new(is_typed_at.then_some(discipline), encoding)
        } else {
            Input::none()
        };
        let window = terminal::window();
        let bottom = window.filter(|_| is_raw && io::stdout().is_terminal());
        Ok(Self {
            plan,
            remote,
            outputs: Outputs::new(plan.role, encoding, through),
            input,
            signals,
            raw,
            status: Status::new(Place::new(bottom, plan.quiet)),
            window: window.unwrap_or(terminal::WINDOW_DEFAULT),
            viewers: None,
            lease: plan.lease,
            detaching: None,
            interrupts: 0,
            screens: 0,
        })
    }

    async fn next_event(&mut self) -> Event {
        let due = self.status.due().into_iter().chain(self.detaching).min();
        tokio::select! {
            output = self.remote.next() => Event::Output(output),
            portion = self.input.next() => Event::Input(portion),
            written = self.outputs.next() => Event::Written(written),
            told = next_signal(&mut self.signals) => Event::Signal(told),
            () = reached(due) => Event::Due,
        }
    }

    fn apply(&mut self, event: Event) -> ControlFlow<End> {
        match event {
            Event::Output(Ok(output)) => self.handle_output(output),
            Event::Output(Err(error)) => ControlFlow::Break(End::Failed(error)),
            Event::Input(Some(portion)) => self.handle_input(portion),
            Event::Input(None) => self.handle_end_of_input(),
            Event::Written(written) => self.handle_written(written),
            Event::Signal(told) => self.handle_signal(told),
            Event::Due => self.handle_due(Instant::now()),
        }
    }

    fn handle_output(&mut self, output: Output) -> ControlFlow<End> {
        match output {
            Output::Bytes { stream, bytes } if self.plan.role.shows(stream) => {
                self.outputs.push(stream, bytes);
            }
            Output::Bytes { stream, bytes } => self.remote.consumed(stream, bytes.len() as u64),
            Output::Ended { stream } => self.outputs.end(stream),
            Output::StdinClosed => self.input.close(),
            Output::Screen { bytes, .. } => self.draw(bytes),
            Output::Gap { stream, from, to } => self.handle_gap(stream, from, to),
            Output::Viewers { typing, watching } => self.viewers = Some((typing, watching)),
            Output::Lease(lease) => {
                self.lease = Some(lease);
                if self.detaching.is_some() && lease == Lease::Detached {
                    return ControlFlow::Break(End::Detached);
                }
            }
            Output::CaughtUp => return ControlFlow::Break(End::CaughtUp),
            Output::Exit(record) => return ControlFlow::Break(End::Exit(record)),
            Output::LinkLost { why } => {
                tracing::info!("{}: the connection was lost: {why}", self.plan.host.name);
                self.status.handle_lost(Instant::now());
            }
            Output::LinkBack => {
                tracing::info!("{}: the connection is there again", self.plan.host.name);
                self.handle_back();
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// What a terminal shows. A file gets it only as the beginning of what came before: later it would
    /// show again what is there already.
    fn draw(&mut self, screen: Vec<u8>) {
        self.screens += 1;
        let is_beginning = self.screens == 1 && self.plan.role != Role::Owner;
        if is_beginning || io::stdout().is_terminal() {
            self.outputs.draw(screen);
        }
    }

    fn handle_gap(&mut self, stream: u8, from: u64, to: u64) {
        if !self.plan.role.shows(stream) {
            return;
        }
        self.outputs.end(stream);
        if self.raw.is_none() {
            let last = to.saturating_sub(1);
            let name = if stream == STDERR { " of stderr" } else { "" };
            self.outputs.say(format!("tow: bytes {from} to {last}{name} are kept no more\n"));
        }
    }

    fn handle_back(&mut self) {
        let Some(erase) = self.status.handle_back(self.window) else { return };
        if self.status.place() == Place::Bottom {
            self.outputs.say_on_stdout(erase);
            // What the line covered is known there.
            self.remote.refresh();
        } else {
            self.outputs.say(erase);
        }
    }

    fn handle_due(&mut self, now: Instant) -> ControlFlow<End> {
        if self.detaching.is_some_and(|until| until <= now) {
            return ControlFlow::Break(End::Untold);
        }
        if let Some(line) = self.status.poll_line(&self.plan.host.name, self.window, now) {
            match self.status.place() {
                Place::Bottom => self.outputs.say_on_stdout(line),
                Place::Here | Place::Nowhere => self.outputs.say(line),
            }
        }
        ControlFlow::Continue(())
    }

    fn handle_input(&mut self, portion: Vec<u8>) -> ControlFlow<End> {
        for typed in self.input.split(portion) {
            match typed {
                Typed::Bytes(bytes) if self.plan.role.types() => self.input.keep(bytes),
                // Nothing else can be meant by it where nothing is passed on.
                Typed::Bytes(bytes) if bytes.contains(&CTRL_C) => {
                    return ControlFlow::Break(End::Unwatched);
                }
                Typed::Bytes(_) => {}
                Typed::Leave | Typed::Detach if self.plan.role == Role::Watcher => {
                    return ControlFlow::Break(End::Unwatched);
                }
                Typed::Leave => return ControlFlow::Break(End::Left),
                Typed::Detach => self.detach()?,
                Typed::Help => self.help(),
                Typed::Suspend => self.suspend()?,
            }
        }
        ControlFlow::Continue(())
    }

    fn handle_end_of_input(&mut self) -> ControlFlow<End> {
        match self.plan.role {
            // A terminal in raw mode ends with its window: that is not the end of what is typed.
            _ if self.raw.is_some() => return ControlFlow::Break(End::Signalled(HANGUP)),
            Role::Watcher => return ControlFlow::Break(End::Unwatched),
            // Whoever comes with nothing to say ends nothing.
            Role::Guest if !self.input.is_used() => self.input.close(),
            _ => self.input.end(),
        }
        ControlFlow::Continue(())
    }

    fn handle_written(&mut self, written: Written) -> ControlFlow<End> {
        match written {
            Written::Bytes(stream, count) => self.remote.consumed(stream, count),
            // The window was closed: the same as its signal.
            Written::Gone(STDOUT) if self.raw.is_some() && io::stdout().is_terminal() => {
                return ControlFlow::Break(End::Signalled(HANGUP));
            }
            Written::Gone(stream) if self.plan.role == Role::Owner => self.remote.stop(stream),
            Written::Gone(stream) if stream == self.plan.role.result() => {
                return ControlFlow::Break(End::Enough);
            }
            Written::Gone(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn handle_signal(&mut self, told: Told) -> ControlFlow<End> {
        match told {
            Told::End("INT", _) if self.plan.role == Role::Watcher => {
                return ControlFlow::Break(End::Unwatched);
            }
            Told::End(name, number) => {
                if self.raw.is_some() || !self.plan.role.types() || self.remote.outage().is_some() {
                    return ControlFlow::Break(End::Signalled(number));
                }
                self.interrupts += u32::from(name == "INT");
                // The second Ctrl-C does not ask any more. The third is for us: the program may have ended
                // long ago, and nobody takes what it wrote.
                if self.interrupts > INTERRUPTS_PASSED_ON {
                    return ControlFlow::Break(End::Signalled(number));
                }
                let insists = name == "INT" && self.interrupts > 1;
                self.remote.signal(if insists { "KILL" } else { name });
            }
            Told::Resized => self.resize(),
            Told::Continued => {
                if let Some(raw) = &self.raw {
                    raw.again().map_err_to_end()?;
                    self.resize();
                    self.remote.refresh();
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn resize(&mut self) {
        let Some(window) = terminal::window().filter(|window| *window != self.window) else {
            return;
        };
        self.window = window;
        if self.remote.is_terminal() && self.plan.role.types() {
            self.remote.resize(window);
        }
    }

    fn detach(&mut self) -> ControlFlow<End> {
        if self.lease == Some(Lease::Detached) {
            return ControlFlow::Break(End::Detached);
        }
        if self.remote.outage().is_some() {
            return ControlFlow::Break(End::Untold);
        }
        self.remote.set_lease(Lease::Detached);
        self.detaching = Some(Instant::now() + DETACHING_MAX);
        ControlFlow::Continue(())
    }

    fn suspend(&mut self) -> ControlFlow<End> {
        match &self.raw {
            // The signal to go on is handled like one that somebody else sent.
            Some(raw) => raw.suspend().map_err_to_end(),
            None => ControlFlow::Continue(()),
        }
    }

    fn help(&mut self) {
        let text = end::help(&self.plan, &self.remote, self.viewers);
        match self.raw {
            Some(_) if io::stdout().is_terminal() => {
                self.outputs.say_on_stdout(text.replace('\n', "\r\n"));
            }
            Some(_) => self.outputs.say(text.replace('\n', "\r\n")),
            None => self.outputs.say(text),
        }
    }

    fn send_input(&mut self) {
        let bytes = self.input.take(self.remote.stdin_room());
        if !bytes.is_empty() {
            self.remote.write_stdin(&bytes);
        }
        if self.input.take_end() {
            self.remote.end_stdin();
        }
    }
}

/// A terminal that can't be set any more is the end.
trait OrEnd {
    fn map_err_to_end(self) -> ControlFlow<End>;
}

impl OrEnd for io::Result<()> {
    fn map_err_to_end(self) -> ControlFlow<End> {
        match self {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(End::Terminal(error)),
        }
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> Told {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

const CTRL_C: u8 = 3;

/// So many times Ctrl-C is for the program.
const INTERRUPTS_PASSED_ON: u32 = 2;

/// How long the answer to a wish to detach is waited for.
const DETACHING_MAX: Duration = Duration::from_secs(2);
