//! A look at a session: what the session has for its viewer goes out as PROTOCOL 7.1 says, what the
//! viewer says goes in.

use std::future::ready;

use tow_host::session::{Output, Viewer};
use tow_net::{Link, LinkError, LinkEvent};
use tow_proto::message::{Credit, End, FirstHead, RunEvent, STDERR, STDIN, Upward, Window};
use tow_proto::{Code, Frame, Kind, Refusal, json};

/// Carries both until the last frame was said or nobody is at the other end; returns when the other
/// end has closed.
///
/// # Errors
/// The link was lost. The viewer is gone then, too.
pub(super) async fn carry(link: &mut Link, viewer: Viewer) -> Result<(), LinkError> {
    let mut look = Look { viewer: Some(viewer), resize: None };
    loop {
        let Some(viewer) = &mut look.viewer else { return discard(link).await };
        let is_resized = look.resize.is_some();
        let step = tokio::select! {
            // In this order, so that of a window that is dragged only the last size that has
            // arrived counts.
            biased;
            event = link.next_event() => match event? {
                LinkEvent::Frame(frame) => look.handle_frame(frame),
                LinkEvent::Room => Ok(Step::Goes),
                LinkEvent::Closed => return Ok(()),
            },
            () = ready(()), if is_resized => {
                look.apply_resize();
                Ok(Step::Goes)
            }
            output = viewer.next(), if link.has_room() => Ok(send(link, output)),
        };
        match step {
            Ok(Step::Goes) => {}
            Ok(Step::Over) => look.viewer = None,
            Err(refusal) => {
                look.viewer = None;
                link.send_head(&FirstHead::Refused(refusal));
            }
        }
    }
}

struct Look {
    /// None once all is said.
    viewer: Option<Viewer>,
    /// A size that is not applied yet.
    resize: Option<Window>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Goes,
    Over,
}

impl Look {
    fn handle_frame(&mut self, frame: Frame) -> Result<Step, Refusal> {
        if frame.kind == Kind::Head {
            return self.handle_upward(parse(&frame.payload)?);
        }
        // What was typed behind a new size is for a program that has been told of it.
        self.apply_resize();
        let Some(viewer) = &mut self.viewer else { return Ok(Step::Over) };
        match frame.kind {
            Kind::Data => viewer.write_stdin(&frame.payload)?,
            Kind::End => {
                let end: End = parse(&frame.payload)?;
                if end.stream != STDIN {
                    return Err(Code::OutOfOrder.into());
                }
                viewer.end_stdin(&end)?;
            }
            Kind::Credit => {
                let Credit { stream, to } = parse(&frame.payload)?;
                viewer.allow(stream, to);
            }
            _ => return Err(Code::OutOfOrder.into()),
        }
        Ok(Step::Goes)
    }

    fn handle_upward(&mut self, event: Upward) -> Result<Step, Refusal> {
        if let Upward::Resize(window) = event {
            self.resize = Some(window);
            return Ok(Step::Goes);
        }
        self.apply_resize();
        let Some(viewer) = &mut self.viewer else { return Ok(Step::Over) };
        match event {
            // A name that we do not know is not worth the program.
            Upward::Signal { name } => drop(viewer.signal(&name)),
            Upward::Stop { stream } => viewer.stop(stream),
            Upward::Lease { lease } => viewer.set_lease(lease)?,
            Upward::Refresh => viewer.refresh(),
            Upward::Leave => {
                if let Some(viewer) = self.viewer.take() {
                    viewer.leave();
                }
            }
            _ => {}
        }
        Ok(Step::Goes)
    }

    fn apply_resize(&mut self) {
        if let (Some(window), Some(viewer)) = (self.resize.take(), &mut self.viewer) {
            viewer.resize(window);
        }
    }
}

fn send(link: &mut Link, output: Output) -> Step {
    match output {
        Output::Bytes { stream: STDERR, bytes } => link.send(Kind::DataErr, &bytes),
        Output::Bytes { bytes, .. } => link.send(Kind::Data, &bytes),
        Output::Ended { stream, total, blake3 } => {
            link.send(Kind::End, &json::to_vec(&End { stream, total, blake3 }));
        }
        Output::StdinRoom { to } => {
            link.send(Kind::Credit, &json::to_vec(&Credit { stream: STDIN, to }));
        }
        Output::Screen { at, rows, cols, bytes } => {
            link.send_head(&RunEvent::Screen { at, rows, cols, bytes: bytes.len() as u64 });
            bytes.chunks(DRAWING_FRAME_LEN_MAX).for_each(|part| link.send(Kind::Data, part));
        }
        Output::Gap { stream, from, to } => link.send_head(&RunEvent::Gap { stream, from, to }),
        Output::StdinClosed => link.send_head(&RunEvent::StdinClosed),
        Output::Lease(lease) => link.send_head(&RunEvent::Lease { lease }),
        Output::Viewers { typing, watching } => {
            link.send_head(&RunEvent::Viewers { typing, watching });
        }
        Output::CaughtUp => {
            link.send_head(&RunEvent::CaughtUp);
            return Step::Over;
        }
        Output::Exit(record) => {
            link.send_head(&RunEvent::Exit(Box::new(record)));
            return Step::Over;
        }
    }
    Step::Goes
}

/// What is still said to a viewer that is gone belongs to nobody. Its node closes the conversation
/// when it has read the last frame.
async fn discard(link: &mut Link) -> Result<(), LinkError> {
    while link.next_event().await? != LinkEvent::Closed {}
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, Refusal> {
    json::from_slice(payload).map_err(|_| Code::Malformed.into())
}

/// Length of a data frame of a drawing in bytes: as of output.
const DRAWING_FRAME_LEN_MAX: usize = 256 << 10;
