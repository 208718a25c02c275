//! The body of a request, in batches: what has come is written at once, however small its pieces.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::answer::Failure;
use crate::body;

/// A body that is being read.
pub(super) struct Incoming {
    body: Body,
    is_over: bool,
    failure: Option<Failure>,
}

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self { body, is_over: false, failure: None }
    }

    /// What has come, at least one piece; `None` at the end. May be cancelled at any time.
    ///
    /// # Errors
    /// It was cut, or comes too slowly.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Failure> {
        let mut batch = Vec::new();
        let mut len = 0;
        while !self.is_over && self.failure.is_none() && len < BATCH_LEN_MAX {
            let frame = if batch.is_empty() {
                self.body.frame().await
            } else {
                // What is not here yet is not waited for.
                match self.body.frame().now_or_never() {
                    Some(frame) => frame,
                    None => break,
                }
            };
            match frame {
                None => self.is_over = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        len += data.len();
                        batch.push(data);
                    }
                }
                // What came before it is good; the next call says it.
                Some(Err(error)) => {
                    self.failure = Some(body::failure(&error));
                    break;
                }
            }
        }
        match self.failure.take_if(|_| batch.is_empty()) {
            Some(failure) => Err(failure),
            None => Ok((!batch.is_empty()).then_some(batch)),
        }
    }

    /// Reads a little more of what is refused: an answer that meets bytes on their way to a closed
    /// connection is often lost with them.
    pub(super) async fn drain(mut self) {
        let drained = async {
            let mut len = 0;
            while let Ok(Some(batch)) = self.next().await {
                len += batch.iter().map(Bytes::len).sum::<usize>();
                if len > DRAINED_LEN_MAX {
                    return;
                }
            }
        };
        let _ = timeout(DRAINED_FOR_MAX, drained).await;
    }
}

/// Most bytes that are handed on at once.
const BATCH_LEN_MAX: usize = 256 << 10;
const DRAINED_LEN_MAX: usize = 4 << 20;
const DRAINED_FOR_MAX: Duration = Duration::from_secs(2);
